#include "adapters/kafka/error.h"

#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>

#include <string>

namespace ecom::adapters::kafka {
namespace {

using absl::StatusCode;

struct ErrorRow {
  rd_kafka_resp_err_t error;
  StatusCode status;
};

class KafkaErrorRow : public testing::TestWithParam<ErrorRow> {};

TEST_P(KafkaErrorRow, HasAStatusAndSaysWhatWasTried) {
  const absl::Status status = KafkaStatus(GetParam().error, "append");
  EXPECT_EQ(status.code(), GetParam().status) << rd_kafka_err2name(GetParam().error);
  EXPECT_NE(std::string(status.message()).find("append"), std::string::npos);
  EXPECT_NE(std::string(status.message()).find(rd_kafka_err2str(GetParam().error)),
            std::string::npos);
}

constexpr ErrorRow kUnknown[] = {
    {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, StatusCode::kDeadlineExceeded},
    {RD_KAFKA_RESP_ERR__TIMED_OUT, StatusCode::kDeadlineExceeded},
    {RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE, StatusCode::kDeadlineExceeded},
    {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, StatusCode::kDeadlineExceeded},
    {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, StatusCode::kDeadlineExceeded},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, StatusCode::kDeadlineExceeded},
};
INSTANTIATE_TEST_SUITE_P(Unknown, KafkaErrorRow, testing::ValuesIn(kUnknown));

constexpr ErrorRow kUnavailable[] = {
    {RD_KAFKA_RESP_ERR__TRANSPORT, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__RESOLVE, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__SSL, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__AUTHENTICATION, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__BAD_MSG, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__DESTROY, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__FAIL, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__FATAL, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__FENCED, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__PURGE_QUEUE, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__STATE, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__WAIT_COORD, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__WAIT_CACHE, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__RETRY, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__IN_PROGRESS, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__NO_OFFSET, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR__INCONSISTENT, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_INVALID_MSG, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_NOT_COORDINATOR, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_MEMBER_ID_REQUIRED, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_LOG_DIR_NOT_FOUND, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_STALE_BROKER_EPOCH, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_NOT_CONTROLLER, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_PRODUCER_FENCED, StatusCode::kUnavailable},
    {RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED, StatusCode::kUnavailable},
};
INSTANTIATE_TEST_SUITE_P(Unavailable, KafkaErrorRow, testing::ValuesIn(kUnavailable));

constexpr ErrorRow kForAPerson[] = {
    {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, StatusCode::kFailedPrecondition},
    {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, StatusCode::kFailedPrecondition},
    {RD_KAFKA_RESP_ERR__UNKNOWN_GROUP, StatusCode::kFailedPrecondition},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, StatusCode::kFailedPrecondition},
    {RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, StatusCode::kFailedPrecondition},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, StatusCode::kFailedPrecondition},
    {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, StatusCode::kFailedPrecondition},
    {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, StatusCode::kFailedPrecondition},
    {RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, StatusCode::kFailedPrecondition},
    {RD_KAFKA_RESP_ERR_SECURITY_DISABLED, StatusCode::kFailedPrecondition},
    {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, StatusCode::kFailedPrecondition},
    {RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL, StatusCode::kFailedPrecondition},
};
INSTANTIATE_TEST_SUITE_P(ForAPerson, KafkaErrorRow, testing::ValuesIn(kForAPerson));

constexpr ErrorRow kRest[] = {
    {RD_KAFKA_RESP_ERR__QUEUE_FULL, StatusCode::kResourceExhausted},
    {RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, StatusCode::kOutOfRange},
    {RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, StatusCode::kOutOfRange},
    {RD_KAFKA_RESP_ERR__INVALID_ARG, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR__CONFLICT, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_INVALID_GROUP_ID, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION, StatusCode::kInternal},
    {RD_KAFKA_RESP_ERR_UNKNOWN, StatusCode::kInternal},
};
INSTANTIATE_TEST_SUITE_P(Rest, KafkaErrorRow, testing::ValuesIn(kRest));

TEST(KafkaError, IsOkWithoutAnError) {
  EXPECT_TRUE(KafkaStatus(RD_KAFKA_RESP_ERR_NO_ERROR, "append").ok());
}

TEST(KafkaError, LeavesOnlyWhatAPortKnows) {
  const absl::Status late = absl::DeadlineExceededError("late");
  const absl::Status full = absl::ResourceExhaustedError("full");
  EXPECT_EQ(UnknownOutcome(late), late);
  EXPECT_EQ(UnknownOutcome(full), absl::UnavailableError("full"));
  EXPECT_TRUE(UnknownOutcome(absl::OkStatus()).ok());
  EXPECT_EQ(Unavailable(late), absl::UnavailableError("late"));
  EXPECT_TRUE(Unavailable(absl::OkStatus()).ok());
}

}  // namespace
}  // namespace ecom::adapters::kafka
