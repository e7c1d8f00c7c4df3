#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coupon/claim_log.h"

namespace ecom::adapters::kafka {

/// Reads how long a topic is, and how far a group has read it, without joining the group.
/// Thread-safe.
class PositionReader {
 public:
  struct Options {
    std::string brokers;
    std::string topic;
    std::string group;
    /// For each round trip; a call makes two or three.
    absl::Duration timeout = absl::Seconds(2);
  };

  /// Connects in the background. INVALID_ARGUMENT: options that librdkafka does not take.
  static absl::StatusOr<std::unique_ptr<PositionReader>> Create(Options options);
  ~PositionReader();

  /// One past the last record of every partition (the high watermark). Two round trips.
  /// UNAVAILABLE, DEADLINE_EXCEEDED, FAILED_PRECONDITION (no such topic): unknown; ask again.
  absl::StatusOr<coupon::LogPositions> Ends();

  /// The first record that every partition still has. As Ends.
  absl::StatusOr<coupon::LogPositions> Begins();

  /// What the group has committed in every partition; where it never did, the partition's begin.
  /// Two round trips, three where it never did; errors as Ends.
  absl::StatusOr<coupon::LogPositions> Committed();

 private:
  struct Handle;

  explicit PositionReader(Options options);
  absl::StatusOr<coupon::LogPositions> Query(int64_t time);

  const Options options_;
  std::unique_ptr<Handle> handle_;
};

}  // namespace ecom::adapters::kafka
