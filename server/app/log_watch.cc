#include "app/log_watch.h"

#include <pthread.h>

#include <condition_variable>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::app {
LogWatch::LogWatch(Options options, Deps deps) : options_(options), deps_(std::move(deps)) {
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  pthread_setname_np(thread_.native_handle(), "log-watch");
}

void LogWatch::Stop() {
  BeginStop();
  if (thread_.joinable()) thread_.join();
}

LogWatch::Sight LogWatch::sight() const {
  std::lock_guard lock(mutex_);
  return sight_;
}

void LogWatch::Run(const std::stop_token& stop) {
  std::condition_variable_any stopped;
  while (!stop.stop_requested()) {
    absl::Status status = LookAtPositions();
    // Not while the first do not answer: each may take as long as its timeout.
    if (status.ok() && !stop.stop_requested()) status = LookAtDeadLetters();
    if (!status.ok()) {
      base::Log(base::Level::kDebug, "the length of the log is not known", {{"error", status}});
    }
    std::unique_lock lock(mutex_);
    stopped.wait_for(lock, stop, absl::ToChronoMilliseconds(options_.interval),
                     [] { return false; });
  }
}

absl::Status LogWatch::LookAtPositions() {
  absl::StatusOr<coupon::LogPositions> committed = deps_.progress.Committed();
  // The ends last, so that the lag is never less than nothing.
  absl::StatusOr<coupon::LogPositions> ends = committed.ok() ? deps_.progress.Ends() : committed;
  std::lock_guard lock(mutex_);
  sight_.committed.reset();
  sight_.ends.reset();
  RETURN_IF_ERROR(ends.status());
  sight_.committed = *std::move(committed);
  sight_.ends = *std::move(ends);
  return absl::OkStatus();
}

absl::Status LogWatch::LookAtDeadLetters() {
  const absl::StatusOr<int64_t> count = deps_.count_dead_letters();
  std::lock_guard lock(mutex_);
  sight_.dead_letters.reset();
  RETURN_IF_ERROR(count.status());
  sight_.dead_letters = *count;
  return absl::OkStatus();
}

}  // namespace ecom::app
