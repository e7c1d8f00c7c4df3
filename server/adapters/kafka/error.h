#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "base/status.h"

namespace ecom::adapters::kafka {

/// The one table from librdkafka's error codes (rd_kafka_resp_err_t, its own and the broker's) to
/// statuses. `what` says what was tried; the code's own text follows it.
///
/// * OK: no error.
/// * DEADLINE_EXCEEDED: not answered in time, or answered by an error behind which the record may
///   yet be in the log; the outcome is unknown.
/// * UNAVAILABLE: no broker, no leader, no coordinator, a rebalance, a full disk: comes back, or a
///   new client helps. Whether a record that was sent is in the log is unknown, too.
/// * RESOURCE_EXHAUSTED: our own queue of records under way is full.
/// * FAILED_PRECONDITION: no such topic or partition, or not allowed: a person has to act.
/// * OUT_OF_RANGE: the position is not in the log (any more).
/// * INVALID_ARGUMENT: the broker does not take this record, or this setting; no other try helps.
/// * INTERNAL: the rest, our own bug.
absl::Status KafkaStatus(int rdkafka_error, std::string_view what);

/// What a port promises whose every failure means "unknown, try again": OK and DEADLINE_EXCEEDED
/// stay, anything else becomes UNAVAILABLE with the same text.
absl::Status UnknownOutcome(const absl::Status& status);

using base::Unavailable;

}  // namespace ecom::adapters::kafka
