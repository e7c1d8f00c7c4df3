#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coupon/claim_log.h"
#include "coupon/gate.h"
#include "coupon/store.h"

namespace ecom::coupon {

/// Turns the log into rows: a batch of it at a time, on a thread of its own. At least once from
/// the log and idempotent in the store make exactly one row of each claim.
class Recorder {
 public:
  struct Options {
    /// Records in one transaction.
    int batch_records_max = 1000;
    /// How long one wait for records takes: bounds how long Stop waits.
    absl::Duration poll_timeout = absl::Milliseconds(100);
    /// Before a batch that the store refused is tried again: from `retry_wait_min`, doubled up
    /// to `retry_wait_max`.
    absl::Duration retry_wait_min = absl::Milliseconds(10);
    absl::Duration retry_wait_max = absl::Seconds(1);
  };

  struct Deps {
    ClaimSource& source;
    CouponStore& store;
    CouponGate& gate;
    /// Called, on the recorder's thread, for a coupon whose gate admitted beyond the stock. Must
    /// not block.
    absl::AnyInvocable<void(CouponId)> on_over_admitted;
  };

  /// Counts since the start, by what became of the log's records.
  struct Stats {
    int64_t issued = 0;
    int64_t duplicate = 0;
    int64_t over_admitted = 0;
    int64_t stale = 0;
    int64_t unknown_coupon = 0;
  };

  /// What `deps` names must outlive the recorder, which begins at once.
  Recorder(Options options, Deps deps);
  ~Recorder();

  /// Finishes the batch in hand, and records what else is in the log while `drain_timeout`
  /// lasts; the rest stays in the log. Idempotent.
  void Stop(absl::Duration drain_timeout);

  Stats stats() const;

 private:
  void Run();
  absl::StatusOr<bool> RecordOneBatch();
  bool IsStopping();
  bool TimeIsUp();
  void WaitBeforeRetry(absl::Duration wait);

  const Options options_;
  Deps deps_;
  std::atomic<int64_t> issued_{0}, duplicate_{0}, over_admitted_{0}, stale_{0}, unknown_coupon_{0};
  std::mutex mutex_;
  std::condition_variable stop_;
  std::optional<std::chrono::steady_clock::time_point> stop_by_;  // set by Stop
  std::thread thread_;                                            // last: runs on the members above
};

}  // namespace ecom::coupon
