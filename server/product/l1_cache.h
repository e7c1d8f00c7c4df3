#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "product/product.h"

namespace ecom::product {

/// Keeps products in this process, bounded by entries and bytes.
///
/// Evicts by SIEVE (Zhang et al., NSDI 2024): a hit only sets a bit, and a scan over many
/// products pushes out the scan, not the products that are asked for again. Ids that are known
/// not to exist are kept apart, so that asking for random ones pushes out no product.
///
/// Thread-safe. Each call costs one short lock and never does I/O.
class L1Cache {
 public:
  struct Options {
    /// Products kept. An average entry takes some 350 bytes.
    size_t entries_max = 10'000;
    /// Approximate memory of the products kept.
    size_t bytes_max = 16 << 20;
    /// Ids kept that are known not to exist.
    size_t negative_entries_max = 4'096;
    /// Locks among which the bounds are shared out evenly.
    size_t shards = 16;
    /// An older entry is served only when the store fails: so long may a change of the store
    /// stay unseen.
    absl::Duration soft_ttl = absl::Seconds(5);
    /// An older entry is not served any more.
    absl::Duration hard_ttl = absl::Minutes(1);
    /// How long an id that did not exist is taken not to exist.
    absl::Duration negative_ttl = absl::Seconds(1);
    /// How long after a caller was told to refresh an entry, which is still there, the next one
    /// is told.
    absl::Duration refresh_retry = absl::Seconds(1);
    /// An entry is read again before it grows old for so long after it was last asked for, or first
    /// kept: whoever asks less often than each `soft_ttl` need not wait either.
    absl::Duration asked_lately = absl::Minutes(1);

    /// An older entry is still served, and one caller is told to refresh it: early enough that
    /// a product which is asked for all the time never gets to the soft TTL.
    absl::Duration refresh_after() const { return soft_ttl * 3 / 5; }
  };

  enum class State {
    kMiss,
    kFresh,
    kStale,     ///< past refresh_after(): serve it
    kExpired,   ///< past `soft_ttl`: serve it only when the store fails
    kNegative,  ///< there is no such product
  };

  struct Found {
    State state = State::kMiss;
    /// True for one caller at a time of a stale entry: see to a refresh.
    bool refresh = false;
    /// Not null when fresh, stale or expired.
    std::shared_ptr<const Product> product;
  };

  /// `clock` must outlive the cache.
  L1Cache(Options options, const base::Clock& clock);
  ~L1Cache();

  /// Looks up one id. Takes well under a microsecond.
  Found Find(ProductId id);

  /// Keeps a product that was read at `read_at` (Clock::Monotonic, taken before the read began).
  /// Passed over when what is kept is of a later version, or of the same and was read later; or
  /// when there is no room for it beside the pinned ones.
  void Put(std::shared_ptr<const Product> product, absl::Duration read_at);

  /// Keeps that there is no such product, as read at `read_at`; drops the product if it is kept
  /// and was not read later.
  void PutNegative(ProductId id, absl::Duration read_at);

  /// Drops what is kept of one id.
  void Erase(ProductId id);

  /// Drops what is kept of one id, unless it is of that version or a later one. True when it
  /// dropped something.
  bool EraseOlder(const ProductVersion& change);

  /// Drops everything. Locks each shard in turn.
  void Clear();

  /// Never evicts these for room, once they are kept, and no others any more; at most a quarter of
  /// the bounds, of the first ones. Locks each shard in turn.
  void Pin(std::span<const ProductId> ids);

  /// Products that are older than refresh_after(), and of which nobody was told yet: see to a
  /// refresh. All that are pinned, and of those that were asked for lately as many as make
  /// `ids_max` in all; the next call begins where this one ended. Locks each shard in turn, for a
  /// look at each of its entries.
  std::vector<ProductId> TakeDue(size_t ids_max);

  /// How much is kept, and how many entries were evicted for room since the start. Locks each
  /// shard in turn.
  struct Usage {
    size_t entries = 0;
    size_t negative_entries = 0;
    size_t bytes = 0;
    size_t pinned = 0;
    int64_t evictions = 0;
  };
  Usage usage() const;

 private:
  class Shard;

  Shard& ShardOf(ProductId id) const;

  const Options options_;
  const base::Clock& clock_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::atomic<size_t> next_due_ = 0;  // the shard that is looked at first
};

}  // namespace ecom::product
