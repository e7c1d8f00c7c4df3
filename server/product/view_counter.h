#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "product/product.h"
#include "product/store.h"

namespace ecom::product {

/// Counts views in this process and writes them to the store in batches, on a thread of its own.
/// A crash loses at most the views of the last `flush_interval` and of the flush under way; a
/// clean stop loses none. Thread-safe.
class ViewCounter {
 public:
  struct Options {
    /// The pause between two flushes. Half a second leaves room for a slow write within the two
    /// seconds in which a view must show.
    absl::Duration flush_interval = absl::Milliseconds(500);
    /// Products in one write of the store.
    size_t flush_products_max = 1'024;
    /// A counter that was idle for so long, with nothing to write, is dropped. Must not be less
    /// than what the cache keeps a product for, or the count that it shows could go down.
    absl::Duration idle_max = absl::Minutes(1);
    /// Counters kept (some 100 bytes each). With more, those without anything to write are
    /// dropped early, the longest idle first, and `forgotten` is told.
    size_t counters_max = 65'536;
    /// How often Stop tries to write what is left, and how long it waits in between.
    int stop_attempts = 5;
    absl::Duration stop_retry_delay = absl::Milliseconds(100);
  };

  /// Told of a product whose counter was dropped early: whoever keeps an older count of the
  /// store must drop it too. Called by the flusher; must not call back into the counter.
  using Forgotten = absl::AnyInvocable<void(ProductId)>;

  struct Stats {
    int64_t views = 0;               ///< counted
    int64_t views_flushed = 0;       ///< of those, taken by the store
    int64_t flushes = 0;             ///< writes that the store took
    int64_t flush_errors = 0;        ///< writes that failed; their views are kept
    int64_t counters = 0;            ///< kept now
    int64_t counters_forgotten = 0;  ///< dropped early
  };

  /// `store` and `clock` must outlive the counter.
  ViewCounter(Options options, ProductStore& store, const base::Clock& clock, Forgotten forgotten);
  ~ViewCounter();

  /// Counts one view of a product whose count in the store was read as `store_count`. Returns
  /// the count to show: never less than it was, nor than `store_count`; and, unless the store's
  /// count was set back meanwhile, never above the truth. Costs a short lock.
  int64_t Count(ProductId id, int64_t store_count);

  /// Writes what is counted, now, on the caller's thread. Blocks for the store's I/O. Returns
  /// its error: what it did not take is kept for the next flush.
  absl::Status Flush();

  /// Writes what is counted and ends the flusher. To be called after the last Count. Returns how
  /// many views are lost because the store failed each of `stop_attempts` times: 0 in a clean
  /// stop. Idempotent.
  int64_t Stop();

  Stats stats() const;

 private:
  struct Shard;

  void Run();
  std::vector<ViewDelta> TakeUnflushed();
  absl::Status FlushPart(std::span<const ViewDelta> deltas);
  void TakeBack(std::span<const ViewDelta> deltas);
  void LogChange(const absl::Status& flushed);
  void DropIdle();
  void DropBeyondBound();
  Shard& ShardOf(ProductId id) const;

  const Options options_;
  ProductStore& store_;
  const base::Clock& clock_;
  Forgotten forgotten_;
  std::vector<std::unique_ptr<Shard>> shards_;

  std::mutex flush_mutex_;  // one flush at a time
  bool store_failing_ = false;
  absl::Duration idle_checked_at_;

  std::atomic<int64_t> views_flushed_ = 0;
  std::atomic<int64_t> flushes_ = 0;
  std::atomic<int64_t> flush_errors_ = 0;
  std::atomic<int64_t> counters_forgotten_ = 0;

  std::mutex stop_mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::once_flag stopped_;
  int64_t lost_ = 0;
  std::thread flusher_;  // last: runs on the members above
};

}  // namespace ecom::product
