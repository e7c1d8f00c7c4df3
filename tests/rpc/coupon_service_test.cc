#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ecom/coupon/v1/coupon_service.pb.h"
#include "google/protobuf/util/time_util.h"
#include "support/rpc_fixture.h"

namespace ecom::tests {
namespace {

namespace v1 = coupon::v1;

constexpr const char* kIssue = "/ecom.coupon.v1.CouponService/IssueCoupon";
constexpr const char* kFind = "/ecom.coupon.v1.CouponService/GetCouponIssue";

class CouponService : public RpcFixture {
 protected:
  CouponService() { pipeline_.backend.PutCoupon(OpenCoupon(pipeline_.backend.clock(), 1, 2)); }

  grpc::Status Issue(int64_t coupon_id, int64_t user_id,
                     std::optional<std::string> key = std::nullopt) {
    v1::IssueCouponRequest request;
    request.set_coupon_id(coupon_id);
    request.set_user_id(user_id);
    if (key) request.set_idempotency_key(*key);
    return Call(kIssue, request, issued_);
  }

  grpc::Status Find(int64_t coupon_id, int64_t user_id) {
    v1::GetCouponIssueRequest request;
    request.set_coupon_id(coupon_id);
    request.set_user_id(user_id);
    return Call(kFind, request, found_);
  }

  v1::IssueCouponResponse issued_;
  v1::GetCouponIssueResponse found_;
};

INSTANTIATE_TEST_SUITE_P(, CouponService, testing::Values(Transport::kUnary, Transport::kLane),
                         NameOf);

TEST_P(CouponService, AnswersWhatWasAskedForAndARequestId) {
  ASSERT_TRUE(Issue(1, 12345).ok());
  EXPECT_EQ(issued_.user_id(), 12345);
  EXPECT_EQ(issued_.coupon_id(), 1);
  EXPECT_NE(coupon::RequestId::Parse(issued_.request_id()), std::nullopt);
  EXPECT_EQ(issued_.status(), v1::COUPON_ISSUE_STATUS_QUEUED);
}

TEST_P(CouponService, TellsWhenTheCouponWasIssued) {
  ASSERT_TRUE(Issue(1, 1).ok());
  ASSERT_TRUE(pipeline_.Drain());
  ASSERT_TRUE(Eventually(
      [&] { return Find(1, 1).ok() && found_.status() == v1::COUPON_ISSUE_STATUS_ISSUED; }));
  EXPECT_EQ(found_.request_id(), issued_.request_id());
  EXPECT_EQ(google::protobuf::util::TimeUtil::TimestampToMicroseconds(found_.issued_at()),
            absl::ToUnixMicros(pipeline_.backend.clock().Now()));
}

TEST_P(CouponService, AnswersEachErrorWithItsStatusAndCode) {
  coupon::Coupon closed = OpenCoupon(pipeline_.backend.clock(), 4, 5);
  closed.ends_at = pipeline_.backend.clock().Now() - absl::Minutes(1);
  pipeline_.backend.PutCoupon(closed);
  ASSERT_TRUE(Issue(1, 1).ok());
  ASSERT_TRUE(Issue(1, 2, "k").ok());

  const struct {
    grpc::Status status;
    grpc::StatusCode code;
    const char* reason;
    const char* contract_code;
  } cases[] = {
      {Issue(1, 3), grpc::StatusCode::FAILED_PRECONDITION, "COUPON_SOLD_OUT", "CP101"},
      {Issue(1, 1), grpc::StatusCode::ALREADY_EXISTS, "COUPON_ALREADY_ISSUED", "CP102"},
      {Issue(1, 2, "other"), grpc::StatusCode::ALREADY_EXISTS, "COUPON_ALREADY_ISSUED", "CP102"},
      {Issue(99, 1), grpc::StatusCode::NOT_FOUND, "COUPON_NOT_FOUND", "CP103"},
      {Find(1, 99), grpc::StatusCode::NOT_FOUND, "COUPON_ISSUE_NOT_FOUND", "CP104"},
      {Find(99, 1), grpc::StatusCode::NOT_FOUND, "COUPON_ISSUE_NOT_FOUND", "CP104"},
      {Issue(4, 1), grpc::StatusCode::FAILED_PRECONDITION, "COUPON_NOT_OPEN", "CP105"},
      {Issue(0, 1), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_REQUEST", "CM400"},
      {Issue(1, -1), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_REQUEST", "CM400"},
      {Issue(1, 1, ""), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_REQUEST", "CM400"},
      {Find(1, 0), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_REQUEST", "CM400"},
  };
  for (const auto& row : cases) {
    EXPECT_EQ(row.status.error_code(), row.code) << row.contract_code;
    EXPECT_EQ(CodeOf(row.status, row.reason), row.contract_code);
  }
}

TEST_P(CouponService, NamesTheRequestInAnError) {
  request_id_ = "0af7651916cd43dd8448eb211c80319c";
  const grpc::Status refused = Issue(99, 1);
  EXPECT_EQ(CodeOf(refused, "COUPON_NOT_FOUND"), "CP103");
  EXPECT_EQ(InfoOf(refused).metadata().at("request_id"), request_id_);
}

TEST_P(CouponService, NamesNoRequestWhoseIdCannotBeShown) {
  for (const std::string& id : {std::string(), std::string(129, 'x'), std::string("a b")}) {
    request_id_ = id;
    const grpc::Status refused = Issue(99, 1);
    EXPECT_EQ(CodeOf(refused, "COUPON_NOT_FOUND"), "CP103") << id;
    EXPECT_FALSE(InfoOf(refused).metadata().contains("request_id")) << id;
  }
}

TEST_P(CouponService, RefusesARequestThatIsTooLarge) {
  EXPECT_EQ(Issue(1, 1, std::string(16 * 1024, 'k')).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Issue(1, 1).ok());
}

TEST_P(CouponService, CountsEachCallByItsMethodAndCode) {
  ASSERT_TRUE(Issue(1, 1).ok());
  EXPECT_EQ(Issue(1, 1).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Issue(99, 1).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Issue(1, 2, std::string(16 * 1024, 'k')).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  ASSERT_TRUE(Find(1, 1).ok());
  const base::CallStats::Snapshot issues = CallsOf(kIssue);
  EXPECT_EQ(issues.started, 4);
  EXPECT_EQ(issues.by_code[grpc::StatusCode::OK], 1);
  EXPECT_EQ(issues.by_code[grpc::StatusCode::ALREADY_EXISTS], 1);
  EXPECT_EQ(issues.by_code[grpc::StatusCode::NOT_FOUND], 1);
  EXPECT_EQ(issues.by_code[grpc::StatusCode::RESOURCE_EXHAUSTED], 1);
  EXPECT_EQ(std::accumulate(issues.by_duration.begin(), issues.by_duration.end(), 0), 4);
  EXPECT_GT(issues.total, absl::ZeroDuration());
  const base::CallStats::Snapshot finds = CallsOf(kFind);
  EXPECT_EQ(finds.started, 1);
  EXPECT_EQ(finds.by_code[grpc::StatusCode::OK], 1);
}

TEST_P(CouponService, CountsACallAsStartedUntilItEnds) {
  ASSERT_TRUE(Issue(1, 1).ok());
  pipeline_.log.Hold();
  std::thread caller([&] { Issue(1, 2).ok(); });
  pipeline_.log.WaitUntilOneIsHeld();
  EXPECT_EQ(CallsOf(kIssue).started, 2);
  EXPECT_EQ(CallsOf(kIssue).by_code[grpc::StatusCode::OK], 1);
  pipeline_.log.Release();
  caller.join();
  EXPECT_EQ(CallsOf(kIssue).by_code[grpc::StatusCode::OK], 2);
}

TEST_P(CouponService, IsUnavailableWhileTheLogIsDown) {
  ASSERT_TRUE(Issue(1, 1).ok());
  pipeline_.log.AnswerReady(absl::UnavailableError("secret host name"));
  const grpc::Status status = Issue(1, 2);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(CodeOf(status, "UNAVAILABLE"), "CM503");
  EXPECT_EQ(status.error_message().find("secret"), std::string::npos);
}

TEST_P(CouponService, TakesNothingForACallThatExpiredBeforeTheGate) {
  ASSERT_TRUE(pipeline_.reconciler.EnsureArmed({1}).ok());
  pipeline_.backend.clock().Advance(absl::Seconds(2));
  coupon::Coupon other = OpenCoupon(pipeline_.backend.clock(), 2, 5);
  pipeline_.backend.PutCoupon(other);
  pipeline_.store.HoldReads(true);  // coupon 2's definition must be read
  grpc::Status status;
  std::thread caller([&] {
    v1::IssueCouponRequest request;
    request.set_coupon_id(2);
    request.set_user_id(2);
    status = Call(kIssue, request, issued_, absl::Minutes(5));
  });
  pipeline_.store.WaitUntilAReadIsHeld();
  pipeline_.backend.clock().Advance(absl::Minutes(10));
  pipeline_.store.HoldReads(false);
  caller.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(CodeOf(status, "DEADLINE_EXCEEDED"), "CM504");
  EXPECT_EQ(pipeline_.log.appends(), 0);
}

TEST_P(CouponService, FinishesCallsUnderWayBeforeItStops) {
  ASSERT_TRUE(Issue(1, 1).ok());
  pipeline_.log.Hold();
  grpc::Status status;
  std::thread caller([&] { status = Issue(1, 2); });
  pipeline_.log.WaitUntilOneIsHeld();
  std::thread drain([&] { server_->Drain(absl::Seconds(20)); });
  pipeline_.log.Release();
  caller.join();
  drain.join();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(Issue(1, 3).error_code(), grpc::StatusCode::UNAVAILABLE);
}

class FullServer : public RpcFixture {
 protected:
  FullServer() : RpcFixture({.calls_in_flight_max = 1}) {
    pipeline_.backend.PutCoupon(OpenCoupon(pipeline_.backend.clock(), 1, 10));
  }
};

INSTANTIATE_TEST_SUITE_P(, FullServer, testing::Values(Transport::kUnary, Transport::kLane),
                         NameOf);

TEST_P(FullServer, RefusesAtOnceWhatIsBeyondItsBound) {
  auto issue = [&](int64_t user) {
    v1::IssueCouponRequest request;
    request.set_coupon_id(1);
    request.set_user_id(user);
    v1::IssueCouponResponse response;
    return Call(kIssue, request, response);
  };
  ASSERT_TRUE(issue(1).ok());
  // The bound is free again only once gRPC has sent the answer.
  ASSERT_TRUE(Eventually([&] { return server_->calls_in_flight() == 0; }));
  pipeline_.log.Hold();
  grpc::Status first;
  std::thread caller([&] { first = issue(2); });
  pipeline_.log.WaitUntilOneIsHeld();
  const grpc::Status second = issue(3);
  EXPECT_EQ(CodeOf(second, "UNAVAILABLE"), "CM503");
  EXPECT_EQ(CallsOf(kIssue).by_code[grpc::StatusCode::UNAVAILABLE], 1);
  pipeline_.log.Release();
  caller.join();
  EXPECT_TRUE(first.ok());
}

}  // namespace
}  // namespace ecom::tests
