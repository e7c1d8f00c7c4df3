#include "coupon/recorder.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::coupon {

Recorder::Recorder(Options options, Deps deps)
    : options_(options), deps_(std::move(deps)), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "recorder");
}

Recorder::~Recorder() { Stop(absl::ZeroDuration()); }

void Recorder::Stop(absl::Duration drain_timeout) {
  {
    std::lock_guard lock(mutex_);
    if (!stop_by_) {
      stop_by_ = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(drain_timeout);
    }
  }
  stop_.notify_all();
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
  if (batch.empty()) return false;
  ASSIGN_OR_RETURN(const std::vector<RecordOutcome> outcomes, deps_.store.Record(batch));

  std::vector<Claim> recorded;
  recorded.reserve(batch.size());
  for (size_t i = 0; i < batch.size(); ++i) {
    const auto* claim = std::get_if<AdmittedClaim>(&batch[i].record);
    switch (outcomes[i]) {
      case RecordOutcome::kBarrier: continue;
      case RecordOutcome::kStale:
        // Its reservation went with the old gate. One of the new gate with the same request is
        // of another append, which is still on its way.
        ++stale_;
        continue;
      case RecordOutcome::kIssued: ++issued_; break;
      case RecordOutcome::kDuplicate: ++duplicate_; break;
      case RecordOutcome::kUnknownCoupon: ++unknown_coupon_; break;
      case RecordOutcome::kOverAdmitted:
        ++over_admitted_;
        base::Log(base::Level::kError, "a claim was accepted beyond the stock; it is rejected",
                  {{"coupon_id", claim->holder.coupon.value},
                   {"user_id", claim->holder.user.value},
                   {"request_id", claim->request.ToString()}});
        deps_.on_over_admitted(claim->holder.coupon);
        break;
    }
    recorded.push_back({.holder = claim->holder, .request = claim->request});
  }
  // The rows are durable, so from here on a failure costs a redelivery and no more.
  RETURN_IF_ERROR(deps_.source.Commit(batch.back().position));
  RETURN_IF_ERROR(deps_.gate.Recorded(recorded));
  return true;
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

Recorder::Stats Recorder::stats() const {
  return {.issued = issued_.load(),
          .duplicate = duplicate_.load(),
          .over_admitted = over_admitted_.load(),
          .stale = stale_.load(),
          .unknown_coupon = unknown_coupon_.load()};
}

}  // namespace ecom::coupon
