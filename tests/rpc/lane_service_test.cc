#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "ecom/coupon/v1/coupon_service.pb.h"
#include "ecom/product/v1/product_service.pb.h"
#include "support/rpc_fixture.h"

namespace ecom::tests {
namespace {

constexpr const char* kIssue = "/ecom.coupon.v1.CouponService/IssueCoupon";
constexpr const char* kGetProduct = "/ecom.product.v1.ProductService/GetProduct";

std::string IssuePayload(int64_t user_id) {
  coupon::v1::IssueCouponRequest request;
  request.set_coupon_id(1);
  request.set_user_id(user_id);
  return request.SerializeAsString();
}

std::string ProductPayload(int64_t id) {
  product::v1::GetProductRequest request;
  request.set_product_id(id);
  return request.SerializeAsString();
}

lane::v1::Call CallOf(std::string payload) {
  lane::v1::Call call;
  call.set_payload(std::move(payload));
  return call;
}

class LaneService : public RpcFixture {
 protected:
  explicit LaneService(rpc::Server::Options options = {}) : RpcFixture(std::move(options)) {
    pipeline_.backend.PutCoupon(OpenCoupon(pipeline_.backend.clock(), 1, 100'000));
    EXPECT_TRUE(pipeline_.Issue(1, 999'999).ok());  // the coupon's gate is open
  }

  grpc::StatusCode CodeOfCall(const std::string& method, std::string payload) {
    const lane::v1::Answer answer = lane_->Await(lane_->Send(method, CallOf(std::move(payload))));
    return static_cast<grpc::StatusCode>(answer.status().code());
  }
};

INSTANTIATE_TEST_SUITE_P(, LaneService, testing::Values(Transport::kLane), NameOf);

TEST_P(LaneService, AnswersInTheOrderInWhichCallsEnd) {
  pipeline_.log.Hold();
  const uint64_t held = lane_->Send(kIssue, CallOf(IssuePayload(1)));
  pipeline_.log.WaitUntilOneIsHeld();
  EXPECT_EQ(CodeOfCall(kGetProduct, ProductPayload(77)), grpc::StatusCode::NOT_FOUND);
  EXPECT_FALSE(lane_->Answered(held));
  pipeline_.log.Release();
  EXPECT_TRUE(lane_->Await(held).has_payload());
}

TEST_P(LaneService, AnswersEachOfThousandsOfCallsInFlightOnce) {
  constexpr int kCalls = 4000;
  std::vector<uint64_t> ids;
  int64_t user = 1;
  for (int frame = 0; frame < 8; ++frame) {
    std::vector<std::string> payloads;
    for (int i = 0; i < kCalls / 8; ++i) payloads.push_back(IssuePayload(user++));
    const uint64_t first = lane_->SendAll(kIssue, payloads);
    for (size_t i = 0; i < payloads.size(); ++i) ids.push_back(first + i);
  }
  user = 1;
  for (const uint64_t id : ids) {
    coupon::v1::IssueCouponResponse response;
    const lane::v1::Answer answer = lane_->Await(id);
    ASSERT_TRUE(answer.has_payload()) << answer.ShortDebugString();
    ASSERT_TRUE(response.ParseFromString(answer.payload()));
    EXPECT_EQ(response.user_id(), user++);
  }
  EXPECT_TRUE(Eventually([&] { return server_->calls_in_flight() == 0; }));
}

/// A stream of any method, whose client says any bytes.
class RawStream {
 public:
  RawStream(const std::shared_ptr<grpc::Channel>& channel, const std::string& method)
      : stub_(channel), stream_(stub_.PrepareCall(&context_, method, &queue_)) {
    stream_->StartCall(nullptr);
    EXPECT_TRUE(Next());
  }
  ~RawStream() { queue_.Shutdown(); }

  void Write(const std::string& bytes) {
    const grpc::Slice slice(bytes);
    stream_->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    EXPECT_TRUE(Next());
  }

  grpc::Status Finish() {
    grpc::Status status;
    stream_->Finish(&status, nullptr);
    EXPECT_TRUE(Next());
    return status;
  }

 private:
  bool Next() {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue_.Next(&tag, &ok));
    return ok;
  }

  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream_;
};

TEST_P(LaneService, EndsWithInvalidArgumentAfterAFrameOfGarbage) {
  RawStream stream(channel_, "/ecom.lane.v1.LaneService/Open");
  stream.Write(std::string(100, '\xff'));
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(CodeOfCall(kGetProduct, ProductPayload(77)), grpc::StatusCode::NOT_FOUND)
      << "another lane is not touched";
}

TEST_P(LaneService, EndsWithInvalidArgumentWhenAnIdIsUsedTwice) {
  pipeline_.log.Hold();
  const uint64_t held = lane_->Send(kIssue, CallOf(IssuePayload(1)));
  pipeline_.log.WaitUntilOneIsHeld();
  lane::v1::OpenRequest frame;
  frame.add_calls()->set_id(12345);
  frame.add_calls()->set_id(held);
  lane_->SendFrame(frame);
  // An answer to the first of its calls proves that the whole frame was read.
  EXPECT_EQ(lane_->Await(12345).status().code(), grpc::StatusCode::INVALID_ARGUMENT);
  pipeline_.log.Release();
  lane_->Close();
  EXPECT_EQ(lane_->AwaitEnd().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_P(LaneService, AnswersAUselessCallAsGrpcDoesAndGoesOn) {
  EXPECT_EQ(CodeOfCall("/ecom.coupon.v1.CouponService/Nonsense", ""),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(CodeOfCall(kGetProduct, "\xff\xff"), grpc::StatusCode::INTERNAL);
  lane::v1::OpenRequest frame;
  lane::v1::Call& call = *frame.add_calls();
  call.set_id(12345);
  call.set_method(1000);
  lane_->SendFrame(frame);
  EXPECT_EQ(lane_->Await(12345).status().code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(CodeOfCall(kGetProduct, ProductPayload(77)), grpc::StatusCode::NOT_FOUND);
  const base::CallStats::Snapshot calls = CallsOf(kGetProduct);
  EXPECT_EQ(calls.started, 2) << "names that clients make up are counted nowhere";
  EXPECT_EQ(calls.by_code[grpc::StatusCode::INTERNAL], 1);
  EXPECT_EQ(calls.by_code[grpc::StatusCode::NOT_FOUND], 1);
}

TEST_P(LaneService, SendsNoAnswerToACallThatWasCancelled) {
  pipeline_.log.Hold();
  const uint64_t held = lane_->Send(kIssue, CallOf(IssuePayload(1)));
  pipeline_.log.WaitUntilOneIsHeld();
  lane::v1::OpenRequest frame;
  frame.add_cancelled_ids(held);
  frame.add_cancelled_ids(4711);  // nobody's
  lane_->SendFrame(frame);
  // Its answer proves that the frame before it was read.
  EXPECT_EQ(CodeOfCall(kGetProduct, ProductPayload(77)), grpc::StatusCode::NOT_FOUND);
  pipeline_.log.Release();
  EXPECT_TRUE(Eventually([&] { return server_->calls_in_flight() == 0; }));
  lane_->Close();
  EXPECT_TRUE(lane_->AwaitEnd().ok());
  EXPECT_FALSE(lane_->Answered(held));
  EXPECT_EQ(CallsOf(kIssue).started, 1);
  EXPECT_EQ(CallsOf(kIssue).by_code[grpc::StatusCode::OK], 1) << "it was done all the same";
}

TEST_P(LaneService, HandsTheDeadlineOn) {
  pipeline_.backend.PutCoupon(OpenCoupon(pipeline_.backend.clock(), 2, 5));
  lane::v1::Call call;
  coupon::v1::IssueCouponRequest request;
  request.set_coupon_id(2);
  request.set_user_id(1);
  call.set_payload(request.SerializeAsString());
  call.set_timeout_us(-1);
  const lane::v1::Answer answer = lane_->Await(lane_->Send(kIssue, std::move(call)));
  EXPECT_EQ(answer.status().code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_P(LaneService, EndsWithOkWhenTheClientHasNoMoreCallsAndItsAnswersWereSent) {
  pipeline_.log.Hold();
  const uint64_t held = lane_->Send(kIssue, CallOf(IssuePayload(1)));
  pipeline_.log.WaitUntilOneIsHeld();
  lane_->Close();
  pipeline_.log.Release();
  EXPECT_TRUE(lane_->AwaitEnd().ok());
  EXPECT_TRUE(lane_->Await(held).has_payload());
}

/// A stream that is no lane's, and stays open as long as its client or the drain lets it. Without
/// one, a server that drains closes the connection after its last lane; gRPC's client of C++, which
/// may be writing just then, takes that for the lane's end and does not read what was sent before.
RawStream StreamOfAnother(const std::shared_ptr<grpc::Channel>& channel) {
  return {channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"};
}

TEST_P(LaneService, DrainsWithOkAfterItsCallsWereAnsweredAndBeginsNoOther) {
  RawStream another = StreamOfAnother(channel_);
  pipeline_.log.Hold();
  const uint64_t held = lane_->Send(kIssue, CallOf(IssuePayload(1)));
  pipeline_.log.WaitUntilOneIsHeld();
  std::thread drain([&] { server_->Drain(absl::Seconds(20)); });
  ASSERT_TRUE(Eventually([&] {  // until the drain has come to the lane
    return CodeOfCall(kGetProduct, ProductPayload(77)) != grpc::StatusCode::NOT_FOUND;
  }));
  pipeline_.log.Release();
  EXPECT_TRUE(lane_->Await(held).has_payload());
  EXPECT_TRUE(lane_->AwaitEnd().ok()) << lane_->AwaitEnd().error_message();
  drain.join();
}

TEST_P(LaneService, DrainsEachLaneOnceItsOwnCallsWereAnswered) {
  LaneClient idle(channel_);
  product::v1::GetProductRequest request;
  request.set_product_id(77);
  product::v1::GetProductResponse response;
  EXPECT_EQ(idle.Call(kGetProduct, request, response).error_code(), grpc::StatusCode::NOT_FOUND);
  pipeline_.log.Hold();
  lane_->Send(kIssue, CallOf(IssuePayload(1)));
  pipeline_.log.WaitUntilOneIsHeld();
  std::thread drain([&] { server_->Drain(absl::Seconds(20)); });
  EXPECT_TRUE(idle.AwaitEnd().ok()) << "while the other lane has a call under way";
  pipeline_.log.Release();
  drain.join();
}

TEST_P(LaneService, DrainsSoonWhenOnlyAStreamThatIsNoLanesIsLeft) {
  RawStream another = StreamOfAnother(channel_);
  EXPECT_EQ(CodeOfCall(kGetProduct, ProductPayload(77)), grpc::StatusCode::NOT_FOUND);
  const absl::Time begun = absl::Now();
  server_->Drain(absl::Seconds(20));
  EXPECT_LT(absl::Now() - begun, absl::Seconds(10));
  EXPECT_TRUE(lane_->AwaitEnd().ok()) << lane_->AwaitEnd().error_message();
  EXPECT_FALSE(another.Finish().ok());
}

TEST_P(LaneService, ForgetsTheCallsOfAClientThatIsGone) {
  pipeline_.log.Hold();
  lane_->Send(kIssue, CallOf(IssuePayload(1)));
  pipeline_.log.WaitUntilOneIsHeld();
  lane_.reset();
  pipeline_.log.Release();
  EXPECT_TRUE(Eventually([&] { return server_->calls_in_flight() == 0; }));
  lane_.emplace(channel_);
  EXPECT_EQ(CodeOfCall(kGetProduct, ProductPayload(77)), grpc::StatusCode::NOT_FOUND);
}

class FewLanes : public LaneService {
 protected:
  FewLanes() : LaneService({.lanes = {.lanes_max = 2, .lane_calls_max = 1}}) {}
};

INSTANTIATE_TEST_SUITE_P(, FewLanes, testing::Values(Transport::kLane), NameOf);

TEST_P(FewLanes, RefusesLanesAndCallsBeyondItsBounds) {
  EXPECT_EQ(CodeOfCall(kGetProduct, ProductPayload(77)), grpc::StatusCode::NOT_FOUND);
  {
    LaneClient second(channel_);
    product::v1::GetProductRequest request;
    request.set_product_id(77);
    product::v1::GetProductResponse response;
    EXPECT_EQ(second.Call(kGetProduct, request, response).error_code(),
              grpc::StatusCode::NOT_FOUND);
    LaneClient third(channel_);
    EXPECT_EQ(third.AwaitEnd().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
  pipeline_.log.Hold();
  const uint64_t held = lane_->Send(kIssue, CallOf(IssuePayload(1)));
  pipeline_.log.WaitUntilOneIsHeld();
  const lane::v1::Answer refused = lane_->Await(lane_->Send(kIssue, CallOf(IssuePayload(2))));
  EXPECT_EQ(refused.status().code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(refused.status().details_size(), 1) << "a refusal of ours, not a broken connection";
  pipeline_.log.Release();
  EXPECT_TRUE(lane_->Await(held).has_payload());
}

}  // namespace
}  // namespace ecom::tests
