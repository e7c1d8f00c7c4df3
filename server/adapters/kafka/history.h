#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coupon/claim_log.h"

namespace ecom::adapters::kafka {

class PositionReader;

/// A record of the claim log, with what decides what became of it.
struct LoggedRecord {
  coupon::LogRecord record;
  absl::Time appended_at;
  /// The highest barrier of the coupon that stands before it in its partition; 0: none does.
  coupon::Generation barrier_before;
};

/// What one user's partition of the claim log still has of that user and one coupon.
struct UserLog {
  coupon::LogPartition partition = 0;
  /// What is read lies between `begin` and `read_to`; when the time ran out, before `end`.
  coupon::LogPosition begin = 0, read_to = 0, end = 0;
  /// Claims of the user for that coupon, and records with the user's key that are none of ours; the
  /// oldest first.
  std::vector<LoggedRecord> records;
  bool more = false;  ///< there are more records than these
};

/// An event on the feed.
struct PublishedEvent {
  coupon::LogPartition partition = 0;
  coupon::LogPosition position = 0;
  absl::Time published_at;
  coupon::IssuedCoupon issued;
};

/// Which part of the feed was read.
struct FeedCoverage {
  bool from_the_first = true;  ///< retention has not taken events away
  bool to_the_end = true;      ///< the time sufficed
  int64_t unreadable = 0;      ///< events that are none of ours
};

/// What the feed has of one user.
struct UserEvents {
  std::vector<PublishedEvent> events;  ///< the oldest first
  FeedCoverage coverage;
};

/// Reads back what Kafka still has, for whoever looks into a claim. Joins no group and changes
/// nothing. Each call makes a connection of its own, and reads every record of the partitions that
/// it is about: some 100,000 a second. One caller at a time.
class KafkaHistory {
 public:
  struct Options {
    /// `host:port`, several separated by commas.
    std::string brokers;
    std::string log_topic = "coupon-issue";
    std::string feed_topic = "coupon-issued";
    /// For one call; what is read by then is returned.
    absl::Duration timeout = absl::Seconds(30);
    /// Records of one user that are kept; of more the oldest ones.
    int records_max = 1000;
  };

  /// Does not connect. INVALID_ARGUMENT: options that librdkafka does not take.
  static absl::StatusOr<std::unique_ptr<KafkaHistory>> Create(Options options);
  ~KafkaHistory();

  /// Reads the claim log's partition of that user from its first record on. Where the number of
  /// partitions was changed, older records stand elsewhere and are not found.
  ///
  /// * UNAVAILABLE: no broker answers; ask again.
  /// * FAILED_PRECONDITION: there is no such topic.
  absl::StatusOr<UserLog> ReadLog(const coupon::Holder& holder);

  /// Reads the feed's partition of that user, and keeps the events of the coupon. As ReadLog.
  absl::StatusOr<UserEvents> ReadEvents(const coupon::Holder& holder);

  /// Calls `visit` for every event of the feed, of whatever coupon; an event may come more than
  /// once. Holds one at a time in memory. Errors as ReadLog's.
  absl::StatusOr<FeedCoverage> VisitEvents(
      absl::FunctionRef<void(const coupon::IssuedCoupon&)> visit);

 private:
  struct Extent;

  KafkaHistory(Options options, std::unique_ptr<PositionReader> log,
               std::unique_ptr<PositionReader> feed);

  const Options options_;
  const std::unique_ptr<PositionReader> log_;
  const std::unique_ptr<PositionReader> feed_;
};

}  // namespace ecom::adapters::kafka
