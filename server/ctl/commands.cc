#include "ctl/commands.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "adapters/kafka/dead_letters.h"
#include "adapters/kafka/history.h"
#include "adapters/mysql/coupon_audit.h"
#include "adapters/mysql/settled_letters.h"
#include "app/stack_backing.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "coupon/directory.h"
#include "coupon/reconciler.h"
#include "ctl/journal.h"
#include "ctl/judge.h"

namespace ecom::ctl {
namespace {

using adapters::kafka::DeadLetter;
using adapters::kafka::DeadLetterBox;
using coupon::AdmittedClaim;
using coupon::Coupon;
using coupon::CouponId;
using coupon::GateState;
using coupon::Holder;
using coupon::UserId;
using nlohmann::ordered_json;

/// Bounds the memory of one command to about 1 GB.
constexpr size_t kRowsMax = 10'000'000;
constexpr int kLettersMax = 100'000;
constexpr int kUsersShown = 20;
constexpr absl::Duration kDrainPoll = absl::Milliseconds(50);
constexpr absl::Duration kRebuildMax = absl::Seconds(60);

/// The words and flags of a command line: `verify --coupon 1 --journal a --journal b`.
struct Arguments {
  std::vector<std::string> words;
  std::map<std::string, std::vector<std::string>> flags;

  std::string Last(const std::string& name, std::string fallback) const {
    const auto flag = flags.find(name);
    return flag == flags.end() ? std::move(fallback) : flag->second.back();
  }

  absl::StatusOr<int64_t> Number(const std::string& name) const {
    int64_t number = 0;
    if (!absl::SimpleAtoi(Last(name, ""), &number) || number < 0) {
      return absl::InvalidArgumentError(absl::StrCat("--", name, " needs a number; see --help"));
    }
    return number;
  }
};

absl::StatusOr<Arguments> Parse(std::span<const std::string> args) {
  Arguments parsed;
  for (size_t i = 0; i < args.size(); ++i) {
    std::string name = args[i];
    if (name == "-o") name = "--output";
    if (name.rfind("--", 0) != 0) {
      parsed.words.push_back(name);
      continue;
    }
    name.erase(0, 2);
    const size_t equals = name.find('=');
    if (equals != name.npos) {
      parsed.flags[name.substr(0, equals)].push_back(name.substr(equals + 1));
    } else if (name == "dry-run" || name == "all" || name == "help") {
      parsed.flags[name].emplace_back("true");
    } else if (i + 1 < args.size()) {
      parsed.flags[name].push_back(args[++i]);
    } else {
      return absl::InvalidArgumentError(absl::StrCat("--", name, " needs a value; see --help"));
    }
  }
  return parsed;
}

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone());
}

std::string IdText(const std::optional<coupon::RequestId>& request) {
  return request ? request->ToString() : "(malformed)";
}

/// The operator's commands on one stack.
class Commands {
 public:
  Commands(app::StackBacking& stack, const base::Clock& clock, const Arguments& arguments,
           std::ostream& out)
      : stack_(stack),
        clock_(clock),
        arguments_(arguments),
        out_(out),
        audit_(stack.pool()),
        settled_(stack.pool(), clock) {}

  absl::StatusOr<Exit> Run() {
    const std::vector<std::string>& words = arguments_.words;
    const std::string command = words.empty() ? "" : words[0];
    const std::string verb = words.size() > 1 ? words[1] : "";
    if (words.size() > 2) return Unknown();
    if (command == "verify" && verb.empty()) return Verify();
    if (command == "explain" && verb.empty()) return Explain();
    if (command == "reconcile" && verb.empty()) return Reconcile();
    if (command == "gate" && verb == "show") return ShowGates();
    if (command == "gate" && verb == "rebuild") return RebuildGate();
    if (command == "dlt" && verb == "list") return ListLetters();
    if (command == "dlt" && verb == "show") return ShowLetter();
    if (command == "dlt" && (verb == "replay" || verb == "discard")) return SettleLetters(verb);
    return Unknown();
  }

 private:
  static absl::Status Unknown() {
    return absl::InvalidArgumentError("no such command; ecomctl --help lists them");
  }

  bool AsJson() const { return arguments_.Last("output", "text") == "json"; }

  absl::StatusOr<CouponId> CouponFlag() const {
    ASSIGN_OR_RETURN(const int64_t id, arguments_.Number("coupon"));
    return CouponId{id};
  }

  absl::StatusOr<std::optional<GateState>> GateOf(const std::optional<Coupon>& coupon) {
    if (!coupon) return std::nullopt;
    return stack_.control().Inspect(*coupon);
  }

  struct Log {
    coupon::LogPositions ends;
    coupon::LogPositions committed;
  };

  absl::StatusOr<Log> ReadLog() {
    Log log;
    ASSIGN_OR_RETURN(log.ends, stack_.progress().Ends());
    ASSIGN_OR_RETURN(log.committed, stack_.progress().Committed());
    return log;
  }

  /// Waits until nothing is on its way, or the time is up.
  absl::StatusOr<Log> WaitForDrain(CouponId id) {
    absl::Duration wait;
    if (!absl::ParseDuration(arguments_.Last("wait", "0s"), &wait)) {
      return absl::InvalidArgumentError("--wait needs a duration such as 30s");
    }
    const absl::Time give_up = absl::Now() + wait;
    for (;;) {
      ASSIGN_OR_RETURN(Log log, ReadLog());
      ASSIGN_OR_RETURN(const auto coupons, stack_.coupon_store().FindCoupons({&id, 1}));
      ASSIGN_OR_RETURN(const std::optional<GateState> gate, GateOf(coupons[0]));
      const bool quiet =
          coupon::LagOf(log.ends, log.committed) == 0 && (!gate || gate->reservations == 0);
      if (quiet || absl::Now() >= give_up) return log;
      absl::SleepFor(kDrainPoll);
    }
  }

  absl::StatusOr<Exit> Verify() {
    ASSIGN_OR_RETURN(const CouponId id, CouponFlag());
    ASSIGN_OR_RETURN(const Log log, WaitForDrain(id));
    CouponFacts facts;
    ASSIGN_OR_RETURN(facts.records, audit_.ReadCoupon(id, kRowsMax));
    ASSIGN_OR_RETURN(facts.gate, GateOf(facts.records.coupon));
    std::vector<std::string> foreign;
    if (facts.gate) {
      ASSIGN_OR_RETURN(auto participants, stack_.gate().ReadParticipants(id, kRowsMax));
      facts.participants = std::move(participants.users);
      foreign = std::move(participants.foreign);
    }
    if (const auto journals = arguments_.flags.find("journal");
        journals != arguments_.flags.end()) {
      facts.told.emplace();
      for (const std::string& path : journals->second) {
        RETURN_IF_ERROR(ReadJournal(path, id, *facts.told));
      }
      RETURN_IF_ERROR(ReadFeed(id, facts));
    }
    std::vector<Finding> findings = Judge(facts);
    if (!foreign.empty()) {
      findings.push_back(
          {"I7", absl::StrCat(foreign.size(), " members of the gate are no users"), {}});
    }
    const int64_t lag = coupon::LagOf(log.ends, log.committed);
    const bool on_the_way = lag > 0 || (facts.gate && facts.gate->reservations > 0);
    if (AsJson()) {
      PrintVerdict(id, facts, log, on_the_way, findings);
    } else {
      SayVerdict(id, facts, log, on_the_way, findings);
    }
    return findings.empty() ? Exit::kClean : Exit::kBroken;
  }

  /// Leaves `announced` empty where the feed was not read whole, which proves nothing.
  absl::Status ReadFeed(CouponId id, CouponFacts& facts) {
    ASSIGN_OR_RETURN(const auto history, OpenHistory());
    absl::btree_map<coupon::RequestId, UserId> announced;
    ASSIGN_OR_RETURN(const adapters::kafka::FeedCoverage coverage,
                     history->VisitEvents([&](const coupon::IssuedCoupon& issued) {
                       if (issued.holder.coupon == id && announced.size() < kRowsMax) {
                         announced.emplace(issued.request, issued.holder.user);
                       }
                     }));
    if (coverage.from_the_first && coverage.to_the_end) facts.announced = std::move(announced);
    return absl::OkStatus();
  }

  void SayVerdict(CouponId id, const CouponFacts& facts, const Log& log, bool on_the_way,
                  const std::vector<Finding>& findings) {
    out_ << "coupon " << id.value << ": " << (findings.empty() ? "clean" : "BROKEN") << "\n";
    if (facts.records.coupon) {
      out_ << "  store  total " << facts.records.coupon->total_quantity << ", available "
           << facts.records.coupon->available_quantity << ", rows " << facts.records.rows.size()
           << ", rejections " << facts.records.rejections.size() << "\n";
    }
    if (facts.gate) {
      out_ << "  gate   " << (facts.gate->open ? "open" : "closed") << " at generation "
           << facts.gate->generation.value << ", stock " << facts.gate->stock << ", participants "
           << facts.gate->participants << ", reservations " << facts.gate->reservations << "\n";
    } else {
      out_ << "  gate   none\n";
    }
    out_ << "  log    lag " << coupon::LagOf(log.ends, log.committed) << ", committed/end";
    for (const auto& [partition, end] : log.ends) {
      const auto committed = log.committed.find(partition);
      out_ << "  " << partition << ": "
           << (committed == log.committed.end() ? 0 : committed->second) << "/" << end;
    }
    out_ << "\n";
    if (on_the_way) {
      out_
          << "  Claims are on their way: what differs may settle. Verify again, with --wait 30s.\n";
    }
    absl::StatusOr<int64_t> shown_max = arguments_.Number("users-max");
    const size_t users_max = shown_max.ok() ? static_cast<size_t>(*shown_max) : kUsersShown;
    for (const Finding& finding : findings) {
      out_ << "  " << finding.invariant << "  " << finding.what;
      if (!finding.users.empty()) out_ << ": " << finding.users.size() << " users:";
      for (size_t i = 0; i < std::min(users_max, finding.users.size()); ++i) {
        out_ << " " << finding.users[i].value;
      }
      if (finding.users.size() > users_max) out_ << " …";
      out_ << "\n";
    }
  }

  void PrintVerdict(CouponId id, const CouponFacts& facts, const Log& log, bool on_the_way,
                    const std::vector<Finding>& findings) {
    ordered_json verdict = {{"coupon", id.value},
                            {"ok", findings.empty()},
                            {"on_the_way", on_the_way},
                            {"rows", facts.records.rows.size()},
                            {"rejections", facts.records.rejections.size()},
                            {"lag", coupon::LagOf(log.ends, log.committed)}};
    if (facts.records.coupon) {
      verdict["total"] = facts.records.coupon->total_quantity;
      verdict["available"] = facts.records.coupon->available_quantity;
    }
    if (facts.gate) verdict["gate"] = GateJson(*facts.gate);
    for (const auto& [partition, end] : log.ends) {
      const auto committed = log.committed.find(partition);
      verdict["log"].push_back(
          {{"partition", partition},
           {"committed", committed == log.committed.end() ? 0 : committed->second},
           {"end", end}});
    }
    verdict["findings"] = ordered_json::array();
    for (const Finding& finding : findings) {
      ordered_json entry = {{"invariant", finding.invariant}, {"what", finding.what}};
      entry["users"] = ordered_json::array();
      for (const UserId user : finding.users) entry["users"].push_back(user.value);
      verdict["findings"].push_back(std::move(entry));
    }
    out_ << verdict.dump(2) << "\n";
  }

  static ordered_json GateJson(const GateState& gate) {
    return {{"open", gate.open},
            {"generation", gate.generation.value},
            {"total", gate.total},
            {"stock", gate.stock},
            {"participants", gate.participants},
            {"reservations", gate.reservations}};
  }

  absl::StatusOr<Exit> Explain() {
    ASSIGN_OR_RETURN(const CouponId id, CouponFlag());
    ASSIGN_OR_RETURN(const int64_t user, arguments_.Number("user"));
    const Holder holder = {.coupon = id, .user = {user}};
    ASSIGN_OR_RETURN(const coupon::HolderRecords records, audit_.ReadHolder(holder));
    if (!records.coupon) {
      out_ << "There is no coupon " << id.value << ": CP103.\n";
      return Exit::kClean;
    }
    const Coupon& coupon = *records.coupon;
    out_ << "coupon      " << coupon.name << ", " << coupon.available_quantity << " of "
         << coupon.total_quantity << " left, open from " << TimeText(coupon.starts_at) << " to "
         << TimeText(coupon.ends_at) << "\n";
    ASSIGN_OR_RETURN(const std::optional<GateState> gate, stack_.control().Inspect(coupon));
    ASSIGN_OR_RETURN(const auto at_gate, stack_.gate().ReadHolder(holder));
    out_ << "gate        "
         << (gate ? absl::StrCat(gate->open ? "open" : "closed", " at generation ",
                                 gate->generation.value)
                  : "none")
         << (at_gate.is_participant ? "; the user is a participant" : "; no participant");
    if (at_gate.reservation) {
      out_ << ", with a reservation of " << at_gate.reservation->claim.request.ToString()
           << " since " << TimeText(at_gate.reservation->claimed_at);
    }
    out_ << "\n";
    RETURN_IF_ERROR(ExplainLog(holder));
    for (const coupon::RecordedRejection& rejection : records.rejections) {
      out_ << "rejection   " << TimeText(rejection.rejected_at) << "  " << IdText(rejection.request)
           << ": " << rejection.reason << "\n";
    }
    if (records.row) {
      out_ << "row         " << TimeText(records.row->issued_at) << "  "
           << IdText(records.row->request) << "\n";
    }
    RETURN_IF_ERROR(ExplainEvents(holder));
    out_ << "So: "
         << Conclusion(coupon, records, at_gate.reservation.has_value(), at_gate.is_participant,
                       gate && gate->open)
         << "\n";
    return Exit::kClean;
  }

  absl::StatusOr<std::unique_ptr<adapters::kafka::KafkaHistory>> OpenHistory() {
    return adapters::kafka::KafkaHistory::Create({.brokers = stack_.brokers()});
  }

  absl::Status ExplainLog(const Holder& holder) {
    ASSIGN_OR_RETURN(const auto history, OpenHistory());
    ASSIGN_OR_RETURN(const adapters::kafka::UserLog log, history->ReadLog(holder));
    ASSIGN_OR_RETURN(const coupon::LogPositions committed, stack_.progress().Committed());
    for (const adapters::kafka::LoggedRecord& logged : log.records) {
      out_ << "log         " << TimeText(logged.appended_at) << "  partition "
           << logged.record.partition << ", offset " << logged.record.position;
      if (const auto* claim = std::get_if<AdmittedClaim>(&logged.record.record)) {
        out_ << ", request " << claim->request.ToString() << ", generation "
             << claim->generation.value;
        if (claim->generation < logged.barrier_before) {
          out_ << ", stale: behind the barrier of generation " << logged.barrier_before.value;
        }
      } else {
        out_ << ", none of ours";
      }
      const auto position = committed.find(logged.record.partition);
      const bool is_read = position != committed.end() && logged.record.position < position->second;
      out_ << (is_read ? ", recorded\n" : ", not recorded yet\n");
    }
    if (log.read_to < log.end) out_ << "log         not read to its end: the time ran out\n";
    return absl::OkStatus();
  }

  absl::Status ExplainEvents(const Holder& holder) {
    ASSIGN_OR_RETURN(const auto history, OpenHistory());
    ASSIGN_OR_RETURN(const adapters::kafka::UserEvents events, history->ReadEvents(holder));
    for (const adapters::kafka::PublishedEvent& event : events.events) {
      out_ << "event       " << TimeText(event.published_at) << "  partition " << event.partition
           << ", offset " << event.position << ", request " << event.issued.request.ToString()
           << "\n";
    }
    return absl::OkStatus();
  }

  std::string Conclusion(const Coupon& coupon, const coupon::HolderRecords& records,
                         bool has_reservation, bool is_participant, bool gate_is_open) const {
    if (records.row) return "ISSUED. The same key is answered QUEUED again, any other CP102.";
    if (has_reservation) {
      return "QUEUED, or on its way to it. The same key is answered QUEUED, any other CP102.";
    }
    if (is_participant) return "a participant without reservation or row: run ecomctl verify.";
    if (!records.rejections.empty()) return "REJECTED, a broken promise. The user may ask again.";
    const absl::Time now = clock_.Now();
    if (now < coupon.starts_at || now >= coupon.ends_at)
      return "never accepted: CP104; a claim is CP105.";
    if (!gate_is_open) return "not known while the gate is closed: CM503.";
    return coupon.available_quantity > 0 ? "never accepted: CP104; a claim would be taken."
                                         : "never accepted: CP104; a claim is CP101.";
  }

  absl::StatusOr<std::vector<Coupon>> Gated() {
    if (!arguments_.flags.contains("coupon"))
      return stack_.coupon_store().FindArmable(clock_.Now());
    ASSIGN_OR_RETURN(const CouponId id, CouponFlag());
    ASSIGN_OR_RETURN(auto coupons, stack_.coupon_store().FindCoupons({&id, 1}));
    if (!coupons[0]) return absl::NotFoundError(absl::StrCat("no coupon ", id.value));
    return std::vector<Coupon>{*std::move(coupons[0])};
  }

  absl::StatusOr<Exit> ShowGates() {
    ASSIGN_OR_RETURN(const std::vector<Coupon> coupons, Gated());
    ordered_json all = ordered_json::array();
    for (const Coupon& coupon : coupons) {
      ASSIGN_OR_RETURN(const std::optional<GateState> gate, stack_.control().Inspect(coupon));
      ordered_json entry = {{"coupon", coupon.id.value},
                            {"valid_generation", coupon.gate_generation.value},
                            {"home", coupon.gate_home}};
      if (gate) entry["gate"] = GateJson(*gate);
      all.push_back(std::move(entry));
      if (AsJson()) continue;
      out_ << "coupon " << coupon.id.value << ": ";
      if (!gate) {
        out_ << "no gate\n";
        continue;
      }
      out_ << (gate->open ? "open" : "closed") << ", generation " << gate->generation.value
           << " (valid: " << coupon.gate_generation.value << "), stock " << gate->stock
           << ", participants " << gate->participants << ", reservations " << gate->reservations
           << "\n";
    }
    if (AsJson()) out_ << all.dump(2) << "\n";
    return Exit::kClean;
  }

  /// Makes the gate invalid, so that the running servers build it anew, and waits for that.
  absl::StatusOr<Exit> RebuildGate() {
    ASSIGN_OR_RETURN(const CouponId id, CouponFlag());
    ASSIGN_OR_RETURN(const Coupon asked, stack_.authority().AdvanceGeneration(id));
    const absl::Time give_up = absl::Now() + kRebuildMax;
    while (absl::Now() < give_up) {
      ASSIGN_OR_RETURN(const auto coupons, stack_.coupon_store().FindCoupons({&id, 1}));
      ASSIGN_OR_RETURN(const std::optional<GateState> gate, GateOf(coupons[0]));
      if (gate && gate->open && gate->generation == coupons[0]->gate_generation &&
          gate->generation >= asked.gate_generation) {
        out_ << "the gate of coupon " << id.value << " is open at generation "
             << gate->generation.value << ", stock " << gate->stock << ", participants "
             << gate->participants << "\n";
        return Exit::kClean;
      }
      absl::SleepFor(kDrainPoll);
    }
    out_ << "the gate is not open after " << absl::FormatDuration(kRebuildMax)
         << "; is a server running, and a recorder?\n";
    return Exit::kBroken;
  }

  absl::StatusOr<Exit> Reconcile() {
    coupon::CouponDirectory directory({}, stack_.coupon_store(), clock_);
    coupon::Reconciler reconciler({}, {.store = stack_.coupon_store(),
                                       .authority = stack_.authority(),
                                       .gate = stack_.gate(),
                                       .control = stack_.control(),
                                       .log = stack_.log(),
                                       .progress = stack_.progress(),
                                       .directory = directory,
                                       .clock = clock_});
    if (arguments_.flags.contains("dry-run")) {
      ASSIGN_OR_RETURN(const std::vector<std::string> lines, reconciler.Preview());
      for (const std::string& line : lines) out_ << line << "\n";
      if (lines.empty()) out_ << "nothing to do\n";
      return lines.empty() ? Exit::kClean : Exit::kBroken;
    }
    RETURN_IF_ERROR(reconciler.Reconcile());
    const coupon::Reconciler::Stats stats = reconciler.stats();
    out_ << "gates rebuilt " << stats.rebuilds << ", reservations appended again "
         << stats.republished << ", settled " << stats.settled << "\n";
    return Exit::kClean;
  }

  absl::StatusOr<std::unique_ptr<DeadLetterBox>> OpenBox() {
    return DeadLetterBox::Create({.brokers = stack_.brokers()});
  }

  /// The letters that nobody has dealt with.
  absl::StatusOr<std::vector<DeadLetter>> OpenLetters(DeadLetterBox& box) {
    ASSIGN_OR_RETURN(std::vector<DeadLetter> letters, box.List(kLettersMax));
    std::map<std::pair<coupon::LogPartition, coupon::LogPosition>, bool> done;
    coupon::LogPositions begins, ends;
    for (const DeadLetter& letter : letters) {
      begins.try_emplace(letter.partition, letter.position);
      ends[letter.partition] = letter.position + 1;
    }
    for (const auto& [partition, begin] : begins) {
      ASSIGN_OR_RETURN(const auto settled, settled_.Between(partition, begin, ends[partition]));
      for (const auto& letter : settled) done[{letter.partition, letter.position}] = true;
    }
    std::erase_if(letters, [&](const DeadLetter& letter) {
      return done.contains({letter.partition, letter.position});
    });
    return letters;
  }

  static ordered_json LetterJson(const DeadLetter& letter) {
    return {{"partition", letter.partition},
            {"offset", letter.position},
            {"kept_at", TimeText(letter.kept_at)},
            {"reason", letter.reason},
            {"origin", absl::StrCat(letter.origin_topic, "/", letter.record.partition, "/",
                                    letter.record.position)},
            {"key", letter.key},
            {"payload_bytes", letter.payload.size()}};
  }

  absl::StatusOr<Exit> ListLetters() {
    ASSIGN_OR_RETURN(const auto box, OpenBox());
    ASSIGN_OR_RETURN(const std::vector<DeadLetter> letters, OpenLetters(*box));
    ordered_json all = ordered_json::array();
    for (const DeadLetter& letter : letters) all.push_back(LetterJson(letter));
    if (AsJson()) {
      out_ << all.dump(2, ' ', false, ordered_json::error_handler_t::replace) << "\n";
      return Exit::kClean;
    }
    for (const DeadLetter& letter : letters) {
      out_ << letter.partition << "/" << letter.position << "  " << TimeText(letter.kept_at)
           << "  from " << letter.origin_topic << "/" << letter.record.partition << "/"
           << letter.record.position << "  " << letter.reason << "\n";
    }
    out_ << letters.size() << " dead letters\n";
    return Exit::kClean;
  }

  absl::StatusOr<DeadLetter> FindLetter(DeadLetterBox& box) {
    ASSIGN_OR_RETURN(const int64_t offset, arguments_.Number("offset"));
    int64_t partition = 0;
    if (arguments_.flags.contains("partition")) {
      ASSIGN_OR_RETURN(partition, arguments_.Number("partition"));
    }
    return box.Find(static_cast<coupon::LogPartition>(partition), offset);
  }

  absl::StatusOr<Exit> ShowLetter() {
    ASSIGN_OR_RETURN(const auto box, OpenBox());
    ASSIGN_OR_RETURN(const DeadLetter letter, FindLetter(*box));
    ordered_json shown = LetterJson(letter);
    if (const auto* claim = std::get_if<AdmittedClaim>(&letter.record.record)) {
      shown["claim"] = {
          {"coupon", claim->holder.coupon.value},    {"user", claim->holder.user.value},
          {"request_id", claim->request.ToString()}, {"incarnation", claim->incarnation},
          {"generation", claim->generation.value},   {"claimed_at", TimeText(claim->claimed_at)}};
    }
    shown["payload"] = letter.payload;
    out_ << shown.dump(2, ' ', false, ordered_json::error_handler_t::replace) << "\n";
    return Exit::kClean;
  }

  /// Replays or discards one letter, or with --all each that is left.
  absl::StatusOr<Exit> SettleLetters(const std::string& verb) {
    ASSIGN_OR_RETURN(const auto box, OpenBox());
    ASSIGN_OR_RETURN(std::vector<DeadLetter> letters, OpenLetters(*box));
    if (!arguments_.flags.contains("all")) {
      ASSIGN_OR_RETURN(const DeadLetter wanted, FindLetter(*box));
      std::erase_if(letters, [&](const DeadLetter& letter) {
        return letter.partition != wanted.partition || letter.position != wanted.position;
      });
      if (letters.empty()) out_ << "somebody has dealt with it already\n";
    }
    for (const DeadLetter& letter : letters) {
      if (verb == "replay") RETURN_IF_ERROR(box->Replay(letter));
      RETURN_IF_ERROR(settled_.Settle(letter.partition, letter.position,
                                      verb == "replay" ? "replayed" : "discarded"));
      out_ << (verb == "replay" ? "replayed " : "discarded ") << letter.partition << "/"
           << letter.position << ": " << letter.reason << "\n";
    }
    return Exit::kClean;
  }

  app::StackBacking& stack_;
  const base::Clock& clock_;
  const Arguments& arguments_;
  std::ostream& out_;
  adapters::mysql::MysqlCouponAudit audit_;
  adapters::mysql::MysqlSettledLetters settled_;
};

absl::StatusOr<Exit> RunOnStack(const Arguments& arguments, app::Environment environment,
                                std::ostream& out) {
  const auto backend = environment.find("BACKEND");
  if (backend != environment.end() && backend->second == "embedded") {
    return absl::FailedPreconditionError(
        "ecomctl looks into the stack; for the embedded data file use ecom-ledger (make ledger)");
  }
  environment["BACKEND"] = "stack";
  const std::vector<std::string> no_flags;
  ASSIGN_OR_RETURN(const app::ParsedConfig parsed,
                   app::ParseConfig(no_flags, environment, app::ReadConfigFile));
  const base::SystemClock clock;
  ASSIGN_OR_RETURN(const auto stack, app::StackBacking::Create(parsed.config, clock));
  return Commands(*stack, clock, arguments, out).Run();
}

}  // namespace

std::string HelpText() {
  return R"(Usage: ecomctl COMMAND [flags]

Looks into a running stack, and mends it. Addresses are taken from REDIS_URL, KAFKA_BROKERS and
MYSQL_URL, as by the server.

  verify --coupon N [--wait 30s] [--journal FILE]... [--users-max N]
      Holds rows, stock and gate against each other, with a journal also what clients were told and
      the events on coupon-issued, and names every user that differs.
  explain --coupon N --user U
      Every step that is known of one user's claim, in order.
  gate show [--coupon N]
  gate rebuild --coupon N
      Has the running servers build the gate anew from the rows, and waits until it is open.
  reconcile [--dry-run]
      One pass of the reconciler; with --dry-run only says what it would do.
  dlt list
  dlt show --offset O [--partition P]
  dlt replay|discard (--offset O [--partition P] | --all)
      Dead letters that nobody has dealt with; replay appends the record to the log again.

  -o json     for verify, gate show and dlt list

Exits with 0: clean; 1: a promise is broken, or there is something to do; 2: it cannot tell.
)";
}

Exit Run(std::span<const std::string> args, const app::Environment& environment, std::ostream& out,
         std::ostream& error) {
  const auto arguments = Parse(args);
  if (arguments.ok() && arguments->flags.contains("help")) {
    out << HelpText();
    return Exit::kClean;
  }
  auto exit = arguments.ok() ? RunOnStack(*arguments, environment, out)
                             : absl::StatusOr<Exit>(arguments.status());
  if (exit.ok()) return *exit;
  error << "ecomctl: " << std::string(exit.status().message()) << "\n";
  return Exit::kUnable;
}

}  // namespace ecom::ctl
