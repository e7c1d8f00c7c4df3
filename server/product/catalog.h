#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/batcher.h"
#include "base/clock.h"
#include "product/cache.h"
#include "product/hot_products.h"
#include "product/l1_cache.h"
#include "product/product.h"
#include "product/store.h"
#include "product/tiered_reader.h"
#include "product/view_counter.h"
#include "product/views.h"

namespace ecom::product {

/// A product as it is shown: `view_count` instead of the one in `product`.
struct ProductView {
  std::shared_ptr<const Product> product;
  int64_t view_count = 0;
};

/// Asks for one page of a list.
struct ListRequest {
  std::optional<CategoryId> category;
  std::optional<bool> is_active;
  Sort sort = Sort::kNewest;
  /// 1 to 100.
  int page_size = 20;
  /// `next_cursor` of the page before, with the same filters and sort; none: the first page.
  std::optional<std::string> cursor;
};

/// A page of a list, with the view counts by which it was sorted. Cheap to copy.
struct ProductPage {
  /// Valid as long as `rows`, which may hold more than this page.
  std::span<const Product> products;
  std::shared_ptr<const std::vector<Product>> rows;
  /// Asks for the next page; empty on the last one.
  std::string next_cursor;
};

/// Reads products: from this process where it can, else from the second level or the store, one
/// read for all who wait. Counts views. Thread-safe.
class Catalog {
 public:
  /// Products on the largest page, and in the copy of the popular ones.
  static constexpr int kPageSizeMax = 100;

  /// Views of one product at once: what a second has room for, many times over.
  static constexpr int64_t kViewsMax = 1'000'000'000;

  struct Options {
    L1Cache::Options l1;
    /// `idle_max` is at least `l1.hard_ttl`.
    ViewCounter::Options views;
    TieredReader::Options reader;
    HotProducts::Options hot;
    /// Ids in one read. The store has one read under way at a time: that is what it has to bear.
    size_t load_ids_max = 256;
    /// Ids that wait for a read; more are refused. Of ids that nobody knows, a quarter fewer:
    /// random ones leave room for refreshes.
    size_t loads_waiting_max = 4'096;
    /// Callers that wait for an id; more are refused. Well below the calls that the server works on
    /// at once, most of which are to be left for others.
    size_t callers_waiting_max = 2'048;
    /// How long a caller waits for a read of a product that is kept, though expired: then it is
    /// shown that one.
    absl::Duration expired_wait = absl::Milliseconds(200);
    /// Products found in the second level that are also read from the store, in the background, in
    /// each second: so a change by hand shows soon even of what is seldom asked for.
    int cached_checks_per_second = 200;
    /// Callers that wait for a page of a list, and for the popular ones; more are refused.
    size_t lists_waiting_max = 1'024;
    /// How old the copy of the popular products may be.
    absl::Duration popular_age_max = absl::Seconds(1);
  };

  /// Counts since the start; entries and bytes are of now.
  struct Stats {
    int64_t l1_hits = 0;           ///< answered from L1: fresh, stale or known not to exist
    int64_t l1_negative_hits = 0;  ///< of those, known not to exist
    int64_t l1_stale_hits = 0;     ///< of those, served while a refresh was due
    int64_t l1_misses = 0;         ///< had to wait for a read
    int64_t l1_evictions = 0;
    int64_t l1_entries = 0;
    int64_t l1_negative_entries = 0;
    int64_t l1_bytes = 0;
    int64_t l1_pinned = 0;        ///< entries of hot products
    int64_t joins = 0;            ///< misses that joined a read under way
    int64_t refreshes = 0;        ///< reads that nobody waited for
    int64_t invalidations = 0;    ///< products that were said to have changed
    int64_t invalidated_all = 0;  ///< times that all of L1 was dropped
    int64_t expired_serves = 0;   ///< served past the soft TTL because a read failed
    int64_t refused = 0;          ///< refused because too many waited
    int64_t lists = 0;            ///< pages asked of the store, popular ones included
    int64_t list_errors = 0;      ///< of those, failed
    TieredReader::Stats reader;
    ViewCounter::Stats views;
  };

  using Done = absl::AnyInvocable<void(absl::StatusOr<ProductView>)>;
  using ListDone = absl::AnyInvocable<void(absl::StatusOr<ProductPage>)>;

  /// All of these must outlive the catalog.
  struct Deps {
    ProductStore& store;
    /// The second level; null: there is none.
    ProductCache* cache = nullptr;
    ViewTotals& totals;
    const base::Clock& clock;
  };

  Catalog(Options options, Deps deps);
  ~Catalog();

  /// Answers from this process, if it can; nullopt: ask Get. Counts a view when it answers with
  /// a product. Takes well under a microsecond, never blocks. Errors as Get.
  std::optional<absl::StatusOr<ProductView>> TryGet(ProductId id);

  /// Reads one product, active or not, and counts one view of it when it is there. Returns at
  /// once; `done` is called exactly once, on the caller's thread or another one, and must not
  /// block. A change through ProductStore::UpdateProduct shows once Invalidate was told of it. One
  /// that was made by hand shows within `l1.soft_ttl` of a product that is asked for meanwhile; of
  /// another one the second level may show the old state once more, for as long. When the store
  /// fails or is slow, what is shown is at most `l1.hard_ttl` older.
  ///
  /// * INVALID_ARGUMENT: an id below 1.
  /// * NOT_FOUND: there was no such product, at most `l1.negative_ttl` ago.
  /// * UNAVAILABLE: the store failed, too many wait, or the catalog was stopped; ask again.
  /// * INTERNAL: our own bug in the store.
  void Get(ProductId id, Done done);

  /// Counts views that gateways have shown from copies, as far as there is room for counters. Costs
  /// a short lock a product.
  ///
  /// INVALID_ARGUMENT: an id below 1, or views outside 1 to kViewsMax; nothing was counted.
  absl::Status CountViews(std::span<const ViewDelta> views);

  /// Reads one page of a list. Returns at once; `done` as for Get. Costs one read of the store.
  /// Counts no views.
  ///
  /// * INVALID_ARGUMENT: a page size outside 1 to 100, a category below 1, or a cursor that is
  ///   malformed or of other filters or another sort order.
  /// * UNAVAILABLE, INTERNAL: as for Get.
  void List(const ListRequest& request, ListDone done);

  /// Reads the most viewed products, ties by id, from a copy that is at most `popular_age_max`
  /// old; at most `l1.hard_ttl` when the store fails. No cursor. Returns at once; `done` and the
  /// errors as for List.
  void ListPopular(int page_size, ListDone done);

  /// Drops what is kept of products that were changed, unless it is of their new version already,
  /// and keeps no older one that is being read just now. Costs a short lock a product.
  void Invalidate(std::span<const ProductVersion> changes);

  /// Drops all that is kept, and keeps nothing that is being read just now: changes may have been
  /// missed.
  void InvalidateAll();

  /// Begins to read products from the store, in the background, for here and the second level. What
  /// does not find room in the queue is passed over.
  void Warm(std::span<const ProductId> ids);

  /// The products that are viewed most in this process, most viewed first: they are not evicted,
  /// and read again before they expire.
  std::vector<HotProduct> Hot() const { return hot_.Top(); }

  /// Completes what waits, refuses more, and writes the views. To be called when no call of
  /// TryGet or Get is under way any more. Returns how many views are lost: 0 unless the store
  /// fails. Idempotent.
  int64_t Stop();

  Stats stats() const;

 private:
  /// How far down a read goes.
  enum class Freshness {
    kAnyLevel,  ///< the second level will do
    kStore,     ///< past it: it does not know of changes by hand
  };
  /// A read of one id that is under way.
  struct Flight {
    std::vector<Done> callers;
    absl::Duration began_at;
    int64_t version_min = 0;  ///< what is older was changed meanwhile, and is not kept
    bool is_second = false;   ///< the first read was too old to be shown
  };
  struct PendingList {
    ListQuery query;
    int page_size = 0;
    ListDone done;
  };
  struct PendingPopular {
    int page_size = 0;
    ListDone done;
  };
  struct Popular {
    std::shared_ptr<const std::vector<Product>> products;
    absl::Duration read_at;
  };

  std::optional<absl::StatusOr<ProductView>> Answer(ProductId id, const L1Cache::Found& found);
  ProductView View(std::shared_ptr<const Product> product);
  absl::Status Join(ProductId id, Done& done);
  void Refresh(ProductId id);
  bool Enqueue(ProductId id, Freshness freshness);
  void LoadCached(std::vector<ProductId>& ids);
  void LoadStored(std::vector<ProductId>& ids);
  void BeginTotals(const TieredReader::Result& read,
                   const absl::flat_hash_set<ProductId>& without_total);
  void CheckLater(std::span<const ProductId> ids);
  bool EndFlight(ProductId id, const absl::StatusOr<std::shared_ptr<const Product>>& read,
                 absl::Duration read_at);
  bool ReadAgain(ProductId id, Flight& flight, int64_t version, absl::Duration read_at);
  void AnswerLate();
  void NoteViews(std::span<const ViewDelta> deltas);
  absl::StatusOr<ProductView> AnswerWithout(ProductId id, const absl::Status& failure);
  absl::StatusOr<ProductPage> ReadPage(PendingList& list);
  std::shared_ptr<const std::vector<Product>> KeptPopular(absl::Duration age_max);
  absl::StatusOr<std::shared_ptr<const std::vector<Product>>> ReadPopular();
  absl::Status StoreFailure(const char* what, const absl::Status& status);

  struct Counters {
    std::atomic<int64_t> l1_hits, l1_negative_hits, l1_stale_hits, l1_misses, joins, refreshes,
        invalidations, invalidated_all, expired_serves, refused, lists, list_errors;
  };

  const Options options_;
  ProductStore& store_;
  const base::Clock& clock_;
  L1Cache l1_;
  TieredReader reader_;
  HotProducts hot_;
  Counters counters_{};
  std::atomic<bool> store_failing_ = false;

  std::mutex flights_mutex_;  // taken before the locks of l1_, views_ and the batchers
  absl::flat_hash_map<ProductId, Flight> flights_;
  size_t callers_waiting_ = 0;
  std::condition_variable stop_late_;
  bool stopping_ = false;

  // Only the stage behind loads_ uses these.
  absl::Duration checks_since_;
  int checks_ = 0;

  std::mutex popular_mutex_;
  Popular popular_;

  // The stages and the counter; last, because their threads run on the members above. Stop has
  // ended them all before one of them goes.
  base::Batcher<ProductId> stores_;  // what reads the store
  base::Batcher<ProductId> loads_;   // what reads the second level first; feeds stores_
  base::Batcher<PendingList> lists_;
  base::Batcher<PendingPopular> populars_;
  ViewCounter views_;
  std::thread late_;  // answers those who wait for too long
};

}  // namespace ecom::product
