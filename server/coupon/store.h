#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
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
  kIssuedEarlier,  ///< the row that this very record became, when it was delivered before
  kDuplicate,      ///< another record of this holder became the row
  kOverAdmitted,   ///< no unit was left: a broken promise, kept as a rejection
  kStale,          ///< of a generation behind a barrier: nobody was promised anything
  kUnknownCoupon,  ///< no such coupon, or another incarnation of it; not kept
  kBarrier,        ///< a barrier, now remembered
  kMalformed,      ///< none of ours; not kept
};

struct RecordResult {
  RecordOutcome outcome = RecordOutcome::kMalformed;
  absl::Time issued_at;  ///< of the row, for kIssued and kIssuedEarlier
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
  /// barriers. A barrier counts in its own partition only. Idempotent: the same batch again changes
  /// nothing more.
  ///
  /// Remembers, too, how far each partition is recorded, and that everything before `announced` has
  /// been published: only what is recorded and may not have been published comes back as
  /// kIssuedEarlier when it is delivered again. `batch` may be empty.
  ///
  /// Returns one result per record, or
  /// * UNAVAILABLE: unknown whether the batch was committed; record the same batch again.
  /// * another error: this batch cannot be recorded; record its records one by one.
  virtual absl::StatusOr<std::vector<RecordResult>> Record(std::span<const LogRecord> batch,
                                                           const LogPositions& announced) = 0;

  /// Reads the coupons whose gate must be armed at `now`: from `starts_at` to
  /// kArmedPastEnd past `ends_at`. Returns UNAVAILABLE.
  virtual absl::StatusOr<std::vector<Coupon>> FindArmable(absl::Time now) = 0;
};

/// Held by whoever builds and repairs gates, so that of several servers one does it. Let go when it
/// ends.
class GateLock {
 public:
  virtual ~GateLock() = default;

  /// Whether it is surely still held: the place that keeps it may have forgotten it.
  virtual bool Held() = 0;
};

/// The store's half of the fence around a gate: which generation is the valid one, and what a
/// gate of that generation must hold. Thread-safe.
class GateAuthority {
 public:
  virtual ~GateAuthority() = default;

  /// Takes the lock of all gates; waits for it up to `wait`, in whole seconds. nullptr: another one
  /// has it. UNAVAILABLE: ask again.
  virtual absl::StatusOr<std::unique_ptr<GateLock>> LockGates(absl::Duration wait) = 0;

  /// Makes the next generation of this coupon's gate the valid one, above every barrier that was
  /// passed under this id, with no home yet, and returns
  /// the coupon with it. NOT_FOUND: there is no such coupon. UNAVAILABLE: unknown; ask again.
  virtual absl::StatusOr<Coupon> AdvanceGeneration(CouponId coupon) = 0;

  /// Says where the gate of `generation` is built. FAILED_PRECONDITION: that is not the valid
  /// generation any more. UNAVAILABLE: unknown; ask again.
  virtual absl::Status SetHome(CouponId coupon, Generation generation, const std::string& home) = 0;

  /// The generation of the last barrier that the recorder has passed for this coupon in all of
  /// `partitions` partitions. UNAVAILABLE: ask again.
  virtual absl::StatusOr<Generation> PassedBarrier(CouponId coupon, int partitions) = 0;

  /// What the gate must hold by the rows alone: their users, and as many units as are left of the
  /// total and of what is available, whichever is less. Reads every row of the coupon. UNAVAILABLE.
  virtual absl::StatusOr<GateContents> ReadContents(CouponId coupon) = 0;
};

}  // namespace ecom::coupon
