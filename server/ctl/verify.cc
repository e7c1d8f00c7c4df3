#include "ctl/verify.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "adapters/kafka/dead_letters.h"
#include "adapters/mysql/settled_letters.h"
#include "base/status_macros.h"
#include "ctl/facts.h"
#include "ctl/journal.h"
#include "ctl/judge.h"

namespace ecom::ctl {
namespace {

using coupon::CouponId;
using coupon::GateState;
using coupon::UserId;
using nlohmann::ordered_json;

constexpr int64_t kUsersShown = 20;
constexpr int64_t kUsersShownMax = 10'000'000;
/// Between two looks while it waits.
constexpr absl::Duration kDrainPoll = absl::Milliseconds(50);

struct Verdict {
  CouponId id;
  CouponSnapshot snapshot;
  int64_t dead_letters = 0;
  std::vector<Finding> findings;
  std::vector<InvariantLine> lines;

  Exit exit() const {
    if (!findings.empty()) return Exit::kBroken;
    return snapshot.facts.quiet ? Exit::kClean : Exit::kUnable;
  }
  const char* word() const {
    switch (exit()) {
      case Exit::kClean: return "clean";
      case Exit::kBroken: return "broken";
      case Exit::kUnable: break;
    }
    return "on-the-way";
  }
};

const char* WordOf(Holding holding) {
  switch (holding) {
    case Holding::kHolds: return "holds";
    case Holding::kBroken: return "broken";
    case Holding::kNotYetKnown: return "not-yet-known";
    case Holding::kNotJudged: break;
  }
  return "not-judged";
}

absl::Status ReadJournals(const CommandLine& line, CouponId id, CouponFacts& facts) {
  const auto journals = line.flags.find("journal");
  if (journals == line.flags.end()) return absl::OkStatus();
  facts.told.emplace();
  for (const std::string& path : journals->second) {
    RETURN_IF_ERROR(ReadJournal(path, id, *facts.told));
  }
  return absl::OkStatus();
}

/// Those that nobody has dealt with: as many as `dlt list` shows.
absl::StatusOr<int64_t> CountDeadLetters(app::StackBacking& stack, const base::Clock& clock) {
  ASSIGN_OR_RETURN(const auto box,
                   adapters::kafka::DeadLetterBox::Create({.brokers = stack.brokers()}));
  ASSIGN_OR_RETURN(const adapters::kafka::LetterRange range, box->Range());
  adapters::mysql::MysqlSettledLetters settled(stack.pool(), clock);
  int64_t count = 0;
  for (const auto& [partition, begin] : range.begins) {
    const coupon::LogPosition end = range.ends.at(partition);
    ASSIGN_OR_RETURN(const auto dealt_with, settled.Between(partition, begin, end));
    count += end - begin - static_cast<int64_t>(dealt_with.size());
  }
  return count;
}

absl::Status CheckThatItExists(const CouponFacts& facts, CouponId id) {
  const bool has_anything =
      facts.records.coupon || !facts.records.rows.empty() || !facts.records.rejections.empty();
  if (has_anything) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("there is no coupon ", id.value));
}

void SayUsers(const std::vector<UserId>& users, size_t users_max, std::ostream& out) {
  if (users.empty()) return;
  out << ": " << users.size() << (users.size() == 1 ? " user:" : " users:");
  for (size_t i = 0; i < std::min(users_max, users.size()); ++i) out << " " << users[i].value;
  if (users.size() > users_max) out << " … (all of them with -o json, or --users-max)";
}

void SayNumbers(const Verdict& verdict, std::ostream& out) {
  const CouponFacts& facts = verdict.snapshot.facts;
  if (facts.records.coupon) {
    out << "  store  total " << facts.records.coupon->total_quantity << ", available "
        << facts.records.coupon->available_quantity << ", rows " << facts.records.rows.size()
        << ", rejections " << facts.records.rejections.size() << "\n";
  }
  out << "  gate   ";
  if (facts.gate) {
    out << (facts.gate->open ? "open" : "closed") << " at generation "
        << facts.gate->generation.value << ", stock " << facts.gate->stock << ", participants "
        << facts.gate->participants << ", reservations " << facts.gate->reservations << "\n";
  } else {
    out << (facts.gate_seen ? "none" : "in the memory of the server, so it is not looked at")
        << "\n";
  }
  const LogProgress& log = verdict.snapshot.log;
  out << "  log    lag " << log.lag() << ", committed/end";
  for (const auto& [partition, end] : log.ends) {
    const auto committed = log.committed.find(partition);
    out << "  " << partition << ": " << (committed == log.committed.end() ? 0 : committed->second)
        << "/" << end;
  }
  out << "\n  dead letters " << verdict.dead_letters;
  if (verdict.dead_letters > 0) out << ", of whatever coupon: see ecomctl dlt list";
  out << "\n";
}

void Say(const Verdict& verdict, size_t users_max, std::ostream& out) {
  const Exit exit = verdict.exit();
  out << "coupon " << verdict.id.value << ": "
      << (exit == Exit::kClean    ? "clean"
          : exit == Exit::kBroken ? "BROKEN"
                                  : "not known yet")
      << "\n";
  SayNumbers(verdict, out);
  if (!verdict.snapshot.facts.quiet) {
    out << "  Claims are on their way from the gate to their rows: what these may yet bring about "
           "is "
           "not judged.\n  With --wait 30s it is, once they have arrived.\n";
  }
  for (const InvariantLine& line : verdict.lines) {
    if (line.holding == Holding::kBroken) {
      out << "  " << line.invariant << "  BROKEN\n";
      for (const Finding& finding : verdict.findings) {
        if (finding.invariant != line.invariant) continue;
        out << "      " << finding.what;
        SayUsers(finding.users, users_max, out);
        out << "\n";
      }
      continue;
    }
    out << "  " << line.invariant << "  " << absl::StrReplaceAll(WordOf(line.holding), {{"-", " "}})
        << ": " << line.text << "\n";
  }
}

ordered_json GateJson(const GateState& gate) {
  return {{"open", gate.open},
          {"generation", gate.generation.value},
          {"total", gate.total},
          {"stock", gate.stock},
          {"participants", gate.participants},
          {"reservations", gate.reservations}};
}

void Print(const Verdict& verdict, size_t users_max, std::ostream& out) {
  const CouponFacts& facts = verdict.snapshot.facts;
  const LogProgress& log = verdict.snapshot.log;
  ordered_json json = {
      {"coupon", verdict.id.value},        {"verdict", verdict.word()},
      {"ok", verdict.findings.empty()},    {"on_the_way", !facts.quiet},
      {"rows", facts.records.rows.size()}, {"rejections", facts.records.rejections.size()}};
  if (facts.records.coupon) {
    json["total"] = facts.records.coupon->total_quantity;
    json["available"] = facts.records.coupon->available_quantity;
  }
  if (facts.gate) json["gate"] = GateJson(*facts.gate);
  json["dead_letters"] = verdict.dead_letters;
  json["lag"] = log.lag();
  json["log"] = ordered_json::array();
  for (const auto& [partition, end] : log.ends) {
    const auto committed = log.committed.find(partition);
    json["log"].push_back({{"partition", partition},
                           {"committed", committed == log.committed.end() ? 0 : committed->second},
                           {"end", end}});
  }
  json["invariants"] = ordered_json::array();
  for (const InvariantLine& line : verdict.lines) {
    json["invariants"].push_back(
        {{"invariant", line.invariant}, {"state", WordOf(line.holding)}, {"text", line.text}});
  }
  json["findings"] = ordered_json::array();
  for (const Finding& finding : verdict.findings) {
    ordered_json entry = {{"invariant", finding.invariant},
                          {"what", finding.what},
                          {"count", finding.users.size()},
                          {"users", ordered_json::array()}};
    for (size_t i = 0; i < std::min(users_max, finding.users.size()); ++i) {
      entry["users"].push_back(finding.users[i].value);
    }
    json["findings"].push_back(std::move(entry));
  }
  out << json.dump(2) << "\n";
}

absl::StatusOr<Exit> Conclude(Verdict verdict, const CommandLine& line, std::ostream& out) {
  // A program wants them all, a person a screen of them.
  ASSIGN_OR_RETURN(const int64_t users_max,
                   line.Number("users-max", line.AsJson() ? kUsersShownMax : kUsersShown));
  verdict.findings = Judge(verdict.snapshot.facts);
  verdict.lines = Summarize(verdict.snapshot.facts, verdict.findings);
  if (line.AsJson()) {
    Print(verdict, static_cast<size_t>(users_max), out);
  } else {
    Say(verdict, static_cast<size_t>(users_max), out);
  }
  return verdict.exit();
}

/// Waits until nothing is on its way and the gate is open, or the time is up.
absl::Status WaitForDrain(app::StackBacking& stack, const base::Clock& clock, CouponId id,
                          absl::Duration wait) {
  const absl::Duration give_up = clock.Monotonic() + wait;
  while (clock.Monotonic() < give_up) {
    ASSIGN_OR_RETURN(const LogProgress log, ReadLogProgress(stack));
    ASSIGN_OR_RETURN(const auto coupons, stack.coupon_store().FindCoupons({&id, 1}));
    std::optional<GateState> gate;
    if (coupons[0]) {
      ASSIGN_OR_RETURN(gate, stack.control().Inspect(*coupons[0]));
    }
    if (log.lag() == 0 && (!gate || (gate->open && gate->reservations == 0))) break;
    absl::SleepFor(kDrainPoll);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Exit> Verify(app::StackBacking& stack, const base::Clock& clock,
                            const CommandLine& line, std::ostream& out) {
  ASSIGN_OR_RETURN(const int64_t coupon, line.Number("coupon"));
  ASSIGN_OR_RETURN(const absl::Duration wait, line.Duration("wait", absl::ZeroDuration()));
  Verdict verdict = {.id = {coupon}};
  RETURN_IF_ERROR(WaitForDrain(stack, clock, verdict.id, wait));
  ASSIGN_OR_RETURN(verdict.snapshot, ReadSnapshot(stack, clock, verdict.id));
  CouponFacts& facts = verdict.snapshot.facts;
  RETURN_IF_ERROR(CheckThatItExists(facts, verdict.id));
  RETURN_IF_ERROR(ReadJournals(line, verdict.id, facts));
  if (facts.told) RETURN_IF_ERROR(ReadFeed(stack, verdict.id, facts));
  ASSIGN_OR_RETURN(verdict.dead_letters, CountDeadLetters(stack, clock));
  return Conclude(std::move(verdict), line, out);
}

absl::StatusOr<Exit> Verify(adapters::embedded::EmbeddedCouponAudit& file, const CommandLine& line,
                            std::ostream& out) {
  ASSIGN_OR_RETURN(const int64_t coupon, line.Number("coupon"));
  ASSIGN_OR_RETURN(const absl::Duration wait, line.Duration("wait", absl::ZeroDuration()));
  Verdict verdict = {.id = {coupon}};
  const absl::Time give_up = absl::Now() + wait;
  for (;;) {
    ASSIGN_OR_RETURN(verdict.snapshot, ReadSnapshot(file, verdict.id));
    if (verdict.snapshot.facts.quiet || absl::Now() >= give_up) break;
    absl::SleepFor(kDrainPoll);
  }
  RETURN_IF_ERROR(CheckThatItExists(verdict.snapshot.facts, verdict.id));
  RETURN_IF_ERROR(ReadJournals(line, verdict.id, verdict.snapshot.facts));
  ASSIGN_OR_RETURN(verdict.dead_letters, file.CountDeadLetters());
  return Conclude(std::move(verdict), line, out);
}

}  // namespace ecom::ctl
