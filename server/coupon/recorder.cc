#include "coupon/recorder.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::coupon {
namespace {

/// Claims in one call of the gate: bounds how long that holds up those who ask it.
constexpr size_t kToldAtOnce = 5000;

/// What names a trace, and in it the step that sent the claim.
struct TraceIds {
  std::string_view trace;
  std::string_view span;
};

/// Of a W3C trace context, version-trace-span-flags; nullopt: there is none, or nobody keeps the
/// trace, as the last bit says. https://www.w3.org/TR/trace-context/#traceparent-header
std::optional<TraceIds> SampledTrace(std::string_view trace_parent) {
  constexpr size_t kChars = 55;
  constexpr std::string_view kOddDigits = "13579bdf";
  if (trace_parent.size() != kChars) return std::nullopt;
  if (kOddDigits.find(trace_parent.back()) == std::string_view::npos) return std::nullopt;
  return TraceIds{.trace = trace_parent.substr(3, 32), .span = trace_parent.substr(36, 16)};
}

/// As coupon_recorded_total has it.
std::string_view Name(RecordOutcome outcome) {
  switch (outcome) {
    case RecordOutcome::kIssued: return "issued";
    case RecordOutcome::kIssuedEarlier:
    case RecordOutcome::kDuplicate: return "duplicate";
    case RecordOutcome::kOverAdmitted: return "over_admitted";
    case RecordOutcome::kStale: return "stale";
    case RecordOutcome::kUnknownCoupon:
    case RecordOutcome::kMalformed: return "dead_letter";
    case RecordOutcome::kBarrier: break;
  }
  return "";
}

}  // namespace

struct Recorder::Aftermath {
  std::vector<DeadRecord> dead;
  std::vector<IssuedCoupon> issued;
  /// Claims whose reservations are over.
  std::vector<Claim> settled;
  /// Coupons whose gates admitted beyond the stock.
  absl::flat_hash_set<CouponId> over_admitted;
  /// What the batch adds to the counts.
  Stats counts;

  void Announce(const AdmittedClaim& claim, absl::Time issued_at) {
    issued.push_back({.holder = claim.holder, .request = claim.request, .issued_at = issued_at});
  }
  void Settle(const AdmittedClaim& claim) {
    settled.push_back({.holder = claim.holder, .request = claim.request});
  }
  /// By the wall clock, which the claim's server and this one share only roughly: never below zero.
  void CountRow(const AdmittedClaim& claim, absl::Time now) {
    const absl::Duration delay = std::max(now - claim.claimed_at, absl::ZeroDuration());
    const auto bound = std::lower_bound(kRowDelayBounds.begin(), kRowDelayBounds.end(), delay);
    ++counts.issued;
    ++counts.row_delays[static_cast<size_t>(bound - kRowDelayBounds.begin())];
    counts.row_delay_sum += delay;
  }
};

Recorder::Recorder(Options options, Deps deps)
    : options_(options), deps_(std::move(deps)), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "recorder");
}

Recorder::~Recorder() { Stop(absl::ZeroDuration()); }

void Recorder::BeginStop(absl::Duration drain_timeout) {
  {
    std::lock_guard lock(mutex_);
    if (!stop_by_) {
      stop_by_ = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(drain_timeout);
    }
  }
  stop_.notify_all();
}

void Recorder::Stop(absl::Duration drain_timeout) {
  BeginStop(drain_timeout);
  if (thread_.joinable()) thread_.join();
}

void Recorder::Run() {
  absl::Duration wait = options_.retry_wait_min;
  bool last_look = false;  // the log was seen empty after Stop was called
  while (!last_look && !TimeIsUp()) {
    const bool stopping = IsStopping();
    const absl::StatusOr<bool> recorded = RecordOneBatch();
    if (recorded.ok()) {
      last_look = stopping && !*recorded;
      wait = options_.retry_wait_min;
      continue;
    }
    base::Log(base::Level::kWarn, "a batch of claims could not be recorded; it is tried again",
              {{"error", recorded.status()}});
    deps_.source.Rewind();
    WaitBeforeRetry(wait);
    wait = std::min(wait * 2, options_.retry_wait_max);
  }
}

/// False: there was nothing to record.
absl::StatusOr<bool> Recorder::RecordOneBatch() {
  ASSIGN_OR_RETURN(const std::vector<LogRecord> batch,
                   deps_.source.Poll(options_.batch_records_max, options_.poll_timeout));
  if (batch.empty()) {
    RETURN_IF_ERROR(RememberAnnounced());
    TellGate();
    NoteSuccess();
    return false;
  }
  ASSIGN_OR_RETURN(const std::vector<Fate> fates, RecordRows(batch));
  base::Failpoint("recorder.after-rows");
  const Aftermath aftermath = Sort(batch, fates);
  Count(aftermath.counts);
  for (const CouponId id : aftermath.over_admitted) deps_.on_over_admitted(id);
  // The rows are durable, so from here on a failure costs a redelivery and no more.
  if (!aftermath.dead.empty()) RETURN_IF_ERROR(deps_.dead_letters.Add(aftermath.dead));
  if (!aftermath.issued.empty()) RETURN_IF_ERROR(deps_.feed.Publish(aftermath.issued));
  base::Failpoint("recorder.after-events");
  announced_.clear();  // the store knows it, and the log may be made anew
  for (const LogRecord& record : batch) announced_[record.partition] = record.position + 1;
  announced_is_stored_ = false;
  RETURN_IF_ERROR(deps_.source.Commit(batch));
  base::Failpoint("recorder.after-commit");
  const size_t room = options_.untold_max - std::min(options_.untold_max, untold_.size());
  untold_.insert(untold_.end(), aftermath.settled.begin(),
                 aftermath.settled.begin() +
                     static_cast<std::ptrdiff_t>(std::min(room, aftermath.settled.size())));
  TellGate();
  NoteSuccess();
  return true;
}

/// Rows for the whole batch at once; where the store refuses that, one by one, so that one record
/// that it cannot take does not hold up the others.
absl::StatusOr<std::vector<Recorder::Fate>> Recorder::RecordRows(std::span<const LogRecord> batch) {
  const auto recorded = deps_.store.Record(batch, announced_);
  if (recorded.ok()) {
    refusals_ = 0;
    return std::vector<Fate>(recorded->begin(), recorded->end());
  }
  // A store that is away says nothing about the records.
  if (absl::IsUnavailable(recorded.status())) refusals_ = 0;
  if (absl::IsUnavailable(recorded.status()) || ++refusals_ < options_.refusals_max) {
    return recorded.status();
  }
  refusals_ = 0;
  std::vector<Fate> fates;
  for (const LogRecord& record : batch) {
    ASSIGN_OR_RETURN(fates.emplace_back(), RecordAlone(record));
  }
  RETURN_IF_ERROR(BlameTheRecords(fates));
  return fates;
}

/// Whether refusals are the records' fault. A value that breaks a rule of the schema is. Anything
/// else, such as a password that was changed or a table that is gone, is only where the store made
/// a row of another record meanwhile: else the whole log would become dead letters.
absl::Status Recorder::BlameTheRecords(std::span<const Fate> fates) {
  absl::Status doubtful;
  for (const Fate& fate : fates) {
    if (const auto* result = std::get_if<RecordResult>(&fate)) {
      if (result->outcome == RecordOutcome::kIssued) return absl::OkStatus();
      continue;
    }
    const absl::Status& refusal = std::get<absl::Status>(fate);
    if (!absl::IsInvalidArgument(refusal)) doubtful = refusal;
  }
  return doubtful;
}

absl::StatusOr<Recorder::Fate> Recorder::RecordAlone(const LogRecord& record) {
  absl::Status refusal;
  for (int attempt = 0; attempt < options_.refusals_max; ++attempt) {
    const auto recorded = deps_.store.Record({&record, 1}, announced_);
    if (recorded.ok()) return Fate(recorded->front());
    if (absl::IsUnavailable(recorded.status())) return recorded.status();
    refusal = recorded.status();
  }
  return Fate(refusal);
}

Recorder::Aftermath Recorder::Sort(std::span<const LogRecord> batch, std::span<const Fate> fates) {
  Aftermath aftermath;
  Stats& counts = aftermath.counts;
  const absl::Time now = deps_.clock.Now();
  for (size_t i = 0; i < batch.size(); ++i) {
    const auto* claim = std::get_if<AdmittedClaim>(&batch[i].record);
    const auto bury = [&](std::string reason) {
      base::Log(base::Level::kError, "a log record can become no row; it is kept as a dead letter",
                {{"partition", batch[i].partition},
                 {"position", batch[i].position},
                 {"request_id", claim != nullptr ? claim->request.ToString() : ""},
                 {"reason", reason}});
      aftermath.dead.push_back({.record = batch[i], .reason = std::move(reason)});
      ++counts.dead;
    };
    if (claim != nullptr) LogTrace(*claim, fates[i], counts);
    if (const auto* refusal = std::get_if<absl::Status>(&fates[i])) {
      bury(absl::StrCat("the store refuses it: ", refusal->message()));
      if (claim != nullptr) aftermath.Settle(*claim);
      continue;
    }
    const auto& [outcome, issued_at] = std::get<RecordResult>(fates[i]);
    switch (outcome) {
      case RecordOutcome::kBarrier: continue;
      case RecordOutcome::kMalformed: bury(std::get<Malformed>(batch[i].record).reason); continue;
      case RecordOutcome::kStale:
        // Its reservation went with the old gate. One of the new gate with the same request is
        // of another append, which is still on its way.
        ++counts.stale;
        continue;
      case RecordOutcome::kUnknownCoupon: bury("no such coupon"); break;
      case RecordOutcome::kIssued:
        aftermath.CountRow(*claim, now);
        aftermath.Announce(*claim, issued_at);
        break;
      case RecordOutcome::kIssuedEarlier:
        ++counts.duplicate;
        aftermath.Announce(*claim, issued_at);
        break;
      case RecordOutcome::kDuplicate: ++counts.duplicate; break;
      case RecordOutcome::kOverAdmitted:
        ++counts.over_admitted;
        base::Log(base::Level::kError, "a claim was accepted beyond the stock; it is rejected",
                  {{"coupon_id", claim->holder.coupon.value},
                   {"user_id", claim->holder.user.value},
                   {"request_id", claim->request.ToString()}});
        aftermath.over_admitted.insert(claim->holder.coupon);
        break;
    }
    aftermath.Settle(*claim);
  }
  counts.published = static_cast<int64_t>(aftermath.issued.size());
  return aftermath;
}

/// Ends the trace of a claim whose caller keeps it: this is where it became a row, or did not.
void Recorder::LogTrace(const AdmittedClaim& claim, const Fate& fate, Stats& counts) {
  const std::optional<TraceIds> ids = SampledTrace(claim.trace_parent);
  if (!ids) return;
  if (!MayLogTrace()) {
    ++counts.trace_lines_skipped;
    return;
  }
  const auto* result = std::get_if<RecordResult>(&fate);
  base::Log(base::Level::kInfo, "a traced claim was recorded",
            {{"result", result != nullptr ? Name(result->outcome) : "dead_letter"},
             {"coupon_id", claim.holder.coupon.value},
             {"request_id", claim.request.ToString()},
             {"trace_id", ids->trace},
             {"span_id", ids->span}});
}

bool Recorder::MayLogTrace() {
  const absl::Duration now = deps_.clock.Monotonic();
  if (now - trace_second_ >= absl::Seconds(1)) {
    trace_second_ = now;
    trace_lines_ = 0;
  }
  return trace_lines_++ < options_.trace_lines_a_second;
}

void Recorder::Count(const Stats& counts) {
  std::lock_guard lock(stats_mutex_);
  stats_ += counts;
}

void Recorder::NoteSuccess() {
  std::lock_guard lock(stats_mutex_);
  stats_.last_success = deps_.clock.Now();
}

/// Once the log is quiet: so that a replay of it, days later, is not published a second time.
absl::Status Recorder::RememberAnnounced() {
  if (announced_is_stored_) return absl::OkStatus();
  RETURN_IF_ERROR(deps_.store.Record({}, announced_).status());
  announced_is_stored_ = true;
  return absl::OkStatus();
}

/// A gate that cannot be told holds nothing up: it is told with the next batch, or the reconciler
/// finds the rows.
void Recorder::TellGate() {
  absl::Status told;
  size_t count = 0;
  while (told.ok() && count < untold_.size()) {
    const size_t next = std::min(kToldAtOnce, untold_.size() - count);
    told = deps_.gate.Recorded(std::span(untold_).subspan(count, next));
    if (told.ok()) count += next;
  }
  untold_.erase(untold_.begin(), untold_.begin() + static_cast<std::ptrdiff_t>(count));
  if (gate_hears_ && !told.ok()) {
    base::Log(base::Level::kWarn, "the gate cannot be told what is recorded; it is told later",
              {{"error", told}});
  }
  gate_hears_ = told.ok();
}

bool Recorder::IsStopping() {
  std::lock_guard lock(mutex_);
  return stop_by_.has_value();
}

bool Recorder::TimeIsUp() {
  std::lock_guard lock(mutex_);
  return stop_by_ && std::chrono::steady_clock::now() >= *stop_by_;
}

/// Ends early when Stop leaves less time.
void Recorder::WaitBeforeRetry(absl::Duration wait) {
  const auto until = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(wait);
  std::unique_lock lock(mutex_);
  stop_.wait_until(lock, until, [&] { return stop_by_ && *stop_by_ <= until; });
}

Recorder::Stats& Recorder::Stats::operator+=(const Stats& other) {
  issued += other.issued;
  duplicate += other.duplicate;
  over_admitted += other.over_admitted;
  stale += other.stale;
  dead += other.dead;
  published += other.published;
  for (size_t i = 0; i < row_delays.size(); ++i) row_delays[i] += other.row_delays[i];
  row_delay_sum += other.row_delay_sum;
  trace_lines_skipped += other.trace_lines_skipped;
  return *this;
}

Recorder::Stats Recorder::stats() const {
  std::lock_guard lock(stats_mutex_);
  return stats_;
}

}  // namespace ecom::coupon
