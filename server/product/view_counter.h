#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "product/product.h"
#include "product/store.h"
#include "product/views.h"

namespace ecom::product {

/// Counts views in this process and adds them to the totals in batches, on a thread of its own. A
/// batch stays as it is until it is known to have been added, so it counts once whatever became of
/// its answer. A crash loses at most the views since the last flush that was answered; a clean stop
/// loses none. While the totals can't be reached, views are counted on and kept here. Thread-safe.
class ViewCounter {
 public:
  struct Options {
    /// The pause between two flushes. Half a second leaves room for a slow one within the two
    /// seconds in which a view must show, here and on other servers.
    absl::Duration flush_interval = absl::Milliseconds(500);
    /// Products in one batch, and in one read of totals. Not more than the totals take at once.
    size_t flush_products_max = 1'024;
    /// Products whose totals are read with each flush, the latest used first, so that the views of
    /// other servers show here. Of those beyond, a product that was not used for a while shows
    /// other servers' views only when it is loaded or counted again. 0: no other server counts.
    size_t shared_products_max = 0;
    /// Learn does not ask again for totals that were read so lately: as often as flushes read them.
    absl::Duration learned_lately = absl::Milliseconds(500);
    /// After totals could not be read, how long Learn does not try: readers wait for it.
    absl::Duration learn_pause = absl::Seconds(1);
    /// A counter that was idle for so long, with nothing to write, is dropped. Must not be less
    /// than what the cache keeps a product for, nor than what the totals need to come to the
    /// store, or the count that it shows could go down.
    absl::Duration idle_max = absl::Minutes(1);
    /// Counters kept (some 100 bytes each). With more, those without anything to write are
    /// dropped early, the longest idle first, and `forgotten` is told. While nothing can be added
    /// to the totals none can be dropped: then views of further products are not counted beyond
    /// twice as many.
    size_t counters_max = 65'536;
    /// How often Stop tries to add what is left, and how long it waits in between.
    int stop_attempts = 5;
    absl::Duration stop_retry_delay = absl::Milliseconds(100);
  };

  /// All of these must outlive the counter.
  struct Deps {
    ProductStore& store;
    ViewTotals& totals;
    const base::Clock& clock;
  };

  /// Told of a product whose counter was dropped early: whoever keeps an older count of the
  /// store must drop it too. Called by the flusher; must not call back into the counter.
  using Forgotten = absl::AnyInvocable<void(ProductId)>;

  /// Told, with each flush, of the views that were counted since the last one, each product once;
  /// of none, too. Called by whoever flushes; must not call back into the counter.
  using Counted = absl::AnyInvocable<void(std::span<const ViewDelta>)>;

  struct Stats {
    int64_t views = 0;               ///< counted
    int64_t views_dropped = 0;       ///< not counted, as there were too many counters
    int64_t views_flushed = 0;       ///< of those, added to the totals
    int64_t flushes = 0;             ///< batches that were added
    int64_t flush_errors = 0;        ///< batches of which that is not known; they are kept
    int64_t seeds = 0;               ///< totals that were missing, or less than was known here
    int64_t learn_errors = 0;        ///< reads of totals that failed
    int64_t counters = 0;            ///< kept now
    int64_t counters_forgotten = 0;  ///< dropped early
  };

  ViewCounter(Options options, Deps deps, Forgotten forgotten, Counted counted);
  ~ViewCounter();

  /// Counts one view of a product whose count in the store was read as `store_count`. Returns
  /// the count to show: never less than it was, nor than `store_count`; and, unless the store's
  /// count was set back meanwhile, never above the truth. Costs a short lock.
  int64_t Count(ProductId id, int64_t store_count);

  /// Counts views that were shown elsewhere, 1 or more. Costs a short lock.
  void Add(const ViewDelta& views);

  /// Reads the totals of these products, so that what is shown of them is not older than
  /// `learned_lately`, as the store's count may be. Blocks for one round trip for each
  /// `flush_products_max`. Counts no views. Does nothing when no other server counts.
  ///
  /// Returns those that have no total yet: Begin them. UNAVAILABLE: they can't be read, or could
  /// not be within the last `learn_pause`; what is shown is what was known.
  absl::StatusOr<std::vector<ProductId>> Learn(std::span<const ProductId> ids);

  /// Begins totals with what the store was just found to have: else the first flush of their views
  /// has to read it again, and does when this fails. Blocks for one round trip.
  void Begin(std::span<const ViewTotal> totals);

  /// Adds what is counted, now, on the caller's thread, and reads what others have counted. Blocks
  /// for the I/O. Returns the error of the first batch that failed: what was not added is kept for
  /// the next flush.
  absl::Status Flush();

  /// Adds what is counted and ends the flusher. To be called after the last Count. Returns how
  /// many views are lost because the totals could not be reached in `stop_attempts`: 0 in a clean
  /// stop. Idempotent.
  int64_t Stop();

  Stats stats() const;

 private:
  struct Shard;

  void Run();
  void TakeUnflushed();
  size_t ShardCountersMax() const;
  std::vector<ViewDelta> TakeUntold();
  std::vector<ProductId> NotLearnedLately(std::span<const ProductId> ids);
  bool HasBatch();
  absl::Status SendBatch();
  absl::Status SeedMissing(std::span<const std::optional<int64_t>> totals);
  void NoteAdded(std::span<const std::optional<int64_t>> totals);
  void LearnOfOthers(absl::Duration flush_began);
  absl::StatusOr<std::vector<ProductId>> LearnAll(std::span<const ProductId> ids);
  absl::Status LearnPart(std::span<const ProductId> ids, std::vector<ProductId>& missing);
  int64_t CountUnflushed();
  void LogChange(const absl::Status& flushed);
  void DropIdle();
  void DropBeyondBound();
  Shard& ShardOf(ProductId id) const;

  const Options options_;
  ProductStore& store_;
  ViewTotals& totals_;
  const base::Clock& clock_;
  Forgotten forgotten_;
  Counted counted_;
  std::vector<std::unique_ptr<Shard>> shards_;

  std::mutex flush_mutex_;      // one flush at a time; guards the next five
  ViewBatch batch_;             // on its way, until it is known that it was added; else no deltas
  std::vector<ProductId> due_;  // have views to be sent with the next batches
  int64_t sequence_ = 0;        // of the last batch
  bool totals_failing_ = false;
  absl::Duration idle_checked_at_;

  std::atomic<int64_t> learn_again_ns_;  // on the monotonic clock
  std::atomic<int64_t> views_flushed_ = 0;
  std::atomic<int64_t> flushes_ = 0;
  std::atomic<int64_t> flush_errors_ = 0;
  std::atomic<int64_t> seeds_ = 0;
  std::atomic<int64_t> learn_errors_ = 0;
  std::atomic<int64_t> counters_forgotten_ = 0;

  std::mutex stop_mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::once_flag stopped_;
  int64_t lost_ = 0;
  std::thread flusher_;  // last: runs on the members above
};

}  // namespace ecom::product
