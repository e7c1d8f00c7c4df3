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

/// Reads products for the catalog: from the second level where there is one that answers, and from
/// the store. Leaves alone, for a while, what fails. Thread-safe; each call blocks for its I/O.
class TieredReader {
 public:
  struct Options {
    /// When not to ask the second level; reads and fills are judged apart.
    CircuitBreaker::Options breaker;
    /// When not to ask the store: who asks it waits for its timeout.
    CircuitBreaker::Options store_breaker = {.backoff_max = absl::Seconds(1)};
    /// What was read from the store longer ago is not put into the second level: it is soon older
    /// than what others have put there, and a change may have been forgotten that keeps it out.
    absl::Duration fill_age_max = absl::Seconds(2);
  };

  /// What was read from the store.
  struct Result {
    std::vector<ProductId> ids;
    /// In the order of the ids; null where there is none.
    std::vector<std::shared_ptr<const Product>> products;
    /// OK: what is null does not exist. UNAVAILABLE, or the store's other errors: nothing is known.
    absl::Status status;
    /// When the store was asked, by Clock::Monotonic.
    absl::Duration read_at;
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
    int64_t store_skipped = 0;       ///< reads that the breaker spared
    absl::Duration store_read_time;  ///< of all of them
    int64_t fills = 0;               ///< puts into the second level, each of one or more products
    int64_t fill_products = 0;       ///< products in those puts
    int64_t fill_errors = 0;         ///< puts that failed
    int64_t fills_too_old = 0;       ///< not put: read longer than `fill_age_max` ago
    absl::Duration fill_time;        ///< of all puts
    CircuitBreaker::State breaker = CircuitBreaker::State::kClosed;        ///< of reads of L2, now
    CircuitBreaker::State store_breaker = CircuitBreaker::State::kClosed;  ///< now
  };

  /// All must outlive the reader. `cache` is the second level; null: there is none.
  TieredReader(Options options, ProductCache* cache, ProductStore& store, const base::Clock& clock);

  bool has_cache() const { return cache_ != nullptr; }

  /// Reads the second level, in order; null where it has none or is not asked. One round trip; at
  /// most its timeout.
  std::vector<std::shared_ptr<const Product>> FindCached(std::span<const ProductId> ids);

  /// Reads the store. One query; nothing while it is left alone.
  Result FindStored(std::vector<ProductId> ids);

  /// Puts what FindStored has read into the second level, for other servers, and has it forget what
  /// is gone. To be called once everybody has been answered. Costs one round trip or two, or
  /// nothing.
  void Fill(const Result& result);

  Stats stats() const;

 private:
  bool AllowCache(CircuitBreaker& breaker);
  void NoteCache(CircuitBreaker& breaker, const absl::Status& status);

  struct Counters {
    std::atomic<int64_t> l2_hits, l2_misses, l2_errors, l2_skipped, store_reads, store_ids,
        store_errors, store_skipped, store_read_us, fills, fill_products, fill_errors,
        fills_too_old, fill_us;
  };

  const Options options_;
  ProductCache* const cache_;
  ProductStore& store_;
  const base::Clock& clock_;
  CircuitBreaker read_breaker_;
  CircuitBreaker fill_breaker_;
  CircuitBreaker store_breaker_;
  Counters counters_{};
  std::atomic<bool> skipping_cache_ = false;  // and logged
};

}  // namespace ecom::product
