#include "coupon/reconciler.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::coupon {
namespace {

// How often a rebuild looks whether the recorder has come to its barrier.
constexpr absl::Duration kBarrierPollMin = absl::Milliseconds(1);
constexpr absl::Duration kBarrierPollMax = absl::Milliseconds(50);

/// Passes in a row that must see the same difference between gate and rows before it counts.
constexpr int kSuspiciousPasses = 2;

}  // namespace

Reconciler::Reconciler(Options options, Deps deps) : options_(options), deps_(deps) {}

Reconciler::~Reconciler() { Stop(); }

void Reconciler::Start() {
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "reconciler");
}

void Reconciler::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Reconciler::Run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, absl::ToChronoMilliseconds(options_.interval),
                     [this] { return stopping_ || !rebuild_requests_.empty(); });
      if (stopping_) return;
    }
    if (const absl::Status status = Reconcile(); !status.ok()) {
      base::Log(base::Level::kWarn, "gates could not be compared with the store",
                {{"error", status}});
      if (!WaitUnlessStopped(options_.interval)) return;
    }
  }
}

absl::Status Reconciler::Reconcile() {
  // Locked before the store is read: a gate that is armed meanwhile would look superfluous.
  std::lock_guard rebuild_lock(rebuild_mutex_);
  ASSIGN_OR_RETURN(const std::vector<Coupon> armable, deps_.store.FindArmable(deps_.clock.Now()));
  absl::flat_hash_set<CouponId> requested;
  {
    std::lock_guard lock(mutex_);
    std::swap(requested, rebuild_requests_);
  }
  reservations_ = 0;
  drifting_ = 0;
  absl::Status status;
  for (const Coupon& coupon : armable) {
    status.Update(requested.contains(coupon.id) ? RebuildLocked(coupon.id)
                                                : ReconcileCoupon(coupon));
  }
  status.Update(DisarmAllBut(armable));
  gates_open_ = static_cast<int64_t>(armed_.size());
  return status;
}

absl::Status Reconciler::ReconcileCoupon(const Coupon& coupon) {
  deps_.directory.Put(coupon);
  ASSIGN_OR_RETURN(const std::optional<GateState> state, deps_.control.Inspect(coupon.id));
  if (!state || !state->open || state->generation != coupon.gate_generation) {
    return RebuildLocked(coupon.id);
  }
  reservations_ += state->reservations;
  if (Contradicts(coupon, *state)) {
    ++drifting_;
    base::Log(base::Level::kWarn, "the gate contradicts the rows; it is rebuilt",
              {{"coupon_id", coupon.id.value},
               {"gate_total", state->total},
               {"gate_stock", state->stock},
               {"gate_participants", state->participants},
               {"gate_reservations", state->reservations},
               {"total_quantity", coupon.total_quantity},
               {"available_quantity", coupon.available_quantity}});
    return RebuildLocked(coupon.id);
  }
  if (state->reservations > 0) return Republish(coupon);
  return absl::OkStatus();
}

/// By itself and against what the store allows at once. The store was read first, and a row is
/// there before the gate hears of it: so of the gate's participants at least `told` were rows when
/// the store was read, and at most all of them; between the two lies no contradiction.
///
/// Against the rows only while nothing is on its way and only when the same difference stays; one
/// that a rebuild did not cure lies in the store, and no second rebuild would cure it.
bool Reconciler::Contradicts(const Coupon& coupon, const GateState& state) {
  const int64_t told = state.participants - state.reservations;
  const int64_t allowed_min = std::min(coupon.total_quantity, coupon.available_quantity + told);
  const int64_t allowed_max =
      std::max(state.participants,
               std::min(coupon.total_quantity, coupon.available_quantity + state.participants));
  if (state.stock + state.participants != state.total || state.total < allowed_min ||
      state.total > allowed_max) {
    return true;
  }

  const int64_t difference = state.stock - coupon.available_quantity;
  Suspicion& suspicion = suspicions_[coupon.id];
  if (state.reservations > 0) return false;
  if (difference != suspicion.difference || difference == 0) suspicion = {.difference = difference};
  if (difference == 0 || ++suspicion.passes < kSuspiciousPasses || suspicion.rebuilt) return false;
  suspicion.rebuilt = true;
  return true;
}

absl::Status Reconciler::EnsureArmed(CouponId id) {
  std::lock_guard lock(rebuild_mutex_);
  const std::array<CouponId, 1> ids = {id};
  ASSIGN_OR_RETURN(std::vector<std::optional<Coupon>> coupons, deps_.store.FindCoupons(ids));
  if (!coupons[0]) return absl::NotFoundError(absl::StrCat("no coupon ", id.value));
  ASSIGN_OR_RETURN(const std::optional<GateState> state, deps_.control.Inspect(id));
  if (state && state->open && state->generation == coupons[0]->gate_generation) {
    deps_.directory.Put(*std::move(coupons[0]));
    return absl::OkStatus();
  }
  return RebuildLocked(id);
}

/// Opens the gate anew, so that it holds what the rows hold. Whoever the log does not know by
/// then was never promised anything, and never will be: see the barrier and ack_deadline.
absl::Status Reconciler::RebuildLocked(CouponId id) {
  ASSIGN_OR_RETURN(const bool was_open, deps_.control.Close(id));
  armed_.erase(id);
  if (was_open) NoteThatItAdmitted(id);
  ASSIGN_OR_RETURN(const Coupon coupon, deps_.authority.AdvanceGeneration(id));
  RETURN_IF_ERROR(WaitForPromises(id));
  RETURN_IF_ERROR(deps_.log.AppendBarrier(id, coupon.gate_generation));
  RETURN_IF_ERROR(WaitForBarrier(coupon));
  ASSIGN_OR_RETURN(GateContents contents, deps_.authority.ReadContents(id));
  const int64_t stock = contents.stock;
  const int64_t participants = static_cast<int64_t>(contents.participants.size());
  Coupon armed = coupon;
  armed.total_quantity = stock + participants;  // less than the coupon's where a person took units
  RETURN_IF_ERROR(deps_.control.Arm(armed, std::move(contents)));
  deps_.directory.Put(coupon);
  armed_.insert(id);
  ++rebuilds_;
  base::Log(base::Level::kInfo, "gate open",
            {{"coupon_id", id.value},
             {"generation", coupon.gate_generation.value},
             {"stock", stock},
             {"participants", participants}});
  return absl::OkStatus();
}

void Reconciler::NoteThatItAdmitted(CouponId id) {
  promises_until_[id] = deps_.clock.Monotonic() + options_.ack_deadline;
}

/// Waits until nobody who was admitted by the gate that was closed last can still be promised
/// anything; that gate may have been closed by an earlier try that failed.
absl::Status Reconciler::WaitForPromises(CouponId id) {
  const auto until = promises_until_.find(id);
  if (until == promises_until_.end()) return absl::OkStatus();
  const absl::Duration left = until->second - deps_.clock.Monotonic();
  if (left > absl::ZeroDuration() && !WaitUnlessStopped(left)) {
    return absl::UnavailableError("stopped during a rebuild");
  }
  promises_until_.erase(until);
  return absl::OkStatus();
}

absl::Status Reconciler::WaitForBarrier(const Coupon& coupon) {
  const absl::Duration give_up = deps_.clock.Monotonic() + options_.drain_timeout;
  absl::Duration wait = kBarrierPollMin;
  for (;;) {
    ASSIGN_OR_RETURN(const Generation passed, deps_.authority.PassedBarrier(coupon.id));
    if (passed >= coupon.gate_generation) return absl::OkStatus();
    if (deps_.clock.Monotonic() >= give_up) {
      return absl::UnavailableError("the recorder did not come to the barrier in time");
    }
    if (!WaitUnlessStopped(wait)) return absl::UnavailableError("stopped during a rebuild");
    wait = std::min(wait * 2, kBarrierPollMax);
  }
}

/// Appends again what is reserved and was lost between gate and log. Old age alone proves
/// nothing, the recorder may lag: so the log must be read to its end first.
absl::Status Reconciler::Republish(const Coupon& coupon) {
  const absl::Time before = deps_.clock.Now() - options_.reservation_age_max;
  ASSIGN_OR_RETURN(std::vector<Reservation> suspects,
                   deps_.control.FindReservationsBefore(coupon.id, before, options_.republish_max));
  if (suspects.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const int64_t lag, deps_.source.Lag());
  if (lag > 0) return absl::OkStatus();
  // Read once more: what the recorder had in hand at the first reading is settled by now.
  ASSIGN_OR_RETURN(const std::vector<Reservation> lost,
                   deps_.control.FindReservationsBefore(coupon.id, before, options_.republish_max));
  std::vector<AdmittedClaim> claims;
  for (const Reservation& reservation : lost) {
    claims.push_back({.holder = reservation.claim.holder,
                      .request = reservation.claim.request,
                      .incarnation = coupon.incarnation,
                      .generation = coupon.gate_generation,
                      .claimed_at = reservation.claimed_at});
  }
  if (claims.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(deps_.log.Append(claims));
  republished_ += static_cast<int64_t>(claims.size());
  base::Log(base::Level::kWarn, "reservations without a log record were appended again",
            {{"coupon_id", coupon.id.value}, {"claims", static_cast<int64_t>(claims.size())}});
  return absl::OkStatus();
}

absl::Status Reconciler::DisarmAllBut(const std::vector<Coupon>& armable) {
  absl::flat_hash_set<CouponId> over = armed_;
  for (const Coupon& coupon : armable) over.erase(coupon.id);
  for (const CouponId id : over) {
    RETURN_IF_ERROR(deps_.control.Disarm(id));
    NoteThatItAdmitted(id);
    armed_.erase(id);
    suspicions_.erase(id);
  }
  return absl::OkStatus();
}

void Reconciler::RequestRebuild(CouponId id) {
  {
    std::lock_guard lock(mutex_);
    rebuild_requests_.insert(id);
  }
  wake_.notify_all();
}

bool Reconciler::WaitUnlessStopped(absl::Duration duration) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, absl::ToChronoMilliseconds(duration), [this] { return stopping_; });
}

Reconciler::Stats Reconciler::stats() const {
  return {.rebuilds = rebuilds_.load(),
          .republished = republished_.load(),
          .gates_open = gates_open_.load(),
          .reservations = reservations_.load(),
          .drifting = drifting_.load()};
}

}  // namespace ecom::coupon
