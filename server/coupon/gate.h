#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coupon/coupon.h"

namespace ecom::coupon {

/// The gate's verdict on one claim.
enum class Verdict {
  kAdmitted,   ///< a unit was taken, and a reservation written
  kReplay,     ///< this very request holds a reservation: append it again, it may have been lost
  kDuplicate,  ///< another request of this user holds the unit
  kNotOpen,    ///< outside the coupon's window
  kSoldOut,    ///< no unit left
  kBusy,       ///< the cap on reservations is reached: the recorder lags; nothing was taken
};

struct Admission {
  Verdict verdict = Verdict::kBusy;
  /// Only for kDuplicate: the holder has no reservation any more, so the store has the row and
  /// knows its request id.
  bool recorded = false;
};

/// Decides who gets a coupon. The only place where stock is taken. Thread-safe.
class CouponGate {
 public:
  virtual ~CouponGate() = default;

  /// Decides every claim on `coupon`, in order, in one round trip. Checks, in this order: same
  /// request again, duplicate, window, stock. Idempotent on (user, request).
  ///
  /// Returns one Admission per claim, or
  /// * FAILED_PRECONDITION: the gate is not armed at `coupon.gate_generation`, or not at
  ///   `coupon.gate_home`; nothing was taken. Arm or rebuild it, then ask again.
  /// * UNAVAILABLE: nothing was taken; safe to retry.
  /// * DEADLINE_EXCEEDED: unknown outcome; retry with the same claims.
  virtual absl::StatusOr<std::vector<Admission>> Admit(const Coupon& coupon,
                                                       std::span<const Claim> claims) = 0;

  /// Finds the reservation of each user, in order; nullopt where there is none. One round trip.
  ///
  /// * FAILED_PRECONDITION: the gate is not armed at `coupon.gate_generation`, or holds what is no
  ///   reservation, so it does not know.
  /// * UNAVAILABLE: it cannot be asked.
  virtual absl::StatusOr<std::vector<std::optional<RequestId>>> FindReservations(
      const Coupon& coupon, std::span<const UserId> users) = 0;

  /// Drops the reservations of claims whose fate is in the store. Idempotent; a holder whose
  /// reservation is of another request keeps it. One round trip.
  ///
  /// Returns UNAVAILABLE when the gate cannot be told; tell it again.
  virtual absl::Status Recorded(std::span<const Claim> claims) = 0;

  /// Whether reservations outlive a crash of this process. Where they do not, a refusal that
  /// rests on one must wait until the log holds it: else a crash makes the refusal untrue.
  virtual bool Durable() const = 0;
};

/// What a gate holds when it opens.
struct GateContents {
  int64_t stock = 0;
  std::vector<UserId> participants;
};

/// A reservation as its gate remembers it.
struct Reservation {
  Claim claim;
  absl::Time claimed_at;
};

/// The state of one coupon's gate.
struct GateState {
  Generation generation;
  /// Whether Admit would find it whole and open.
  bool open = false;
  int64_t total = 0;
  int64_t stock = 0;
  int64_t participants = 0;
  int64_t reservations = 0;

  friend bool operator==(const GateState&, const GateState&) = default;
};

/// What is known of a gate that was closed.
struct ClosedGate {
  /// Claims that it admitted up to now may still be on their way to a promise.
  bool may_have_admitted = false;
  /// Where the next gate will be built; another text after each event, such as a restart or a
  /// failover, in which the place may have forgotten something.
  std::string home;
};

/// Opens and closes gates: the reconciler's side. Thread-safe.
class GateControl {
 public:
  virtual ~GateControl() = default;

  /// Opens the gate of `coupon` at `coupon.gate_generation` with `contents` and no reservations,
  /// whatever it held before. Idempotent.
  ///
  /// * FAILED_PRECONDITION: the place is not `coupon.gate_home` any more, or somebody has closed
  ///   the gate for this or a later generation; begin the rebuild anew.
  /// * UNAVAILABLE: it cannot be reached.
  virtual absl::Status Arm(const Coupon& coupon, GateContents contents) = 0;

  /// From now on Admit answers FAILED_PRECONDITION for this coupon, and nothing but an Arm at
  /// `coupon.gate_generation` or a later one opens its gate again. Idempotent. UNAVAILABLE: it
  /// cannot be reached.
  virtual absl::StatusOr<ClosedGate> Close(const Coupon& coupon) = 0;

  /// Drops a gate that is over for good. Idempotent. Returns UNAVAILABLE.
  virtual absl::Status Disarm(CouponId coupon) = 0;

  /// Reads the state of one gate, which is not open where it is not at `coupon.gate_home`: nullopt
  /// when there is none. Returns UNAVAILABLE.
  virtual absl::StatusOr<std::optional<GateState>> Inspect(const Coupon& coupon) = 0;

  /// Reads up to `reservations_max` reservations that are older than `age`, in no special order. By
  /// the clock that dated them, as the caller's may be another one.
  ///
  /// * FAILED_PRECONDITION: the gate holds what is no reservation; rebuild it.
  /// * UNAVAILABLE: it cannot be reached; ask again.
  virtual absl::StatusOr<std::vector<Reservation>> FindReservationsOlderThan(
      CouponId coupon, absl::Duration age, int reservations_max) = 0;
};

}  // namespace ecom::coupon
