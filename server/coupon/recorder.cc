#include "coupon/recorder.h"

#include <pthread.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/time/clock.h"
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
    if (!stopping_) stop_by_ = absl::Now() + drain_timeout;
    stopping_ = true;
  }
  stop_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Recorder::Run() {
  absl::Duration wait = options_.retry_wait_min;
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_ && (caught_up_ || absl::Now() >= stop_by_)) return;
    }
    const absl::Status status = RecordOneBatch();
    if (status.ok()) {
      wait = options_.retry_wait_min;
      continue;
    }
    base::Log(base::Level::kWarn, "a batch of claims could not be recorded; it is tried again",
              {{"error", status}});
    deps_.source.Rewind();
    if (!WaitBeforeRetry(wait)) return;
    wait = std::min(wait * 2, options_.retry_wait_max);
  }
}

absl::Status Recorder::RecordOneBatch() {
  ASSIGN_OR_RETURN(const std::vector<LogRecord> batch,
                   deps_.source.Poll(options_.batch_records_max, options_.poll_timeout));
  caught_up_ = batch.empty();
  if (batch.empty()) return absl::OkStatus();
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
  return deps_.gate.Recorded(recorded);
}

/// False when the recorder was stopped meanwhile.
bool Recorder::WaitBeforeRetry(absl::Duration wait) {
  std::unique_lock lock(mutex_);
  return !stop_.wait_for(lock, absl::ToChronoMilliseconds(wait), [this] { return stopping_; });
}

Recorder::Stats Recorder::stats() const {
  return {.issued = issued_.load(),
          .duplicate = duplicate_.load(),
          .over_admitted = over_admitted_.load(),
          .stale = stale_.load(),
          .unknown_coupon = unknown_coupon_.load()};
}

}  // namespace ecom::coupon
