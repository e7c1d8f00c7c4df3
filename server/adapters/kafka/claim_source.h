#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coupon/claim_log.h"

namespace ecom::adapters::kafka {

/// One reader of the claim log's topic: a member of its consumer group, whose members share the
/// partitions. Commit remembers a position at once and sends it each `commit_interval`, so a crash
/// brings back what was committed since, and no more.
///
/// Kafka holds records back until there is 1 MiB of them, for up to 50 ms, so that what Poll
/// returns is few large batches; ADR 7 says what that saves.
///
/// It never jumps. A partition that the group has not read yet is read from its beginning. One
/// whose position is not in the log — retention overtook the group, the log's tail was lost, the
/// topic was made anew — stands still, with an error in the log, until a person has reset the
/// group's position; the other partitions go on. (A log whose tail was lost and that has grown past
/// the position again looks whole; the claims that were lost are then found by their reservations.)
/// A record whose bytes were changed on the way is fetched again.
///
/// One caller at a time; the counters are for any thread.
class KafkaClaimSource final : public coupon::ClaimSource {
 public:
  struct Options {
    /// `host:port`, several separated by commas.
    std::string brokers;
    std::string topic = "coupon-issue";
    std::string group = "coupon-issue-group";
    /// Names this member across restarts (`group.instance.id`), so that after one, however it
    /// ended, it takes its partitions over at once. Each of the group's members needs another name.
    /// Empty: a member like any other; after a crash its partitions wait for `session_timeout`.
    std::string instance;
    /// After so long without a heartbeat the member counts as dead. Brokers allow 6 s and more.
    absl::Duration session_timeout = absl::Seconds(6);
    absl::Duration commit_interval = absl::Milliseconds(200);
    /// Between two Polls; beyond, the member loses its partitions until the next one. Longer than
    /// the caller tries to record one batch; a rebalance waits so long for a silent member.
    absl::Duration silence_max = absl::Minutes(30);
    /// For the last commit and the farewell to the group, at the end.
    absl::Duration close_timeout = absl::Seconds(4);
    /// Between two tries to make a client after one failed for good: doubled from the first to the
    /// second.
    absl::Duration retry_wait_min = absl::Seconds(1);
    absl::Duration retry_wait_max = absl::Seconds(30);
    /// Memory for records that were fetched ahead.
    int prefetch_kib_max = 16384;
  };

  /// Connects and asks to join the group in the background; partitions come with a Poll.
  /// INVALID_ARGUMENT: options that librdkafka does not take.
  static absl::StatusOr<std::unique_ptr<KafkaClaimSource>> Create(Options options);

  /// Commits what is remembered and leaves the group (a named member stays in it for
  /// `session_timeout`). Blocks up to `close_timeout`.
  ~KafkaClaimSource() override;

  /// As the port says; up to 8 MiB of records at once. When partitions are given to it, it blocks
  /// up to 5 s longer than `timeout`, while the group's positions are read. UNAVAILABLE is returned
  /// once for each loss of all brokers and each error of the topic, and while a client that failed
  /// for good is not replaced yet.
  absl::StatusOr<std::vector<coupon::LogRecord>> Poll(int records_max,
                                                      absl::Duration timeout) override;
  /// As the port says. Never blocks. UNAVAILABLE when a record's partition belongs to another
  /// member by now.
  absl::Status Commit(std::span<const coupon::LogRecord> records) override;
  /// As the port says. Does nothing when all that was delivered is committed.
  void Rewind() override;

  /// Partitions that this member reads, those that stand still included.
  int partitions_assigned() const { return assigned_.load(); }
  /// Partitions that stand still until a person acts.
  int partitions_stalled() const { return stalled_.load(); }

 private:
  class Consumer;

  explicit KafkaClaimSource(Options options);
  absl::Status EnsureConsumer();

  const Options options_;
  std::atomic<int> assigned_ = 0;
  std::atomic<int> stalled_ = 0;
  absl::Duration retry_wait_;
  absl::Time retry_at_ = absl::InfinitePast();
  std::unique_ptr<Consumer> consumer_;
};

}  // namespace ecom::adapters::kafka
