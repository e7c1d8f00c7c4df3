#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coupon/coupon.h"

namespace ecom::coupon {

/// Remembers every admitted claim until the store has it. Thread-safe.
class ClaimLog {
 public:
  virtual ~ClaimLog() = default;

  /// Appends the claims, in order, as one batch. Blocks until they are durable.
  ///
  /// * OK: every claim is durable and will be delivered to the recorder at least once.
  /// * UNAVAILABLE, DEADLINE_EXCEEDED: unknown; each claim may or may not be in the log. Append
  ///   it again: the store drops duplicates.
  virtual absl::Status Append(std::span<const AdmittedClaim> claims) = 0;

  /// Appends a barrier behind everything that is in the log (to every partition). Blocks until
  /// it is durable. Errors as Append.
  virtual absl::Status AppendBarrier(CouponId coupon, Generation generation) = 0;

  /// OK, or UNAVAILABLE when the log is known to be down: then a claim is refused before the
  /// gate, so that it takes no unit that nobody can be promised. Never blocks.
  virtual absl::Status Ready() const = 0;
};

/// Behind this mark, claims of older generations count no more.
struct Barrier {
  CouponId coupon;
  Generation generation;
};

/// A position in the log: what lies before it was delivered earlier.
using LogPosition = int64_t;

/// One record as the log delivers it.
struct LogRecord {
  LogPosition position = 0;
  std::variant<AdmittedClaim, Barrier> record;
};

/// Delivers the log's records in order, each at least once. One caller at a time.
class ClaimSource {
 public:
  virtual ~ClaimSource() = default;

  /// Returns up to `records_max` records behind the last ones that it delivered; empty when none
  /// came within `timeout`. Returns UNAVAILABLE when the log cannot be read; ask again.
  virtual absl::StatusOr<std::vector<LogRecord>> Poll(int records_max, absl::Duration timeout) = 0;

  /// Never delivers records up to `position` again, not even after a restart. Call it once the
  /// store holds them. Returns UNAVAILABLE when that is unknown; harmless: they come again.
  virtual absl::Status Commit(LogPosition position) = 0;

  /// Goes back to the last committed position, so that Poll delivers the rest again.
  virtual void Rewind() = 0;

  /// Records in the log that are not committed yet. Any thread. Returns UNAVAILABLE.
  virtual absl::StatusOr<int64_t> Lag() = 0;
};

}  // namespace ecom::coupon
