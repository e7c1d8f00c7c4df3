#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "product/cache.h"
#include "product/circuit_breaker.h"
#include "product/product.h"
#include "product/store.h"

namespace ecom::product {

/// How far down a read goes.
enum class Freshness {
  kAnyLevel,  ///< what the second level has will do: it may not know of a change made by hand
  kStore,     ///< past the second level
};

/// Reads products for the catalog: from the second level where there is one that answers, else from
/// the store. Thread-safe; each call blocks for its I/O.
class TieredReader {
 public:
  struct Options {
    /// When not to ask the second level.
    CircuitBreaker::Options breaker;
    /// What was read from the store longer ago is not put into the second level: it is soon older
    /// than what others have put there, and a change may have been forgotten that keeps it out.
    absl::Duration fill_age_max = absl::Seconds(2);
  };

  /// What was read.
  struct Result {
    /// In the order asked for; null where there is none.
    std::vector<std::shared_ptr<const Product>> products;
    /// OK: what is null does not exist. Else the store's error: what is null is not known.
    absl::Status status;
    /// Those of the store, for Fill.
    std::vector<std::shared_ptr<const Product>> from_store;
    /// When the store was asked, by Clock::Monotonic.
    absl::Duration store_read_at;
  };

  /// Counts since the start.
  struct Stats {
    int64_t l2_hits = 0;     ///< ids that the second level had
    int64_t l2_misses = 0;   ///< ids that it had not
    int64_t l2_errors = 0;   ///< reads of it that failed
    int64_t l2_skipped = 0;  ///< reads of it, and fills, that the breaker spared
    int64_t store_reads = 0;
    int64_t store_ids = 0;           ///< ids in those reads
    int64_t store_errors = 0;        ///< reads that failed
    absl::Duration store_read_time;  ///< of all of them
    int64_t fills = 0;               ///< puts into the second level, each of one or more products
    int64_t fill_products = 0;       ///< products in those puts
    int64_t fill_errors = 0;         ///< puts that failed
    int64_t fills_too_old = 0;       ///< not put: read longer than `fill_age_max` ago
    absl::Duration fill_time;        ///< of all puts
    CircuitBreaker::State breaker = CircuitBreaker::State::kClosed;  ///< now
  };

  /// All must outlive the reader. `cache` is the second level; null: there is none.
  TieredReader(Options options, ProductCache* cache, ProductStore& store, const base::Clock& clock);

  /// Reads products by id: at most one read of the second level and one of the store, for what that
  /// does not have. A second level that fails costs its timeout, and never an answer.
  Result Find(std::span<const ProductId> ids, Freshness freshness);

  /// Puts what Find has read from the store into the second level, for other servers. To be called
  /// once everybody has been answered. Costs one round trip, or nothing.
  void Fill(const Result& result);

  Stats stats() const;

 private:
  void FindInCache(std::span<const ProductId> ids, Result& result);
  void FindInStore(std::span<const ProductId> ids, Result& result);
  bool AllowCache();
  void NoteCache(const absl::Status& status);

  struct Counters {
    std::atomic<int64_t> l2_hits, l2_misses, l2_errors, l2_skipped, store_reads, store_ids,
        store_errors, store_read_us, fills, fill_products, fill_errors, fills_too_old, fill_us;
  };

  const Options options_;
  ProductCache* const cache_;
  ProductStore& store_;
  const base::Clock& clock_;
  CircuitBreaker breaker_;
  Counters counters_{};
  std::atomic<bool> skipping_cache_ = false;  // and logged
};

}  // namespace ecom::product
