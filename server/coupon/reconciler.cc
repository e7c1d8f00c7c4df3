#include "coupon/reconciler.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::coupon {
namespace {

// How often a rebuild looks whether the recorder has come to its barrier.
constexpr absl::Duration kBarrierPollMin = absl::Milliseconds(1);
constexpr absl::Duration kBarrierPollMax = absl::Milliseconds(50);

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
  for (absl::Duration wait = absl::ZeroDuration();; wait = options_.interval) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, absl::ToChronoMilliseconds(wait),
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
  std::lock_guard rebuild_lock(rebuild_mutex_);
  return ReconcileLocked();
}

absl::Status Reconciler::ReconcileLocked() {
  const auto armable = deps_.store.FindArmable(deps_.clock.Now());
  if (!armable.ok()) {
    all_open_ = false;
    return armable.status();
  }
  absl::flat_hash_set<CouponId> requested;
  {
    std::lock_guard lock(mutex_);
    std::swap(requested, rebuild_requests_);
  }
  std::vector<Wish> wishes;
  std::vector<Coupon> with_reservations;
  int64_t open = 0, reservations = 0, stock = 0, drifting = 0;
  absl::Status status;
  for (const Coupon& coupon : *armable) {
    deps_.directory.Put(coupon);
    const auto state = deps_.control.Inspect(coupon);
    if (!state.ok()) {
      status.Update(state.status());
      continue;
    }
    if (!*state || !(*state)->open || (*state)->generation != coupon.gate_generation) {
      wishes.push_back({.coupon = coupon});
      continue;
    }
    ++open;
    reservations += (*state)->reservations;
    stock += (*state)->stock;
    const bool contradicts = options_.repairs && Contradicts(coupon, **state);
    drifting += contradicts ? 1 : 0;
    if (contradicts || requested.contains(coupon.id)) {
      wishes.push_back({.coupon = coupon, .force = true});
    } else if ((*state)->reservations > 0) {
      with_reservations.push_back(coupon);
    }
  }
  gates_open_ = open;
  gates_closed_ = static_cast<int64_t>(armable->size()) - open;
  reservations_ = reservations;
  stock_ = stock;
  drifting_ = drifting;
  drifts_ += drifting;
  if (!wishes.empty()) {
    const absl::Status rebuilt = RebuildLocked(wishes);
    if (rebuilt.ok()) {
      gates_open_ += gates_closed_;
      gates_closed_ = 0;
    }
    status.Update(rebuilt);
  }
  all_open_ = status.ok();
  if (!status.ok()) AskAgain(requested);
  if (options_.repairs) {
    for (const Coupon& coupon : with_reservations) status.Update(SettleOrRepublish(coupon));
  }
  status.Update(DisarmAllBut(*armable));
  return status;
}

/// Whoever wants a rebuild has not got it yet, perhaps; Run waits before it looks again.
void Reconciler::AskAgain(const absl::flat_hash_set<CouponId>& requested) {
  std::lock_guard lock(mutex_);
  rebuild_requests_.insert(requested.begin(), requested.end());
}

bool Reconciler::Contradicts(const Coupon& coupon, const GateState& state) {
  if (!histories_[coupon.id].Contradicts(coupon, state)) return false;
  base::Log(base::Level::kWarn, "the gate contradicts the rows; it is rebuilt",
            {{"coupon_id", coupon.id.value},
             {"gate_total", state.total},
             {"gate_stock", state.stock},
             {"gate_participants", state.participants},
             {"gate_reservations", state.reservations},
             {"total_quantity", coupon.total_quantity},
             {"available_quantity", coupon.available_quantity}});
  return true;
}

absl::Status Reconciler::EnsureArmed(CouponId id) {
  std::lock_guard lock(rebuild_mutex_);
  ASSIGN_OR_RETURN(const bool open, IsOpen(id));
  if (open) return absl::OkStatus();
  // All that are closed, not this one alone: after a loss of all, each waits as long as one.
  const absl::Status status = ReconcileLocked();
  ASSIGN_OR_RETURN(const bool armed, IsOpen(id));
  if (armed) return absl::OkStatus();
  return absl::UnavailableError(status.ok() ? "the gate is not open" : status.message());
}

/// Whether the gate is open at the generation that is valid now; if so, the directory knows it.
absl::StatusOr<bool> Reconciler::IsOpen(CouponId id) {
  ASSIGN_OR_RETURN(std::vector<std::optional<Coupon>> coupons, deps_.store.FindCoupons({&id, 1}));
  if (!coupons[0]) return absl::NotFoundError(absl::StrCat("no coupon ", id.value));
  ASSIGN_OR_RETURN(const std::optional<GateState> state, deps_.control.Inspect(*coupons[0]));
  if (!state || !state->open || state->generation != coupons[0]->gate_generation) return false;
  deps_.directory.Put(*std::move(coupons[0]));
  return true;
}

/// Opens gates anew, so that each holds what the rows hold. Whoever the log does not know by then
/// was never promised anything, and never will be: see the barriers and ack_deadline. All at once,
/// so that many gates, after a loss of all, take as long as one.
absl::Status Reconciler::RebuildLocked(const std::vector<Wish>& wishes) {
  for (const Wish& wish : wishes) armed_.erase(wish.coupon.id);
  ASSIGN_OR_RETURN(const std::unique_ptr<GateLock> lock,
                   deps_.authority.LockGates(options_.lock_timeout));
  if (lock == nullptr) return absl::UnavailableError("another server is building gates");
  ASSIGN_OR_RETURN(const std::vector<Coupon> closed, CloseAll(wishes));
  if (closed.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(WaitForPromises(closed));
  base::Failpoint("rebuild.before-barrier");
  int partitions = 0;
  for (const Coupon& coupon : closed) {
    const Barrier barrier = {.coupon = coupon.id,
                             .generation = coupon.gate_generation,
                             .incarnation = coupon.incarnation};
    ASSIGN_OR_RETURN(partitions, deps_.log.AppendBarrier(barrier));
  }
  const absl::Duration give_up = deps_.clock.Monotonic() + options_.drain_timeout;
  for (const Coupon& coupon : closed) {
    RETURN_IF_ERROR(WaitForBarrier(coupon, partitions, give_up));
  }
  absl::Status status;
  for (const Coupon& coupon : closed) status.Update(Open(coupon, *lock));
  return status;
}

/// Closes the gates that still want it, each for its next generation, which is then the valid one.
/// The store is asked first: while only the store knows of a generation, no gate is open.
absl::StatusOr<std::vector<Coupon>> Reconciler::CloseAll(const std::vector<Wish>& wishes) {
  std::vector<CouponId> ids;
  for (const Wish& wish : wishes) ids.push_back(wish.coupon.id);
  // Read under the lock: another server may have been faster.
  ASSIGN_OR_RETURN(const auto coupons, deps_.store.FindCoupons(ids));
  std::vector<Coupon> closed;
  for (size_t i = 0; i < wishes.size(); ++i) {
    if (!coupons[i]) continue;
    ASSIGN_OR_RETURN(const std::optional<GateState> state, deps_.control.Inspect(*coupons[i]));
    const bool open = state && state->open && state->generation == coupons[i]->gate_generation;
    const bool moved_on = coupons[i]->gate_generation != wishes[i].coupon.gate_generation;
    if (open && (moved_on || !wishes[i].force)) {
      deps_.directory.Put(*coupons[i]);
      continue;
    }
    ASSIGN_OR_RETURN(Coupon coupon, deps_.authority.AdvanceGeneration(ids[i]));
    ASSIGN_OR_RETURN(const ClosedGate gate, deps_.control.Close(coupon));
    const bool is_first = coupon.gate_generation.value == 1;
    if (gate.may_have_admitted && !is_first) NoteThatItAdmitted(coupon.id);
    RETURN_IF_ERROR(deps_.authority.SetHome(coupon.id, coupon.gate_generation, gate.home));
    coupon.gate_home = gate.home;
    closed.push_back(std::move(coupon));
  }
  return closed;
}

absl::Status Reconciler::Open(const Coupon& coupon, GateLock& lock) {
  ASSIGN_OR_RETURN(GateContents contents, deps_.authority.ReadContents(coupon.id));
  const int64_t stock = contents.stock;
  const int64_t participants = static_cast<int64_t>(contents.participants.size());
  Coupon armed = coupon;
  armed.total_quantity = stock + participants;  // less than the coupon's where a person took units
  // Whoever holds it now may have closed this gate for a later generation already.
  if (!lock.Held()) return absl::UnavailableError("the lock of the gates was lost");
  base::Failpoint("rebuild.before-arm");
  RETURN_IF_ERROR(deps_.control.Arm(armed, std::move(contents)));
  deps_.directory.Put(coupon);
  armed_.insert(coupon.id);
  suspects_.erase(coupon.id);
  ++rebuilds_;
  base::Log(base::Level::kInfo, "gate open",
            {{"coupon_id", coupon.id.value},
             {"generation", coupon.gate_generation.value},
             {"stock", stock},
             {"participants", participants}});
  return absl::OkStatus();
}

void Reconciler::NoteThatItAdmitted(CouponId id) {
  promises_until_[id] = deps_.clock.Monotonic() + options_.ack_deadline;
}

/// Waits until nobody who was admitted by the gates that were closed last can still be promised
/// anything; a gate may have been closed by an earlier try that failed.
absl::Status Reconciler::WaitForPromises(const std::vector<Coupon>& coupons) {
  for (const Coupon& coupon : coupons) {
    const auto until = promises_until_.find(coupon.id);
    if (until == promises_until_.end()) continue;
    const absl::Duration left = until->second - deps_.clock.Monotonic();
    if (left > absl::ZeroDuration() && !WaitUnlessStopped(left)) {
      return absl::UnavailableError("stopped during a rebuild");
    }
    promises_until_.erase(until);
  }
  return absl::OkStatus();
}

absl::Status Reconciler::WaitForBarrier(const Coupon& coupon, int partitions,
                                        absl::Duration give_up) {
  absl::Duration wait = kBarrierPollMin;
  for (;;) {
    ASSIGN_OR_RETURN(const Generation passed, deps_.authority.PassedBarrier(coupon.id, partitions));
    if (passed >= coupon.gate_generation) return absl::OkStatus();
    if (deps_.clock.Monotonic() >= give_up) {
      return absl::UnavailableError("the recorder did not come to the barrier in time");
    }
    if (!WaitUnlessStopped(wait)) return absl::UnavailableError("stopped during a rebuild");
    wait = std::min(wait * 2, kBarrierPollMax);
  }
}

/// Reservations that are old and no row. Old age alone proves nothing, the recorder may lag: so the
/// log's end is read once they are old, and they are lost when all before it is recorded and they
/// are still there.
absl::StatusOr<std::vector<Reservation>> Reconciler::FindLost(const Coupon& coupon,
                                                              std::optional<Suspects>& suspects) {
  if (!suspects) {
    const absl::Duration since = deps_.clock.Monotonic();
    ASSIGN_OR_RETURN(
        const std::vector<Reservation> old,
        deps_.control.FindReservationsOlderThan(coupon.id, options_.reservation_age_max, 1));
    if (old.empty()) return old;
    ASSIGN_OR_RETURN(LogPositions ends, deps_.progress.Ends());
    suspects = {.since = since, .ends = std::move(ends)};
  }
  ASSIGN_OR_RETURN(const LogPositions committed, deps_.progress.Committed());
  if (!Reached(committed, suspects->ends)) {
    ASSIGN_OR_RETURN(const LogPositions ends, deps_.progress.Ends());
    // A log that is shorter than it was has been made anew: where the old one ended is never
    // reached.
    if (!Reached(ends, suspects->ends)) suspects.reset();
    return std::vector<Reservation>();
  }
  const absl::Duration age =
      options_.reservation_age_max + deps_.clock.Monotonic() - suspects->since;
  ASSIGN_OR_RETURN(std::vector<Reservation> lost,
                   deps_.control.FindReservationsOlderThan(coupon.id, age, options_.republish_max));
  suspects.reset();
  return lost;
}

absl::StatusOr<Reconciler::Repair> Reconciler::Judge(const Coupon& coupon,
                                                     const std::vector<Reservation>& lost) {
  std::vector<Holder> holders;
  for (const Reservation& reservation : lost) holders.push_back(reservation.claim.holder);
  ASSIGN_OR_RETURN(const std::vector<std::optional<Issue>> issues, deps_.store.FindIssues(holders));
  Repair repair;
  for (size_t i = 0; i < lost.size(); ++i) {
    if (issues[i] && issues[i]->state == IssueState::kIssued) {
      repair.settled.push_back(lost[i].claim);
      continue;
    }
    repair.append.push_back({.holder = lost[i].claim.holder,
                             .request = lost[i].claim.request,
                             .incarnation = coupon.incarnation,
                             .generation = coupon.gate_generation,
                             .claimed_at = lost[i].claimed_at,
                             .trace_parent = ""});
  }
  return repair;
}

/// Tells the gate of rows that it has not heard of, and appends again what is no row. A gate that
/// holds what is no reservation contradicts the rows: only a rebuild cures it.
absl::Status Reconciler::SettleOrRepublish(const Coupon& coupon) {
  const absl::StatusOr<std::vector<Reservation>> lost = FindLost(coupon, suspects_[coupon.id]);
  if (absl::IsFailedPrecondition(lost.status())) {
    base::Log(base::Level::kWarn, "the gate's reservations cannot be read; it is rebuilt",
              {{"coupon_id", coupon.id.value}, {"error", lost.status()}});
    RequestRebuild(coupon.id);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(lost.status());
  if (lost->empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<GateLock> lock,
                   deps_.authority.LockGates(absl::ZeroDuration()));
  if (lock == nullptr) return absl::OkStatus();  // another server is at it
  ASSIGN_OR_RETURN(const Repair repair, Judge(coupon, *lost));
  if (!repair.settled.empty()) {
    RETURN_IF_ERROR(deps_.gate.Recorded(repair.settled));
    const auto count = static_cast<int64_t>(repair.settled.size());
    settled_ += count;
    base::Log(base::Level::kInfo, "the gate was told of rows that it had not heard of",
              {{"coupon_id", coupon.id.value}, {"claims", count}});
  }
  if (!repair.append.empty()) {
    RETURN_IF_ERROR(deps_.log.Append(repair.append));
    const auto count = static_cast<int64_t>(repair.append.size());
    republished_ += count;
    base::Log(base::Level::kWarn, "reservations without a log record were appended again",
              {{"coupon_id", coupon.id.value}, {"claims", count}});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Reconciler::Preview() {
  std::lock_guard rebuild_lock(rebuild_mutex_);
  ASSIGN_OR_RETURN(const std::vector<Coupon> armable, deps_.store.FindArmable(deps_.clock.Now()));
  std::vector<std::string> lines;
  for (const Coupon& coupon : armable) {
    ASSIGN_OR_RETURN(const std::vector<std::string> of_one, PreviewOf(coupon));
    for (const std::string& line : of_one) {
      lines.push_back(absl::StrCat("coupon ", coupon.id.value, ": ", line));
    }
  }
  return lines;
}

/// Judges by copies of what earlier passes saw, so that no pass notices.
absl::StatusOr<std::vector<std::string>> Reconciler::PreviewOf(const Coupon& coupon) {
  using Lines = std::vector<std::string>;
  ASSIGN_OR_RETURN(const std::optional<GateState> state, deps_.control.Inspect(coupon));
  if (!state || !state->open || state->generation != coupon.gate_generation) {
    return Lines{absl::StrCat("rebuild the gate: it is not open at generation ",
                              coupon.gate_generation.value)};
  }
  const auto known = histories_.find(coupon.id);
  GateHistory history = known == histories_.end() ? GateHistory() : known->second;
  // Two looks, as a difference counts only when it stays.
  if (history.Contradicts(coupon, *state) || history.Contradicts(coupon, *state)) {
    return Lines{absl::StrCat("rebuild the gate: it holds ", state->stock, " units and ",
                              state->participants, " participants, the store has ",
                              coupon.available_quantity, " of ", coupon.total_quantity)};
  }
  if (state->reservations == 0) return Lines();
  const auto suspected = suspects_.find(coupon.id);
  std::optional<Suspects> suspects;
  if (suspected != suspects_.end()) suspects = suspected->second;
  const absl::StatusOr<std::vector<Reservation>> lost = FindLost(coupon, suspects);
  if (absl::IsFailedPrecondition(lost.status())) {
    return Lines{"rebuild the gate: its reservations cannot be read"};
  }
  RETURN_IF_ERROR(lost.status());
  if (lost->empty()) return Lines();
  ASSIGN_OR_RETURN(const Repair repair, Judge(coupon, *lost));
  Lines lines;
  if (!repair.settled.empty()) {
    lines.push_back(absl::StrCat("drop ", repair.settled.size(), " reservations that are rows"));
  }
  if (!repair.append.empty()) {
    lines.push_back(absl::StrCat("append ", repair.append.size(), " lost reservations again"));
  }
  return lines;
}

absl::Status Reconciler::DisarmAllBut(const std::vector<Coupon>& armable) {
  absl::flat_hash_set<CouponId> over = armed_;
  for (const Coupon& coupon : armable) over.erase(coupon.id);
  for (const CouponId id : over) {
    RETURN_IF_ERROR(deps_.control.Disarm(id));
    NoteThatItAdmitted(id);
    armed_.erase(id);
    histories_.erase(id);
    suspects_.erase(id);
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
          .settled = settled_.load(),
          .gates_open = gates_open_.load(),
          .gates_closed = gates_closed_.load(),
          .reservations = reservations_.load(),
          .stock = stock_.load(),
          .drifting = drifting_.load(),
          .drifts = drifts_.load()};
}

}  // namespace ecom::coupon
