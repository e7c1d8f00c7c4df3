#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <variant>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "coupon/claim_log.h"
#include "coupon/gate.h"
#include "coupon/store.h"

namespace ecom::coupon {

/// Turns the log into rows: a batch of it at a time, on a thread of its own; others may share the
/// log's partitions. At least once from the log and idempotent in the store make exactly one row of
/// each claim. Of each batch, in this order: rows, dead letters, events, the position in the log,
/// the gate; so whatever dies in between, the rest is done when the batch comes again.
class Recorder {
 public:
  static constexpr std::array kRowDelayBounds = {
      absl::Milliseconds(5),   absl::Milliseconds(10),  absl::Milliseconds(25),
      absl::Milliseconds(50),  absl::Milliseconds(100), absl::Milliseconds(250),
      absl::Milliseconds(500), absl::Seconds(1),        absl::Milliseconds(2500),
      absl::Seconds(5),        absl::Seconds(10),       absl::Seconds(30)};

  struct Options {
    /// Records in one transaction.
    int batch_records_max = 1000;
    /// How long one wait for records takes: bounds how long Stop waits.
    absl::Duration poll_timeout = absl::Milliseconds(100);
    /// Before a batch that the store refused is tried again: from `retry_wait_min`, doubled up
    /// to `retry_wait_max`.
    absl::Duration retry_wait_min = absl::Milliseconds(10);
    absl::Duration retry_wait_max = absl::Seconds(1);
    /// How often a batch is tried that the store refuses although it is there; then its records are
    /// tried one by one, each as often, and one that cannot be recorded becomes a dead letter.
    int refusals_max = 3;
    /// Recorded claims of which the gate could not be told yet; of more the reconciler tells it.
    size_t untold_max = 100000;
    /// Log lines of traced claims in a second. Callers choose what is traced: without a bound,
    /// those who trace everything would have a line of each claim.
    int trace_lines_a_second = 100;
  };

  struct Deps {
    ClaimSource& source;
    CouponStore& store;
    CouponGate& gate;
    DeadLetters& dead_letters;
    IssueFeed& feed;
    const base::Clock& clock;
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
    int64_t dead = 0;
    int64_t published = 0;
    /// Rows by how long after the claim they were there: in each bucket those that no smaller one
    /// took, the last for all above kRowDelayBounds; and the sum.
    std::array<int64_t, kRowDelayBounds.size() + 1> row_delays{};
    absl::Duration row_delay_sum;
    /// Traced claims without a line: there were too many of them.
    int64_t trace_lines_skipped = 0;
    /// When a batch was recorded last, or the log was seen to be empty.
    absl::Time last_success = absl::InfinitePast();

    /// Adds up what several recorders counted; when they succeeded stays with each.
    Stats& operator+=(const Stats& other);
  };

  /// What `deps` names must outlive the recorder, which begins at once.
  Recorder(Options options, Deps deps);
  ~Recorder();

  /// Begins what Stop does, without waiting for its end. Idempotent.
  void BeginStop(absl::Duration drain_timeout);

  /// Finishes the batch in hand, and records what else is in the log while `drain_timeout`
  /// lasts; the rest stays in the log. Idempotent.
  void Stop(absl::Duration drain_timeout);

  Stats stats() const;

 private:
  /// What became of one record: the store's result, or why the store refuses it.
  using Fate = std::variant<RecordResult, absl::Status>;
  /// What a batch leaves to do once its rows are there.
  struct Aftermath;

  void Run();
  absl::StatusOr<bool> RecordOneBatch();
  absl::StatusOr<std::vector<Fate>> RecordRows(std::span<const LogRecord> batch);
  static absl::Status BlameTheRecords(std::span<const Fate> fates);
  absl::StatusOr<Fate> RecordAlone(const LogRecord& record);
  Aftermath Sort(std::span<const LogRecord> batch, std::span<const Fate> fates);
  void LogTrace(const AdmittedClaim& claim, const Fate& fate, Stats& counts);
  bool MayLogTrace();
  void Count(const Stats& counts);
  void NoteSuccess();
  absl::Status RememberAnnounced();
  void TellGate();
  bool IsStopping();
  bool TimeIsUp();
  void WaitBeforeRetry(absl::Duration wait);

  const Options options_;
  Deps deps_;

  // Only the thread touches these.
  LogPositions announced_;
  bool announced_is_stored_ = true;
  std::vector<Claim> untold_;
  bool gate_hears_ = true;
  int refusals_ = 0;
  absl::Duration trace_second_ = -absl::InfiniteDuration();  // when it began
  int trace_lines_ = 0;                                      // since then

  mutable std::mutex stats_mutex_;
  Stats stats_;  // guarded by stats_mutex_

  std::mutex mutex_;
  std::condition_variable stop_;
  std::optional<std::chrono::steady_clock::time_point> stop_by_;  // set by Stop
  std::thread thread_;                                            // last: runs on the members above
};

}  // namespace ecom::coupon
