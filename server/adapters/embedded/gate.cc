#include "adapters/embedded/gate.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace ecom::adapters::embedded {

using coupon::Admission;
using coupon::Claim;
using coupon::CouponId;
using coupon::Verdict;

EmbeddedCouponGate::EmbeddedCouponGate(Options options, const base::Clock& clock)
    : options_(options), clock_(clock), home_(coupon::RequestId::Random().ToString()) {}

absl::StatusOr<std::vector<Admission>> EmbeddedCouponGate::Admit(const coupon::Coupon& coupon,
                                                                 std::span<const Claim> claims) {
  const absl::Time now = clock_.Now();
  const bool in_window = now >= coupon.starts_at && now < coupon.ends_at;
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Gate * gate, FindArmed(coupon));
  std::vector<Admission> admissions;
  admissions.reserve(claims.size());
  for (const Claim& claim : claims) {
    admissions.push_back(Decide(*gate, claim, in_window, now));
  }
  return admissions;
}

absl::StatusOr<EmbeddedCouponGate::Gate*> EmbeddedCouponGate::FindArmed(
    const coupon::Coupon& coupon) {
  const auto position = gates_.find(coupon.id);
  if (position == gates_.end() || !position->second.open ||
      position->second.generation != coupon.gate_generation || coupon.gate_home != home_) {
    return absl::FailedPreconditionError(
        absl::StrCat("the gate of coupon ", coupon.id.value, " is not armed"));
  }
  return &position->second;
}

Admission EmbeddedCouponGate::Decide(Gate& gate, const Claim& claim, bool in_window,
                                     absl::Time now) {
  if (gate.participants.contains(claim.holder.user)) {
    const auto reservation = gate.reservations.find(claim.holder.user);
    if (reservation == gate.reservations.end()) {
      return {.verdict = Verdict::kDuplicate, .recorded = true};
    }
    if (reservation->second.request == claim.request) return {.verdict = Verdict::kReplay};
    return {.verdict = Verdict::kDuplicate, .recorded = false};
  }
  if (!in_window) return {.verdict = Verdict::kNotOpen};
  if (gate.stock == 0) return {.verdict = Verdict::kSoldOut};
  if (static_cast<int64_t>(gate.reservations.size()) >= options_.reservations_max) {
    return {.verdict = Verdict::kBusy};
  }
  --gate.stock;
  gate.participants.insert(claim.holder.user);
  gate.reservations.emplace(
      claim.holder.user,
      Held{.request = claim.request, .claimed_at = now, .since = clock_.Monotonic()});
  return {.verdict = Verdict::kAdmitted};
}

absl::StatusOr<std::vector<std::optional<coupon::RequestId>>> EmbeddedCouponGate::FindReservations(
    const coupon::Coupon& coupon, std::span<const coupon::UserId> users) {
  std::vector<std::optional<coupon::RequestId>> found(users.size());
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const Gate* gate, FindArmed(coupon));
  for (size_t i = 0; i < users.size(); ++i) {
    const auto reservation = gate->reservations.find(users[i]);
    if (reservation != gate->reservations.end()) found[i] = reservation->second.request;
  }
  return found;
}

absl::Status EmbeddedCouponGate::Recorded(std::span<const Claim> claims) {
  std::lock_guard lock(mutex_);
  for (const Claim& claim : claims) {
    const auto gate = gates_.find(claim.holder.coupon);
    if (gate == gates_.end()) continue;
    const auto reservation = gate->second.reservations.find(claim.holder.user);
    if (reservation != gate->second.reservations.end() &&
        reservation->second.request == claim.request) {
      gate->second.reservations.erase(reservation);
    }
  }
  return absl::OkStatus();
}

absl::Status EmbeddedCouponGate::Arm(const coupon::Coupon& coupon, coupon::GateContents contents) {
  if (coupon.gate_home != home_) {
    return absl::FailedPreconditionError("the gate's home is another process");
  }
  Gate gate{.generation = coupon.gate_generation,
            .incarnation = coupon.incarnation,
            .open = true,
            .total = coupon.total_quantity,
            .stock = contents.stock,
            .participants = {contents.participants.begin(), contents.participants.end()},
            .reservations = {}};
  std::lock_guard lock(mutex_);
  Gate& held = gates_[coupon.id];
  if (held.incarnation == coupon.incarnation && held.generation > coupon.gate_generation) {
    return absl::FailedPreconditionError("the gate was closed for a later generation");
  }
  held = std::move(gate);
  return absl::OkStatus();
}

absl::StatusOr<coupon::ClosedGate> EmbeddedCouponGate::Close(const coupon::Coupon& coupon) {
  std::lock_guard lock(mutex_);
  Gate& gate = gates_[coupon.id];
  if (gate.incarnation != coupon.incarnation || gate.generation < coupon.gate_generation) {
    gate.generation = coupon.gate_generation;
    gate.incarnation = coupon.incarnation;
  }
  return coupon::ClosedGate{.may_have_admitted = std::exchange(gate.open, false), .home = home_};
}

absl::Status EmbeddedCouponGate::Disarm(CouponId coupon) {
  std::lock_guard lock(mutex_);
  gates_.erase(coupon);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<coupon::GateState>> EmbeddedCouponGate::Inspect(
    const coupon::Coupon& coupon) {
  std::lock_guard lock(mutex_);
  const auto position = gates_.find(coupon.id);
  if (position == gates_.end()) return std::nullopt;
  const Gate& gate = position->second;
  return coupon::GateState{.generation = gate.generation,
                           .open = gate.open && coupon.gate_home == home_,
                           .total = gate.total,
                           .stock = gate.stock,
                           .participants = static_cast<int64_t>(gate.participants.size()),
                           .reservations = static_cast<int64_t>(gate.reservations.size())};
}

absl::StatusOr<std::vector<coupon::Reservation>> EmbeddedCouponGate::FindReservationsOlderThan(
    CouponId coupon, absl::Duration age, int reservations_max) {
  const absl::Duration now = clock_.Monotonic();
  std::vector<coupon::Reservation> found;
  std::lock_guard lock(mutex_);
  const auto position = gates_.find(coupon);
  if (position == gates_.end()) return found;
  for (const auto& [user, held] : position->second.reservations) {
    if (found.size() >= static_cast<size_t>(reservations_max)) break;
    if (now - held.since <= age) continue;
    found.push_back({.claim = {.holder = {.coupon = coupon, .user = user}, .request = held.request},
                     .claimed_at = held.claimed_at});
  }
  return found;
}

}  // namespace ecom::adapters::embedded
