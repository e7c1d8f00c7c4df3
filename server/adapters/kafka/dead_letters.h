#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/call_stats.h"
#include "coupon/claim_log.h"

namespace ecom::adapters::kafka {

class PositionReader;
class Producer;

/// Keeps dead records in a Kafka topic of their own, each with the headers `reason`,
/// `origin-topic`, `origin-partition` and `origin-offset`, and with the key and the bytes that it
/// had. Thread-safe.
class KafkaDeadLetters final : public coupon::DeadLetters {
 public:
  struct Options {
    /// `host:port`, several separated by commas.
    std::string brokers;
    std::string topic = "coupon-issue.DLT";
    /// Where the records come from.
    std::string origin_topic = "coupon-issue";
    /// For one Add.
    absl::Duration add_timeout = absl::Seconds(5);
    /// Bytes of a key and of a payload that are kept; brokers take records of 1 MiB. What is longer
    /// is cut, with its size in the header `cut-from-bytes`: the log goes on, and the record itself
    /// stays where it came from for as long as that topic keeps it.
    size_t payload_bytes_max = size_t{900} * 1024;
  };

  /// Connects in the background. INVALID_ARGUMENT: options that librdkafka does not take.
  static absl::StatusOr<std::unique_ptr<KafkaDeadLetters>> Create(Options options);

  /// Gives up what is not acknowledged. Blocks up to two seconds; nobody may be within Add.
  ~KafkaDeadLetters() override;

  /// As the port says, in one round trip and within `add_timeout`; at once while the topic is known
  /// to be down. No records: OK.
  absl::Status Add(std::span<const coupon::DeadRecord> records) override;

  /// What its writes did: how long they took, and how they ended.
  base::CallStats::Snapshot calls() const;

 private:
  KafkaDeadLetters(Options options, std::unique_ptr<Producer> producer);

  const Options options_;
  const std::unique_ptr<Producer> producer_;
};

/// A record as KafkaDeadLetters keeps it.
struct DeadLetter {
  /// Where it stands among the letters.
  coupon::LogPartition partition = 0;
  coupon::LogPosition position = 0;
  absl::Time kept_at;
  std::string reason;
  std::string origin_topic;
  std::string key;
  std::string payload;
  /// The payload or the key was too long to be kept whole.
  bool cut = false;
  /// What it was in the log, as this program reads it now; Malformed when it cannot.
  coupon::LogRecord record;
};

/// Which letters the topic has.
struct LetterRange {
  coupon::LogPositions begins;
  coupon::LogPositions ends;
};

/// The operator's side of the dead letters. What has been dealt with is not known here. Each call
/// that reads letters makes a connection of its own; one caller at a time.
class DeadLetterBox {
 public:
  struct Options {
    /// `host:port`, several separated by commas.
    std::string brokers;
    std::string topic = "coupon-issue.DLT";
    /// Where Replay puts a letter.
    std::string origin_topic = "coupon-issue";
    /// For one call.
    absl::Duration timeout = absl::Seconds(10);
  };

  /// Does not connect. INVALID_ARGUMENT: options that librdkafka does not take.
  static absl::StatusOr<std::unique_ptr<DeadLetterBox>> Create(Options options);
  ~DeadLetterBox();

  /// Where the letters begin and end, by partition. Errors as List's.
  absl::StatusOr<LetterRange> Range();

  /// Calls `visit` for each letter that List would return, until it returns false; holds one at a
  /// time in memory. Blocks up to `timeout`. Errors as List's, after what was read in time.
  absl::Status Visit(const coupon::LogPositions& from, absl::FunctionRef<bool(DeadLetter&&)> visit);

  /// Reads up to `letters_max` letters, from the positions `from` (where none is named: from the
  /// first) to the end that the topic has now; by partition, then position. Blocks up to `timeout`.
  ///
  /// * UNAVAILABLE: no broker answers, or not in time; ask again, or for less.
  /// * FAILED_PRECONDITION: there is no such topic.
  absl::StatusOr<std::vector<DeadLetter>> List(int letters_max,
                                               const coupon::LogPositions& from = {});

  /// Reads one letter. NOT_FOUND: it is not there, or no longer; other errors as List's.
  absl::StatusOr<DeadLetter> Find(coupon::LogPartition partition, coupon::LogPosition position);

  /// Appends the letter's record to the topic where it came from, with its key and its bytes, as a
  /// record of the version that this program writes; a barrier to the partition where it stood.
  /// Blocks until it is durable; the letter stays. Not idempotent, but for a claim that makes no
  /// difference.
  ///
  /// * FAILED_PRECONDITION: the letter was cut, or there is no such topic.
  /// * UNAVAILABLE: unknown; replay it again.
  absl::Status Replay(const DeadLetter& letter);

 private:
  DeadLetterBox(Options options, std::unique_ptr<PositionReader> positions);

  const Options options_;
  const std::unique_ptr<PositionReader> positions_;
  std::unique_ptr<Producer> replays_;  // made by the first Replay
};

}  // namespace ecom::adapters::kafka
