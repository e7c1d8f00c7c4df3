#include "adapters/kafka/claim_log.h"

#include <utility>
#include <vector>

#include "adapters/kafka/codec.h"
#include "adapters/kafka/error.h"
#include "adapters/kafka/positions.h"
#include "adapters/kafka/producer.h"
#include "base/status_macros.h"

namespace ecom::adapters::kafka {

using coupon::LogPositions;

absl::StatusOr<std::unique_ptr<KafkaClaimLog>> KafkaClaimLog::Create(const Options& options) {
  ASSIGN_OR_RETURN(auto producer,
                   Producer::Create({.brokers = options.brokers,
                                     .topic = options.topic,
                                     .ack_timeout = options.append_timeout,
                                     .records_waiting_max = options.claims_waiting_max}));
  ASSIGN_OR_RETURN(auto positions, PositionReader::Create({.brokers = options.brokers,
                                                           .topic = options.topic,
                                                           .group = options.group,
                                                           .timeout = options.read_timeout}));
  return std::unique_ptr<KafkaClaimLog>(
      new KafkaClaimLog(std::move(producer), std::move(positions)));
}

KafkaClaimLog::KafkaClaimLog(std::unique_ptr<Producer> producer,
                             std::unique_ptr<PositionReader> positions)
    : producer_(std::move(producer)), positions_(std::move(positions)) {}

KafkaClaimLog::~KafkaClaimLog() = default;

base::CallStats::Snapshot KafkaClaimLog::calls() const { return producer_->calls(); }

absl::Status KafkaClaimLog::Append(std::span<const coupon::AdmittedClaim> claims) {
  std::vector<WireRecord> records;
  records.reserve(claims.size());
  for (const coupon::AdmittedClaim& claim : claims) records.push_back(Encode(claim));
  return UnknownOutcome(producer_->Send(records));
}

absl::StatusOr<int> KafkaClaimLog::AppendBarrier(const coupon::Barrier& barrier) {
  const absl::StatusOr<int> partitions = producer_->CountPartitions();
  if (!partitions.ok()) return UnknownOutcome(partitions.status());
  std::vector<WireRecord> barriers(*partitions, Encode(barrier));
  for (int i = 0; i < *partitions; ++i) barriers[i].partition = i;
  RETURN_IF_ERROR(UnknownOutcome(producer_->Send(barriers)));
  return *partitions;
}

absl::Status KafkaClaimLog::Ready() const { return producer_->Ready(); }

absl::StatusOr<LogPositions> KafkaClaimLog::Ends() {
  absl::StatusOr<LogPositions> ends = positions_->Ends();
  if (!ends.ok()) return Unavailable(ends.status());
  return ends;
}

absl::StatusOr<LogPositions> KafkaClaimLog::Committed() {
  absl::StatusOr<LogPositions> committed = positions_->Committed();
  if (!committed.ok()) return Unavailable(committed.status());
  return committed;
}

int64_t KafkaClaimLog::producers_replaced() const { return producer_->replacements(); }

}  // namespace ecom::adapters::kafka
