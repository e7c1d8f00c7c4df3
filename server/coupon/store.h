#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coupon/claim_log.h"
#include "coupon/coupon.h"
#include "coupon/gate.h"

namespace ecom::coupon {

/// What the store did with one log record.
enum class RecordOutcome {
  kIssued,         ///< a new row
  kDuplicate,      ///< the row of this holder was there already
  kOverAdmitted,   ///< no unit was left: a broken promise, kept as a rejection
  kStale,          ///< of a generation behind a barrier: nobody was promised anything
  kUnknownCoupon,  ///< no such coupon, or another incarnation of it; kept as a rejection
  kBarrier,        ///< a barrier, now remembered
};

/// Has the last word on who holds a coupon. Thread-safe.
class CouponStore {
 public:
  virtual ~CouponStore() = default;

  /// Reads coupons by id, in order; nullopt where there is none. One query.
  ///
  /// Returns UNAVAILABLE when the store cannot be asked.
  virtual absl::StatusOr<std::vector<std::optional<Coupon>>> FindCoupons(
      std::span<const CouponId> ids) = 0;

  /// Reads what is known of each holder, in order: the row, else the latest rejection, else
  /// nullopt. One query each way. Returns UNAVAILABLE when the store cannot be asked.
  virtual absl::StatusOr<std::vector<std::optional<Issue>>> FindIssues(
      std::span<const Holder> holders) = 0;

  /// Records one batch of the log, in order, in one transaction: issues rows up to what is
  /// available, counts duplicates, keeps what went beyond the stock as rejections, remembers
  /// barriers. Idempotent: the same batch again changes nothing more.
  ///
  /// Returns one outcome per record, or UNAVAILABLE: unknown whether the batch was committed;
  /// record the same batch again.
  virtual absl::StatusOr<std::vector<RecordOutcome>> Record(std::span<const LogRecord> batch) = 0;

  /// Reads the coupons whose gate must be armed at `now`: from `starts_at` to
  /// kArmedPastEnd past `ends_at`. Returns UNAVAILABLE.
  virtual absl::StatusOr<std::vector<Coupon>> FindArmable(absl::Time now) = 0;
};

/// The store's half of the fence around a gate: which generation is the valid one, and what a
/// gate of that generation must hold. Thread-safe.
class GateAuthority {
 public:
  virtual ~GateAuthority() = default;

  /// Makes the next generation of this coupon's gate the valid one, and returns the coupon with
  /// it. NOT_FOUND: there is no such coupon. UNAVAILABLE: unknown; ask again.
  virtual absl::StatusOr<Coupon> AdvanceGeneration(CouponId coupon) = 0;

  /// The generation of the last barrier that the recorder has passed for this coupon.
  /// UNAVAILABLE: ask again.
  virtual absl::StatusOr<Generation> PassedBarrier(CouponId coupon) = 0;

  /// What the gate must hold by the rows alone: their users, and as many units as are left of the
  /// total and of what is available, whichever is less. Reads every row of the coupon. UNAVAILABLE.
  virtual absl::StatusOr<GateContents> ReadContents(CouponId coupon) = 0;
};

}  // namespace ecom::coupon
