#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/call_stats.h"
#include "coupon/claim_log.h"

namespace ecom::adapters::kafka {

class PositionReader;
class Producer;

/// The claim log as a Kafka topic (brokers 2.4 to 3.9), a record a claim, partitioned by the user
/// as Java's clients do. Durable means acks=all: every replica that is in sync has it, in memory;
/// so a broker that is killed loses nothing, a power cut of all of them at once may. Thread-safe.
class KafkaClaimLog final : public coupon::ClaimLog, public coupon::LogProgress {
 public:
  struct Options {
    /// `host:port`, several separated by commas.
    std::string brokers;
    std::string topic = "coupon-issue";
    /// Whose progress Committed tells.
    std::string group = "coupon-issue-group";
    /// For one Append. An acknowledgement that comes later is of no use: nobody waits for it.
    absl::Duration append_timeout = absl::Seconds(2);
    /// For each of the two or three round trips of Ends and Committed.
    absl::Duration read_timeout = absl::Seconds(2);
    /// Claims under way to Kafka, of all batches together; beyond, Append answers UNAVAILABLE.
    int claims_waiting_max = 100000;
  };

  /// Connects in the background; Ready says when that is done. INVALID_ARGUMENT: options that
  /// librdkafka does not take.
  static absl::StatusOr<std::unique_ptr<KafkaClaimLog>> Create(const Options& options);

  /// Gives up what is not acknowledged. Blocks up to two seconds; nobody may be within a call.
  ~KafkaClaimLog() override;

  /// As the port says, in one round trip and within `append_timeout`; while the log is known to be
  /// down, UNAVAILABLE at once. No claims: OK.
  absl::Status Append(std::span<const coupon::AdmittedClaim> claims) override;
  /// As the port says; asks for the partitions first, so two round trips, within `append_timeout`
  /// each.
  absl::StatusOr<int> AppendBarrier(const coupon::Barrier& barrier) override;
  /// As the port says. Down is known from an append that failed or the loss of all brokers; up
  /// again from a probe, each 200 ms, that finds a leader of every partition. Where probes succeed
  /// and appends fail all the same, it stays down for longer and longer, up to 5 s.
  absl::Status Ready() const override;

  /// As the port says, in two round trips.
  absl::StatusOr<coupon::LogPositions> Ends() override;
  /// As the port says, in two or three round trips. A partition that the group never committed
  /// counts from its begin.
  absl::StatusOr<coupon::LogPositions> Committed() override;

  /// How often a producer failed for good, and was replaced.
  int64_t producers_replaced() const;

  /// What its writes did: how long they took, and how they ended.
  base::CallStats::Snapshot calls() const;

 private:
  KafkaClaimLog(std::unique_ptr<Producer> producer, std::unique_ptr<PositionReader> positions);

  const std::unique_ptr<Producer> producer_;
  const std::unique_ptr<PositionReader> positions_;
};

}  // namespace ecom::adapters::kafka
