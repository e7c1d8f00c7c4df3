#include "adapters/redis/error.h"

#include <gtest/gtest.h>
#include <hiredis/hiredis.h>

#include <cerrno>
#include <string>

namespace ecom::adapters::redis {
namespace {

using absl::StatusCode;

struct ReplyRow {
  const char* reply;
  StatusCode status;
};

class RedisErrorReply : public testing::TestWithParam<ReplyRow> {};

TEST_P(RedisErrorReply, HasAStatusAndKeepsItsText) {
  const absl::Status status = RedisStatus(GetParam().reply);
  EXPECT_EQ(status.code(), GetParam().status) << GetParam().reply;
  EXPECT_NE(std::string(status.message()).find(GetParam().reply), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, RedisErrorReply,
    testing::Values(
        ReplyRow{"NOTREADY closed", StatusCode::kFailedPrecondition},
        ReplyRow{"FENCED the gate is at generation 6", StatusCode::kFailedPrecondition},
        ReplyRow{"OVER the campaign ended too long ago", StatusCode::kFailedPrecondition},
        ReplyRow{"MISFIT 1 participants instead of 2", StatusCode::kFailedPrecondition},
        ReplyRow{"WRONGTYPE Operation against a key holding the wrong kind of value",
                 StatusCode::kFailedPrecondition},
        ReplyRow{"NOSCRIPT No matching script. Please use EVAL.", StatusCode::kNotFound},
        ReplyRow{"BUSY Redis is busy running a script.", StatusCode::kUnavailable},
        ReplyRow{"LOADING Redis is loading the dataset in memory", StatusCode::kUnavailable},
        ReplyRow{"OOM command not allowed when used memory > 'maxmemory'.",
                 StatusCode::kUnavailable},
        ReplyRow{"READONLY You can't write against a read only replica.", StatusCode::kUnavailable},
        ReplyRow{"MASTERDOWN Link with MASTER is down", StatusCode::kUnavailable},
        ReplyRow{"MISCONF Redis is configured to save RDB snapshots", StatusCode::kUnavailable},
        ReplyRow{"NOREPLICAS Not enough good replicas to write.", StatusCode::kUnavailable},
        ReplyRow{"CLUSTERDOWN The cluster is down", StatusCode::kUnavailable},
        ReplyRow{"TRYAGAIN Multiple keys request during rehashing of slot",
                 StatusCode::kUnavailable},
        ReplyRow{"MOVED 3999 127.0.0.1:6381", StatusCode::kUnavailable},
        ReplyRow{"ASK 3999 127.0.0.1:6381", StatusCode::kUnavailable},
        ReplyRow{"NOAUTH Authentication required.", StatusCode::kUnavailable},
        ReplyRow{"WRONGPASS invalid username-password pair", StatusCode::kUnavailable},
        ReplyRow{"NOPERM this user has no permissions", StatusCode::kUnavailable},
        ReplyRow{"ERR max number of clients reached", StatusCode::kUnavailable},
        ReplyRow{"ERR unknown command 'SMISMEMBER'", StatusCode::kInternal},
        ReplyRow{"BUSYGROUP Consumer Group name already exists", StatusCode::kInternal},
        ReplyRow{"OOM", StatusCode::kUnavailable}, ReplyRow{"", StatusCode::kInternal}));

struct ConnectionRow {
  int hiredis_error;
  int system_error;
  StatusCode before_sending;
  StatusCode after_sending;
};

class RedisConnectionError : public testing::TestWithParam<ConnectionRow> {};

TEST_P(RedisConnectionError, IsOfUnknownOutcomeOnlyAfterSending) {
  const ConnectionRow& row = GetParam();
  const auto status = [&](Progress progress) {
    return RedisStatus(row.hiredis_error, row.system_error, progress, "receive").code();
  };
  EXPECT_EQ(status(Progress::kNothingSent), row.before_sending);
  EXPECT_EQ(status(Progress::kSent), row.after_sending);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, RedisConnectionError,
    testing::Values(
        ConnectionRow{REDIS_ERR_IO, EAGAIN, StatusCode::kUnavailable,
                      StatusCode::kDeadlineExceeded},
        ConnectionRow{REDIS_ERR_IO, ETIMEDOUT, StatusCode::kUnavailable,
                      StatusCode::kDeadlineExceeded},
        ConnectionRow{REDIS_ERR_IO, ECONNREFUSED, StatusCode::kUnavailable,
                      StatusCode::kDeadlineExceeded},
        ConnectionRow{REDIS_ERR_IO, ECONNRESET, StatusCode::kUnavailable,
                      StatusCode::kDeadlineExceeded},
        ConnectionRow{REDIS_ERR_IO, EPIPE, StatusCode::kUnavailable, StatusCode::kDeadlineExceeded},
        ConnectionRow{REDIS_ERR_EOF, 0, StatusCode::kUnavailable, StatusCode::kDeadlineExceeded},
        ConnectionRow{REDIS_ERR_PROTOCOL, 0, StatusCode::kUnavailable,
                      StatusCode::kDeadlineExceeded},
        ConnectionRow{REDIS_ERR_OTHER, 0, StatusCode::kUnavailable, StatusCode::kDeadlineExceeded},
        ConnectionRow{REDIS_ERR_OOM, 0, StatusCode::kResourceExhausted,
                      StatusCode::kDeadlineExceeded}));

}  // namespace
}  // namespace ecom::adapters::redis
