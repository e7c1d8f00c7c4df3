#include "ctl/explain.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "adapters/kafka/dead_letters.h"
#include "adapters/kafka/history.h"
#include "adapters/mysql/coupon_audit.h"
#include "adapters/mysql/settled_letters.h"
#include "base/status_macros.h"
#include "ctl/text.h"
#include "ctl/trace.h"

namespace ecom::ctl {
namespace {

using adapters::kafka::DeadLetter;
using coupon::Holder;
using nlohmann::ordered_json;

/// Letters of one user that are told.
constexpr size_t kLettersMax = 1000;
constexpr size_t kWhatWidth = 13;

absl::StatusOr<Holder> HolderOf(const CommandLine& line) {
  ASSIGN_OR_RETURN(const int64_t coupon, line.Number("coupon"));
  ASSIGN_OR_RETURN(const int64_t user, line.Number("user"));
  return Holder{.coupon = {coupon}, .user = {user}};
}

absl::Status TraceGate(app::StackBacking& stack, Trace& trace) {
  if (!trace.records.coupon) return absl::OkStatus();
  ASSIGN_OR_RETURN(trace.gate, stack.control().Inspect(*trace.records.coupon));
  const auto held = stack.gate().ReadHolder(trace.holder);
  if (absl::IsFailedPrecondition(held.status())) {
    trace.gate_trouble = std::string(held.status().message());
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(held.status());
  trace.is_participant = held->is_participant;
  trace.reservation = held->reservation;
  return absl::OkStatus();
}

/// Whether the letter carries a record of the user: of this coupon, or one that nobody can read.
bool IsOf(const DeadLetter& letter, const Holder& holder) {
  const auto* claim = std::get_if<coupon::AdmittedClaim>(&letter.record.record);
  return claim != nullptr ? claim->holder == holder : letter.key == absl::StrCat(holder.user.value);
}

absl::Status TraceLetters(app::StackBacking& stack, const base::Clock& clock, Trace& trace) {
  ASSIGN_OR_RETURN(const auto box,
                   adapters::kafka::DeadLetterBox::Create({.brokers = stack.brokers()}));
  RETURN_IF_ERROR(box->Visit({}, [&](DeadLetter&& letter) {
    if (!IsOf(letter, trace.holder)) return true;
    trace.letters_whole = trace.letters.size() < kLettersMax;
    if (!trace.letters_whole) return false;
    trace.letters.push_back({.partition = letter.partition,
                             .position = letter.position,
                             .kept_at = letter.kept_at,
                             .reason = std::move(letter.reason),
                             .origin_partition = letter.record.partition,
                             .origin_position = letter.record.position,
                             .settled_as = ""});
    return true;
  }));
  adapters::mysql::MysqlSettledLetters settled(stack.pool(), clock);
  for (TracedLetter& letter : trace.letters) {
    ASSIGN_OR_RETURN(const auto found,
                     settled.Between(letter.partition, letter.position, letter.position + 1));
    if (!found.empty()) letter.settled_as = found.front().settled_as;
  }
  return absl::OkStatus();
}

/// The gate before the store: the other order could miss a claim that is recorded in between.
absl::StatusOr<Trace> ReadTrace(app::StackBacking& stack, const base::Clock& clock,
                                int64_t reservations_max, const Holder& holder) {
  Trace trace = {.holder = holder, .now = clock.Now(), .reservations_max = reservations_max};
  ASSIGN_OR_RETURN(const auto history,
                   adapters::kafka::KafkaHistory::Create({.brokers = stack.brokers()}));
  ASSIGN_OR_RETURN(trace.log, history->ReadLog(holder));
  ASSIGN_OR_RETURN(const coupon::LogPositions committed, stack.progress().Committed());
  const auto position = committed.find(trace.log.partition);
  if (position != committed.end()) trace.committed = position->second;
  ASSIGN_OR_RETURN(const auto coupons, stack.coupon_store().FindCoupons({&holder.coupon, 1}));
  trace.records.coupon = coupons[0];
  RETURN_IF_ERROR(TraceGate(stack, trace));
  adapters::mysql::MysqlCouponAudit audit(stack.pool());
  ASSIGN_OR_RETURN(trace.records, audit.ReadHolder(holder));
  ASSIGN_OR_RETURN(trace.events, history->ReadEvents(holder));
  RETURN_IF_ERROR(TraceLetters(stack, clock, trace));
  return trace;
}

/// The log of the data file holds what waits, and nothing else.
absl::StatusOr<Trace> ReadTrace(adapters::embedded::EmbeddedCouponAudit& file,
                                const base::Clock& clock, int64_t reservations_max,
                                const Holder& holder) {
  Trace trace = {.holder = holder,
                 .now = clock.Now(),
                 .gate_seen = false,
                 .reservations_max = reservations_max};
  ASSIGN_OR_RETURN(const auto waiting, file.ReadWaiting(holder));
  ASSIGN_OR_RETURN(trace.records, file.ReadHolder(holder));
  for (const coupon::LogRecord& record : waiting) {
    const auto* claim = std::get_if<coupon::AdmittedClaim>(&record.record);
    trace.log.records.push_back(
        {.record = record, .appended_at = claim != nullptr ? claim->claimed_at : trace.now});
  }
  ASSIGN_OR_RETURN(const auto letters,
                   file.ReadDeadLetters(0, static_cast<int>(100 * kLettersMax)));
  for (const adapters::embedded::KeptLetter& letter : letters) {
    if (letter.key != absl::StrCat(holder.user.value)) continue;
    trace.letters.push_back(
        {.position = letter.id, .reason = letter.reason, .origin_position = letter.log_position});
  }
  return trace;
}

ordered_json JsonOf(const Step& step) {
  ordered_json json = {{"step", step.what}};
  if (step.at) json["at"] = TimeText(*step.at);
  for (const auto& [name, value] : step.fields) {
    std::visit([&json, &key = name](const auto& held) { json[key] = held; }, value);
  }
  json["text"] = step.text;
  return json;
}

Exit Tell(const Trace& trace, const CommandLine& line, std::ostream& out) {
  const std::vector<Step> steps = StepsOf(trace);
  const AnswerNow answer = AnswerOf(trace);
  if (line.AsJson()) {
    ordered_json json = {{"coupon", trace.holder.coupon.value},
                         {"user", trace.holder.user.value},
                         {"at", TimeText(trace.now)},
                         {"steps", ordered_json::array()}};
    for (const Step& step : steps) json["steps"].push_back(JsonOf(step));
    json["answers"] = {{"status", answer.status}, {"issue", answer.issue}};
    if (answer.replayed) json["answers"]["queued_again"] = answer.replayed->ToString();
    json["sentence"] = answer.sentence;
    // Reasons and keys may hold anything.
    out << json.dump(2, ' ', false, ordered_json::error_handler_t::replace) << "\n";
    return Exit::kClean;
  }
  for (const Step& step : steps) {
    std::string what = step.what;
    what.resize(kWhatWidth, ' ');
    out << what << (step.at ? absl::StrCat(TimeText(*step.at), "  ") : "") << step.text << "\n";
  }
  out << answer.sentence << "\n";
  return Exit::kClean;
}

}  // namespace

absl::StatusOr<Exit> Explain(app::StackBacking& stack, const base::Clock& clock,
                             int64_t reservations_max, const CommandLine& line, std::ostream& out) {
  ASSIGN_OR_RETURN(const Holder holder, HolderOf(line));
  ASSIGN_OR_RETURN(const Trace trace, ReadTrace(stack, clock, reservations_max, holder));
  return Tell(trace, line, out);
}

absl::StatusOr<Exit> Explain(adapters::embedded::EmbeddedCouponAudit& file,
                             const base::Clock& clock, int64_t reservations_max,
                             const CommandLine& line, std::ostream& out) {
  ASSIGN_OR_RETURN(const Holder holder, HolderOf(line));
  ASSIGN_OR_RETURN(const Trace trace, ReadTrace(file, clock, reservations_max, holder));
  return Tell(trace, line, out);
}

}  // namespace ecom::ctl
