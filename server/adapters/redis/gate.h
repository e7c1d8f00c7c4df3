#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "adapters/redis/connection.h"
#include "base/call_stats.h"
#include "coupon/gate.h"

namespace ecom::adapters::redis {

/// The users that a gate holds, as they stand there.
struct GateParticipants {
  std::vector<coupon::UserId> users;  ///< in order, each once
  std::vector<std::string> foreign;   ///< what somebody has put there and is no user
};

/// What a gate holds of one user.
struct GateHolder {
  bool is_participant = false;
  std::optional<coupon::Reservation> reservation;
};

/// The gate in a Redis (6.2 or later), for servers that share it. A batch is one script call.
///
/// Four keys hold a coupon: `coupon:issue:async:<what>:<id>` with stock (a string), participants (a
/// set), reservations (a hash from user to "request:microseconds") and meta (a hash). They expire
/// two hours after the last server has stopped using them (coupon::kArmedPastEnd), so never in a
/// live gate. Each Admit checks that stock and participants make up the sum that the gate was armed
/// with, and that there are as many reservations as meta says; a gate that somebody flushed, cut or
/// changed by hand answers FAILED_PRECONDITION. So does one in a Redis that was restarted or failed
/// over since: it may have lost the last second. Redis' own clock decides whether the window, as it
/// was when the gate was armed, is open, and dates the reservations.
///
/// Redis must run with `noeviction`: one that evicts forgets who holds a coupon. Thread-safe; the
/// request path, the recorders and the reconciler's side have a connection each, made anew after a
/// failure.
class RedisCouponGate final : public coupon::CouponGate, public coupon::GateControl {
 public:
  struct Options {
    Address address;
    absl::Duration connect_timeout = absl::Milliseconds(500);
    /// For one round trip. Short against the time within which a claim must be answered.
    absl::Duration command_timeout = absl::Milliseconds(500);
    /// Reservations of one coupon: claims that are accepted and not yet rows. Beyond, claims are
    /// refused as kBusy, so that the log stays short enough to be read again.
    int64_t reservations_max = 100000;
    /// Puts the id in braces, so that Redis Cluster keeps one coupon's keys together.
    bool cluster = false;
  };

  /// Does not connect: that happens at the first call.
  explicit RedisCouponGate(Options options);

  /// Whether this Redis may hold a gate at all. FAILED_PRECONDITION, with a line for the operator:
  /// it evicts keys, or is older than 6.2. UNAVAILABLE: it cannot be asked; ask again.
  absl::Status CheckServer();

  /// As the port says; up to 512 Ki claims (Redis takes 1 Mi arguments), else INVALID_ARGUMENT. A
  /// connection that is lost after sending counts as unknown, too.
  absl::StatusOr<std::vector<coupon::Admission>> Admit(
      const coupon::Coupon& coupon, std::span<const coupon::Claim> claims) override;
  absl::StatusOr<std::vector<std::optional<coupon::RequestId>>> FindReservations(
      const coupon::Coupon& coupon, std::span<const coupon::UserId> users) override;
  absl::Status Recorded(std::span<const coupon::Claim> claims) override;
  bool Durable() const override { return true; }

  /// As the port says, in two round trips and one more for each 10,000 participants. A call that
  /// comes late must not undo what others did, so a gate that is open at this generation stays as
  /// it is. FAILED_PRECONDITION, too, when `contents` names a participant twice, and when the keys
  /// would expire at once.
  absl::Status Arm(const coupon::Coupon& coupon, coupon::GateContents contents) override;
  /// As the port says. What it admitted is always on its way perhaps: another server may have been
  /// told a moment ago.
  absl::StatusOr<coupon::ClosedGate> Close(const coupon::Coupon& coupon) override;
  absl::Status Disarm(coupon::CouponId coupon) override;
  /// As the port says. `open` is false also when Admit would not find the gate whole; a number that
  /// cannot be read is -1.
  absl::StatusOr<std::optional<coupon::GateState>> Inspect(const coupon::Coupon& coupon) override;
  /// As the port says, in one round trip and one more for each 1,000 reservations that are read.
  absl::StatusOr<std::vector<coupon::Reservation>> FindReservationsOlderThan(
      coupon::CouponId coupon, absl::Duration age, int reservations_max) override;

  /// As FindReservationsOlderThan, for whoever names a moment of Redis' clock.
  absl::StatusOr<std::vector<coupon::Reservation>> FindReservationsBefore(coupon::CouponId coupon,
                                                                          absl::Time before,
                                                                          int reservations_max);

  /// Reads the participants, in one round trip for each 1,000; for whoever checks the gate, which
  /// stays open meanwhile: who comes or goes while it is read may be missing. Memory: 8 bytes each.
  ///
  /// * RESOURCE_EXHAUSTED: more than `users_max`.
  /// * FAILED_PRECONDITION: somebody has put something else in their place.
  /// * UNAVAILABLE: it cannot be reached; ask again.
  absl::StatusOr<GateParticipants> ReadParticipants(coupon::CouponId coupon, size_t users_max);

  /// Reads what the gate holds of one user, be it open or not. One round trip. Errors as
  /// ReadParticipants'.
  absl::StatusOr<GateHolder> ReadHolder(const coupon::Holder& holder);

  /// What its connections have counted together.
  base::CallStats::Snapshot calls() const;

 private:
  std::string Key(const char* what, coupon::CouponId coupon) const;
  /// stock, participants, reservations, meta: as the scripts take them.
  std::vector<std::string> Keys(coupon::CouponId coupon) const;
  absl::StatusOr<Reply> Control(const ScriptCall& call, std::string_view home = "");
  absl::StatusOr<absl::Time> Now();

  const Options options_;
  // Whoever waits for a Redis that does not answer holds up only its like.
  Connection requests_;
  Connection recorded_;
  Connection control_;
};

}  // namespace ecom::adapters::redis
