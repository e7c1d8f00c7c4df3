#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "adapters/redis/link.h"
#include "product/changes.h"

namespace ecom::adapters::redis {

/// Hears of the changes that RedisProductCache::Drop tells of, on a connection of its own.
///
/// While it is cut off, Next waits, tries to connect again, and returns no changes; UNAVAILABLE
/// comes once, when it hears again, and so behind the last change that it may have missed. Not
/// thread-safe, but for `stats`.
class RedisProductChanges final : public product::ProductChanges {
 public:
  /// Changes that one call returns; the rest comes with the next one.
  static constexpr size_t kChangesMax = 1'000;

  struct Options {
    Address address;
    /// From the first packet to the answer that says that it is subscribed.
    absl::Duration connect_timeout = absl::Milliseconds(250);
    /// The pause between two attempts to connect.
    absl::Duration reconnect_pause = absl::Milliseconds(100);
    /// Having heard nothing for so long it asks whether somebody is there; after as long again
    /// without an answer it is cut off. Twice that and an attempt to connect are the most that a
    /// change is late, unless nobody is there.
    absl::Duration silence_max = absl::Milliseconds(400);
  };

  /// Counts since the start.
  struct Stats {
    bool connected = false;  ///< now
    int64_t connects = 0;    ///< each of them UNAVAILABLE once
    int64_t malformed = 0;   ///< messages that were none of ours, and passed over
  };

  /// Does not connect: that happens at the first call of Next.
  explicit RedisProductChanges(Options options);

  /// As the port says. Returns as soon as there are changes. May take `connect_timeout` longer.
  absl::StatusOr<std::vector<product::ProductVersion>> Next(absl::Duration timeout) override;

  /// Thread-safe.
  Stats stats() const;

 private:
  void CutOff(const absl::Status& status);
  bool Connect(absl::Time deadline);
  absl::Status Subscribe(absl::Time deadline);
  absl::StatusOr<std::vector<product::ProductVersion>> Listen(absl::Time deadline);
  absl::StatusOr<Reply> Await(absl::Time deadline);
  void Take(const redisReply& push, std::vector<product::ProductVersion>& changes);

  const Options options_;
  std::unique_ptr<Link> link_;
  absl::Time connect_after_;  ///< of the next attempt
  absl::Time heard_at_;
  absl::Time asked_at_;   ///< later than heard_at_: whether somebody is there
  bool cut_off_ = false;  ///< and logged
  std::atomic<bool> connected_ = false;
  std::atomic<int64_t> connects_ = 0;
  std::atomic<int64_t> malformed_ = 0;
};

}  // namespace ecom::adapters::redis
