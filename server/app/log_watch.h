#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coupon/claim_log.h"

namespace ecom::app {

/// Looks again and again at how far the log is recorded and how many dead letters wait for a
/// person: in every process, as one that records no more says nothing about itself. Thread-safe.
class LogWatch {
 public:
  struct Options {
    absl::Duration interval = absl::Seconds(1);
  };

  struct Deps {
    coupon::LogProgress& progress;
    /// Dead letters that nobody has dealt with. May block; called on the watch's thread only.
    absl::AnyInvocable<absl::StatusOr<int64_t>()> count_dead_letters;
  };

  /// What was seen last; what could not be asked then is not there.
  struct Sight {
    std::optional<coupon::LogPositions> ends;
    std::optional<coupon::LogPositions> committed;
    std::optional<int64_t> dead_letters;
  };

  /// Begins at once. What `deps` names must outlive the watch.
  LogWatch(Options options, Deps deps);
  ~LogWatch() { Stop(); }

  /// Begins what Stop does, without waiting for its end. Idempotent.
  void BeginStop() { thread_.request_stop(); }

  /// Waits for the answer to what was asked last, or for its timeout. Idempotent.
  void Stop();

  Sight sight() const;

 private:
  void Run(const std::stop_token& stop);
  absl::Status LookAtPositions();
  absl::Status LookAtDeadLetters();

  const Options options_;
  Deps deps_;

  mutable std::mutex mutex_;
  Sight sight_;          // guarded by mutex_
  std::jthread thread_;  // last: runs on the members above
};

}  // namespace ecom::app
