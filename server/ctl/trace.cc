#include "ctl/trace.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ctl/text.h"

namespace ecom::ctl {
namespace {

using adapters::kafka::LoggedRecord;
using coupon::AdmittedClaim;
using coupon::Coupon;
using coupon::RequestId;

Step DefinitionOf(const Trace& trace) {
  if (!trace.records.coupon) {
    return {.what = "definition", .text = absl::StrCat("no coupon ", trace.holder.coupon.value)};
  }
  const Coupon& coupon = *trace.records.coupon;
  const bool before = trace.now < coupon.starts_at, after = trace.now >= coupon.ends_at;
  const char* const window = before ? "not open yet" : (after ? "closed" : "open");
  return {.what = "definition",
          .text = absl::StrCat(Shown(coupon.name), ": ", window, ", from ",
                               TimeText(coupon.starts_at), " to ", TimeText(coupon.ends_at), "; ",
                               coupon.available_quantity, " of ", coupon.total_quantity, " left"),
          .fields = {{"window", window},
                     {"starts_at", TimeText(coupon.starts_at)},
                     {"ends_at", TimeText(coupon.ends_at)},
                     {"total", coupon.total_quantity},
                     {"available", coupon.available_quantity}}};
}

Step GateOf(const Trace& trace) {
  Step step = {.what = "gate"};
  if (!trace.gate_seen) {
    step.text = "in the memory of the server, so it is not looked at";
    return step;
  }
  if (!trace.gate) {
    step.text = "none";
    return step;
  }
  const int64_t valid = trace.records.coupon ? trace.records.coupon->gate_generation.value : 0;
  step.text = absl::StrCat(
      trace.gate->open ? "open" : "closed", " at generation ", trace.gate->generation.value,
      trace.gate->generation.value == valid ? "" : absl::StrCat(" (", valid, " is the valid one)"),
      ", ", trace.gate->stock, " units left; the user is ",
      trace.is_participant ? "a participant" : "no participant");
  if (!trace.gate_trouble.empty()) absl::StrAppend(&step.text, "; ", trace.gate_trouble);
  step.fields = {{"open", trace.gate->open},
                 {"generation", trace.gate->generation.value},
                 {"stock", trace.gate->stock},
                 {"participant", trace.is_participant}};
  return step;
}

bool IsRejected(const Trace& trace, const RequestId& request) {
  return std::any_of(trace.records.rejections.begin(), trace.records.rejections.end(),
                     [&](const auto& rejection) { return rejection.request == request; });
}

/// What became of the record at `index`, in a word for programs and a line for people. The order is
/// the recorder's.
std::pair<std::string, std::string> FateOf(const Trace& trace, size_t index) {
  const LoggedRecord& logged = trace.log.records[index];
  const auto* claim = std::get_if<AdmittedClaim>(&logged.record.record);
  if (logged.record.position >= trace.committed) return {"waiting", "not recorded yet"};
  if (claim == nullptr) {
    const auto* malformed = std::get_if<coupon::Malformed>(&logged.record.record);
    return {"malformed", malformed != nullptr ? Shown(malformed->reason) : "no claim"};
  }
  if (!trace.records.coupon || trace.records.coupon->incarnation != claim->incarnation) {
    return {"unknown-coupon", "of an earlier coupon with this id: a dead letter"};
  }
  const bool stale = claim->generation < logged.barrier_before;
  const auto& row = trace.records.row;
  if (row && row->request == claim->request) {
    const auto first = std::find_if(
        trace.log.records.begin(), trace.log.records.end(), [&](const LoggedRecord& other) {
          const auto* same = std::get_if<AdmittedClaim>(&other.record.record);
          return same != nullptr && same->request == claim->request &&
                 same->generation >= other.barrier_before;
        });
    const bool is_first = first - trace.log.records.begin() == static_cast<ptrdiff_t>(index);
    if (is_first) return {"issued", "became the row"};
    if (!stale) return {"duplicate", "the same again: counted as a duplicate"};
  }
  if (stale) {
    return {"stale",
            absl::StrCat("stale: behind the barrier of generation ", logged.barrier_before.value,
                         ", so nobody was promised anything")};
  }
  if (row) return {"duplicate", "a duplicate: another request holds the row"};
  if (IsRejected(trace, claim->request)) return {"rejected", "beyond the stock: rejected"};
  return {"lost", "read, and it has left no row: see the dead letters"};
}

Step LogStepOf(const Trace& trace, size_t index) {
  const LoggedRecord& logged = trace.log.records[index];
  const auto [fate, line] = FateOf(trace, index);
  Step step = {.what = "log",
               .at = logged.appended_at,
               .text = absl::StrCat("partition ", logged.record.partition, ", offset ",
                                    logged.record.position),
               .fields = {{"partition", int64_t{logged.record.partition}},
                          {"offset", logged.record.position}}};
  if (const auto* claim = std::get_if<AdmittedClaim>(&logged.record.record)) {
    absl::StrAppend(&step.text, ", request ", claim->request.ToString(), " of generation ",
                    claim->generation.value);
    step.fields.push_back({"request_id", claim->request.ToString()});
    step.fields.push_back({"generation", claim->generation.value});
    step.fields.push_back({"claimed_at", TimeText(claim->claimed_at)});
  }
  absl::StrAppend(&step.text, ": ", line);
  step.fields.push_back({"fate", fate});
  return step;
}

void AddLog(const Trace& trace, std::vector<Step>& steps) {
  for (size_t i = 0; i < trace.log.records.size(); ++i) steps.push_back(LogStepOf(trace, i));
  const auto note = [&](std::string text) {
    steps.push_back({.what = "note", .text = std::move(text)});
  };
  if (trace.gate_seen && trace.log.begin > 0) {
    note(absl::StrCat("the log has lost what stood before offset ", trace.log.begin,
                      " of partition ", trace.log.partition, ": retention"));
  }
  if (trace.log.more) note("the log has more records of this user");
  if (!trace.log.more && trace.log.read_to < trace.log.end) {
    note(absl::StrCat("the log was read up to offset ", trace.log.read_to, " of ", trace.log.end,
                      " only: the time ran out"));
  }
}

void AddRecords(const Trace& trace, std::vector<Step>& steps) {
  for (const coupon::RecordedRejection& rejection : trace.records.rejections) {
    steps.push_back(
        {.what = "rejection",
         .at = rejection.rejected_at,
         .text = absl::StrCat("request ", IdText(rejection.request), ": ", Shown(rejection.reason)),
         .fields = {{"request_id", IdText(rejection.request)}, {"reason", rejection.reason}}});
  }
  if (!trace.records.row) return;
  steps.push_back({.what = "row",
                   .at = trace.records.row->issued_at,
                   .text = absl::StrCat("issued to request ", IdText(trace.records.row->request)),
                   .fields = {{"request_id", IdText(trace.records.row->request)}}});
}

void AddEvents(const Trace& trace, std::vector<Step>& steps) {
  for (const adapters::kafka::PublishedEvent& event : trace.events.events) {
    steps.push_back(
        {.what = "event",
         .at = event.published_at,
         .text = absl::StrCat("partition ", event.partition, ", offset ", event.position,
                              ", request ", event.issued.request.ToString()),
         .fields = {{"partition", int64_t{event.partition}},
                    {"offset", event.position},
                    {"request_id", event.issued.request.ToString()}}});
  }
  if (!trace.events.coverage.to_the_end) {
    steps.push_back({.what = "note", .text = "the events were not read to the end"});
  }
}

void AddLetters(const Trace& trace, std::vector<Step>& steps) {
  for (const TracedLetter& letter : trace.letters) {
    steps.push_back({.what = "dead_letter",
                     .at = letter.kept_at,
                     .text = absl::StrCat("letter ", letter.partition, "/", letter.position,
                                          " from partition ", letter.origin_partition, ", offset ",
                                          letter.origin_position, ": ", Shown(letter.reason),
                                          letter.settled_as.empty() ? "" : "; ", letter.settled_as),
                     .fields = {{"partition", int64_t{letter.partition}},
                                {"offset", letter.position},
                                {"origin_partition", int64_t{letter.origin_partition}},
                                {"origin_offset", letter.origin_position},
                                {"reason", letter.reason},
                                {"settled_as", letter.settled_as}}});
  }
  if (!trace.letters_whole) {
    steps.push_back({.what = "note", .text = "there are more dead letters than were read"});
  }
}

/// Whether a claim waits in the log that the recorder will make the row; its request.
std::optional<RequestId> WaitingRequest(const Trace& trace) {
  for (const LoggedRecord& logged : trace.log.records) {
    const auto* claim = std::get_if<AdmittedClaim>(&logged.record.record);
    const bool counts = claim != nullptr && logged.record.position >= trace.committed &&
                        claim->generation >= logged.barrier_before;
    if (counts) return claim->request;
  }
  return std::nullopt;
}

/// What GET answers where there is no reservation.
std::string StatusByRecords(const Trace& trace) {
  if (trace.records.row) return "ISSUED";
  return trace.records.rejections.empty() ? "CP104" : "REJECTED";
}

AnswerNow AnswerByStore(const Trace& trace, bool gate_is_due) {
  AnswerNow answer = {.status = StatusByRecords(trace), .issue = "CP105"};
  if (trace.records.row) {
    answer.issue = "CP102";
    answer.replayed = trace.records.row->request;
  }
  if (gate_is_due && trace.gate_seen) {
    // Without its gate nobody is answered but who has a row, and who asks how it ended.
    answer.issue = "CM503";
    answer.replayed.reset();
    if (answer.status == "CP104") answer.status = "CM503";
  }
  return answer;
}

/// What a user is answered who has no place at the gate.
std::string IssueToNewcomer(const Trace& trace, const Coupon& coupon, int64_t stock,
                            int64_t reservations) {
  if (trace.now < coupon.starts_at || trace.now >= coupon.ends_at) return "CP105";
  if (stock <= 0) return "CP101";
  if (reservations >= trace.reservations_max) return "CM503";
  return "QUEUED";
}

AnswerNow AnswerByGate(const Trace& trace, const Coupon& coupon) {
  AnswerNow answer = {.status = StatusByRecords(trace)};
  if (trace.reservation) {
    answer.status = "QUEUED";
    answer.issue = "CP102";
    answer.replayed = trace.reservation->claim.request;
    return answer;
  }
  if (trace.is_participant) {
    answer.issue = "CP102";
    if (trace.records.row) answer.replayed = trace.records.row->request;
    return answer;
  }
  answer.issue = IssueToNewcomer(trace, coupon, trace.gate->stock, trace.gate->reservations);
  return answer;
}

/// By the log and the rows: what the gate in the server was built from, and what it told the log.
AnswerNow AnswerByFile(const Trace& trace, const Coupon& coupon) {
  AnswerNow answer = {.status = StatusByRecords(trace)};
  const std::optional<RequestId> waiting = WaitingRequest(trace);
  if (trace.records.row || waiting) {
    if (!trace.records.row) answer.status = "QUEUED";
    answer.issue = "CP102";
    answer.replayed = trace.records.row ? trace.records.row->request : waiting;
    return answer;
  }
  answer.issue = IssueToNewcomer(trace, coupon, coupon.available_quantity, 0);
  return answer;
}

AnswerNow Decide(const Trace& trace) {
  if (!trace.records.coupon) return {.status = "CP104", .issue = "CP103"};
  const Coupon& coupon = *trace.records.coupon;
  const bool gate_is_due =
      trace.now >= coupon.starts_at && trace.now < coupon.ends_at + coupon::kArmedPastEnd;
  if (!gate_is_due) return AnswerByStore(trace, false);
  if (!trace.gate_seen) return AnswerByFile(trace, coupon);
  const bool ready = trace.gate && trace.gate->open && trace.gate_trouble.empty() &&
                     trace.gate->generation == coupon.gate_generation;
  return ready ? AnswerByGate(trace, coupon) : AnswerByStore(trace, true);
}

std::string MeaningOf(const std::string& issue) {
  if (issue == "QUEUED") return "QUEUED: there is a unit";
  if (issue == "CP101") return "CP101, sold out";
  if (issue == "CP102") return "CP102, the user already has it";
  if (issue == "CP103") return "CP103, no such coupon";
  if (issue == "CP105") return "CP105, not open";
  return "CM503, until the gate is open and its claims are recorded";
}

}  // namespace

std::vector<Step> StepsOf(const Trace& trace) {
  std::vector<Step> steps = {DefinitionOf(trace), GateOf(trace)};
  if (trace.reservation) {
    const std::string request = trace.reservation->claim.request.ToString();
    steps.push_back({.what = "reservation",
                     .at = trace.reservation->claimed_at,
                     .text = absl::StrCat("request ", request, ", not yet told of a row"),
                     .fields = {{"request_id", request}}});
  }
  AddLog(trace, steps);
  AddRecords(trace, steps);
  AddEvents(trace, steps);
  AddLetters(trace, steps);
  return steps;
}

AnswerNow AnswerOf(const Trace& trace) {
  AnswerNow answer = Decide(trace);
  answer.sentence =
      absl::StrCat("Asked now, GET answers ", answer.status, " and POST ", MeaningOf(answer.issue));
  if (answer.replayed) {
    absl::StrAppend(&answer.sentence, " (with the key of request ", answer.replayed->ToString(),
                    ": that same QUEUED)");
  }
  const bool lost_its_row = trace.is_participant && !trace.reservation && !trace.records.row;
  if (lost_its_row) {
    absl::StrAppend(&answer.sentence,
                    "; a participant with neither reservation nor row: run ecomctl verify");
  }
  absl::StrAppend(&answer.sentence, ".");
  return answer;
}

}  // namespace ecom::ctl
