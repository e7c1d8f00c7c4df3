#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "adapters/mysql/connection_pool.h"
#include "base/clock.h"
#include "coupon/claim_log.h"

namespace ecom::adapters::mysql {

/// A dead letter that a person has dealt with.
struct SettledLetter {
  coupon::LogPartition partition = 0;
  coupon::LogPosition position = 0;
  std::string settled_as;
  absl::Time settled_at;
};

/// Remembers which dead letters a person has dealt with, and how. Thread-safe.
class MysqlSettledLetters {
 public:
  /// `pool` and `clock` must outlive it.
  MysqlSettledLetters(ConnectionPool& pool, const base::Clock& clock)
      : pool_(pool), clock_(clock) {}

  /// Those of one partition from position `begin` up to `end`, which is not meant, in order. One
  /// query. UNAVAILABLE: ask again.
  absl::StatusOr<std::vector<SettledLetter>> Between(coupon::LogPartition partition,
                                                     coupon::LogPosition begin,
                                                     coupon::LogPosition end);

  /// How many Between would return. One query. UNAVAILABLE: ask again.
  absl::StatusOr<int64_t> CountBetween(coupon::LogPartition partition, coupon::LogPosition begin,
                                       coupon::LogPosition end);

  /// Marks a letter as settled, now, in a word of up to 16 characters. Idempotent: whoever was
  /// first stays. UNAVAILABLE: unknown; settle it again.
  absl::Status Settle(coupon::LogPartition partition, coupon::LogPosition position,
                      std::string_view settled_as);

 private:
  ConnectionPool& pool_;
  const base::Clock& clock_;
};

}  // namespace ecom::adapters::mysql
