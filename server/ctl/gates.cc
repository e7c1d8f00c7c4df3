#include "ctl/gates.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "coupon/directory.h"
#include "coupon/reconciler.h"

namespace ecom::ctl {
namespace {

using coupon::Coupon;
using coupon::CouponId;
using coupon::GateState;
using nlohmann::ordered_json;

/// A server's ack-deadline, at most a minute, is not known here; by default a rebuild takes some
/// seconds.
constexpr absl::Duration kRebuildMax = absl::Minutes(1);
/// Between two looks of one reconcile, however seldom the servers look.
constexpr absl::Duration kSecondLookMax = absl::Seconds(5);
constexpr absl::Duration kRebuildPoll = absl::Milliseconds(50);
/// For a server that is building gates: less than MySQL's read timeout.
constexpr absl::Duration kLockWait = absl::Seconds(3);

absl::StatusOr<Coupon> FindCoupon(app::StackBacking& stack, CouponId id) {
  ASSIGN_OR_RETURN(auto coupons, stack.coupon_store().FindCoupons({&id, 1}));
  if (!coupons[0]) return absl::NotFoundError(absl::StrCat("there is no coupon ", id.value));
  return *std::move(coupons[0]);
}

absl::StatusOr<std::vector<Coupon>> CouponsToShow(app::StackBacking& stack,
                                                  const base::Clock& clock,
                                                  const CommandLine& line) {
  if (!line.Has("coupon")) return stack.coupon_store().FindArmable(clock.Now());
  ASSIGN_OR_RETURN(const int64_t id, line.Number("coupon"));
  ASSIGN_OR_RETURN(Coupon coupon, FindCoupon(stack, {id}));
  return std::vector<Coupon>{std::move(coupon)};
}

bool IsValid(const std::optional<GateState>& gate, const Coupon& coupon) {
  return gate && gate->open && gate->generation == coupon.gate_generation;
}

ordered_json JsonOf(const Coupon& coupon, const std::optional<GateState>& gate) {
  ordered_json json = {{"coupon", coupon.id.value},
                       {"open", IsValid(gate, coupon)},
                       {"valid_generation", coupon.gate_generation.value},
                       {"home", coupon.gate_home}};
  if (gate) {
    json["generation"] = gate->generation.value;
    json["total"] = gate->total;
    json["stock"] = gate->stock;
    json["participants"] = gate->participants;
    json["reservations"] = gate->reservations;
  }
  return json;
}

void Say(const Coupon& coupon, const std::optional<GateState>& gate, std::ostream& out) {
  out << "coupon " << coupon.id.value << ": ";
  if (!gate) {
    out << "no gate; generation " << coupon.gate_generation.value << " is the valid one\n";
    return;
  }
  out << (IsValid(gate, coupon) ? "open" : "closed") << " at generation " << gate->generation.value;
  if (gate->generation != coupon.gate_generation) {
    out << " (" << coupon.gate_generation.value << " is the valid one)";
  }
  out << ", stock " << gate->stock << ", participants " << gate->participants << ", reservations "
      << gate->reservations << "\n";
}

/// Under the lock of the gates, so that no server is in the midst of building one.
absl::StatusOr<Coupon> Invalidate(app::StackBacking& stack, CouponId id) {
  ASSIGN_OR_RETURN(const auto lock, stack.authority().LockGates(kLockWait));
  if (lock == nullptr) {
    return absl::UnavailableError("a server is building gates at this moment; ask again");
  }
  return stack.authority().AdvanceGeneration(id);
}

/// What became of the gate when it is open at `asked` or later; nullopt: it is not within a minute.
absl::StatusOr<std::optional<GateState>> WaitUntilOpen(app::StackBacking& stack,
                                                       const base::Clock& clock,
                                                       const Coupon& asked) {
  const absl::Duration give_up = clock.Monotonic() + kRebuildMax;
  while (clock.Monotonic() < give_up) {
    ASSIGN_OR_RETURN(const Coupon coupon, FindCoupon(stack, asked.id));
    ASSIGN_OR_RETURN(const std::optional<GateState> gate, stack.control().Inspect(coupon));
    if (IsValid(gate, coupon) && gate->generation >= asked.gate_generation) return gate;
    absl::SleepFor(kRebuildPoll);
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<Exit> ShowGates(app::StackBacking& stack, const base::Clock& clock,
                               const CommandLine& line, std::ostream& out) {
  ASSIGN_OR_RETURN(const std::vector<Coupon> coupons, CouponsToShow(stack, clock, line));
  ordered_json all = ordered_json::array();
  for (const Coupon& coupon : coupons) {
    ASSIGN_OR_RETURN(const std::optional<GateState> gate, stack.control().Inspect(coupon));
    all.push_back(JsonOf(coupon, gate));
    if (!line.AsJson()) Say(coupon, gate, out);
  }
  if (line.AsJson()) out << all.dump(2) << "\n";
  return Exit::kClean;
}

absl::StatusOr<Exit> RebuildGate(app::StackBacking& stack, const base::Clock& clock,
                                 const CommandLine& line, std::ostream& out) {
  ASSIGN_OR_RETURN(const int64_t id, line.Number("coupon"));
  ASSIGN_OR_RETURN(const Coupon coupon, FindCoupon(stack, {id}));
  const absl::Time now = clock.Now();
  if (now < coupon.starts_at || now >= coupon.ends_at + coupon::kArmedPastEnd) {
    return absl::FailedPreconditionError(absl::StrCat(
        "coupon ", id, " has no gate now: it has one from its start until 24 hours past its end"));
  }
  ASSIGN_OR_RETURN(const Coupon asked, Invalidate(stack, coupon.id));
  ASSIGN_OR_RETURN(const std::optional<GateState> gate, WaitUntilOpen(stack, clock, asked));
  if (!gate) {
    out << "the gate of coupon " << id << " is closed for generation "
        << asked.gate_generation.value << ", and not open again after "
        << absl::FormatDuration(kRebuildMax)
        << ": a server builds it as soon as one runs, with a recorder\n";
    return Exit::kBroken;
  }
  out << "the gate of coupon " << id << " is open at generation " << gate->generation.value
      << ", stock " << gate->stock << ", participants " << gate->participants << "\n";
  return Exit::kClean;
}

absl::StatusOr<Exit> Reconcile(app::StackBacking& stack, const app::Config& config,
                               const base::Clock& clock, const CommandLine& line,
                               std::ostream& out) {
  coupon::CouponDirectory directory({}, stack.coupon_store(), clock);
  coupon::Reconciler reconciler(
      {.interval = config.coupon.reconcile_interval, .ack_deadline = config.coupon.ack_deadline},
      {.store = stack.coupon_store(),
       .authority = stack.authority(),
       .gate = stack.gate(),
       .control = stack.control(),
       .log = stack.log(),
       .progress = stack.progress(),
       .directory = directory,
       .clock = clock});
  if (line.Has("dry-run")) {
    ASSIGN_OR_RETURN(const std::vector<std::string> lines, reconciler.Preview());
    for (const std::string& text : lines) out << text << "\n";
    if (lines.empty()) out << "nothing to do\n";
    return lines.empty() ? Exit::kClean : Exit::kBroken;
  }
  RETURN_IF_ERROR(reconciler.Reconcile());
  absl::SleepFor(std::min(config.coupon.reconcile_interval, kSecondLookMax));
  RETURN_IF_ERROR(reconciler.Reconcile());
  const coupon::Reconciler::Stats stats = reconciler.stats();
  out << "gates: " << stats.gates_open << " open, " << stats.rebuilds
      << " rebuilt; reservations: " << stats.settled << " settled, " << stats.republished
      << " appended again, " << stats.reservations << " on their way\n";
  return Exit::kClean;
}

}  // namespace ecom::ctl
