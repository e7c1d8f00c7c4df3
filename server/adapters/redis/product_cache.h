#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "adapters/redis/connection.h"
#include "base/call_stats.h"
#include "product/cache.h"

namespace ecom::adapters::redis {

/// The channel on which Drop tells of a change, as "id:version" in decimal, and RedisProductChanges
/// hears of it.
inline constexpr char kProductChannel[] = "product:changed";

/// The second level in a Redis of its own, which may evict and lose whatever it likes.
///
/// `product:detail:<id>` holds "<version>:" and a CachedProduct, or nothing behind the colon: a
/// tombstone, which keeps older versions out for an hour. What somebody else has put there counts
/// as absent, and gives way. Thread-safe; reads and writes have a connection each, so that a write
/// holds up no read. A call returns within the two timeouts after the one before it on its
/// connection; within twice that when Redis does not have the script.
class RedisProductCache final : public product::ProductCache {
 public:
  /// In one call: answered in some 10 ms, for which everybody else waits.
  static constexpr size_t kProductsMax = 10'000;
  /// Lua counts in doubles. From here on a version is not kept, nor a change of it.
  static constexpr int64_t kVersionEnd = int64_t{1} << 53;

  struct Options {
    Address address;
    /// Short: a product that is not known in time is read from the store, which takes some
    /// milliseconds.
    absl::Duration connect_timeout = absl::Milliseconds(50);
    absl::Duration command_timeout = absl::Milliseconds(50);
    /// How long a product is kept: at most and at least a tenth more or less than that, at random,
    /// so that what came together does not go together.
    absl::Duration ttl = absl::Hours(1);
  };

  /// Does not connect: that happens at the first call.
  explicit RedisProductCache(Options options);

  /// As the port says; INVALID_ARGUMENT: more than kProductsMax.
  absl::StatusOr<std::vector<std::optional<product::Product>>> Find(
      std::span<const product::ProductId> ids) override;
  absl::Status Put(std::span<const product::Product> products) override;

  /// As the port says; INVALID_ARGUMENT: a version that is negative or at kVersionEnd or beyond.
  /// Takes effect in a Redis that is full, too.
  absl::Status Drop(const product::ProductVersion& change) override;

  /// As the port says; INVALID_ARGUMENT: more than kProductsMax.
  absl::Status Forget(std::span<const product::ProductId> ids) override;

  /// What its connections have counted together.
  base::CallStats::Snapshot calls() const;

 private:
  std::string JitteredTtlMillis();

  const Options options_;
  Connection reads_;
  Connection writes_;
  std::mutex random_mutex_;
  absl::InsecureBitGen random_;
};

}  // namespace ecom::adapters::redis
