#pragma once

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "adapters/kafka/client.h"
#include "coupon/claim_log.h"

/// For this room's .cc files only.
namespace ecom::adapters::kafka {

/// Reads a topic without being a member of any group, and without asking for less than all: each
/// partition that `starts` names, one after the other, from there to its place in `ends`. Calls
/// `visit` for each record, in order, until it returns false. Records that come while it reads are
/// not meant.
///
/// * DEADLINE_EXCEEDED: `deadline` (of MonotonicNow) came first; the records so far were visited.
/// * other errors as KafkaStatus.
absl::Status ScanTopic(const std::string& brokers, const std::string& topic,
                       const coupon::LogPositions& starts, const coupon::LogPositions& ends,
                       absl::Time deadline,
                       absl::FunctionRef<bool(const rd_kafka_message_t&)> visit);

/// When the broker, or the producer, dated the record.
absl::Time TimeOf(const rd_kafka_message_t& message);

}  // namespace ecom::adapters::kafka
