#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/sync_stream.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "support/rpc_fixture.h"

namespace ecom::tests {
namespace {

constexpr const char* kCheck = "/grpc.health.v1.Health/Check";
constexpr const char* kWatch = "/grpc.health.v1.Health/Watch";
constexpr int kServing = 1;
constexpr int kNotServing = 2;
constexpr int kServiceUnknown = 3;
/// What a stream that has ended shows.
constexpr int kEnd = -1;

// Their bytes are those of HealthCheckRequest and HealthCheckResponse.
using google::protobuf::Int32Value;
using google::protobuf::StringValue;

StringValue Named(const std::string& service) {
  StringValue request;
  request.set_value(service);
  return request;
}

/// One call of Watch.
class Watcher {
 public:
  Watcher(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    reader_.reset(grpc::internal::ClientReaderFactory<Int32Value>::Create(
        channel.get(),
        grpc::internal::RpcMethod(kWatch, grpc::internal::RpcMethod::SERVER_STREAMING), &context_,
        Named(service)));
  }
  ~Watcher() {
    context_.TryCancel();
    if (!ended_) End();
  }

  int Next() {
    Int32Value status;
    return reader_->Read(&status) ? status.value() : kEnd;
  }
  grpc::StatusCode End() {
    ended_ = true;
    return reader_->Finish().error_code();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<Int32Value>> reader_;
  bool ended_ = false;
};

class HealthService : public RpcFixture {
 protected:
  static rpc::Server::Options FewWatches() {
    rpc::Server::Options options;
    options.health = {.checks_posted = 2, .watches_max = 2};
    return options;
  }
  HealthService() : RpcFixture(FewWatches()) {}

  int Check(const std::string& service) {
    Int32Value status;
    const grpc::Status result = Call(kCheck, Named(service), status, absl::Seconds(20));
    return result.ok() ? status.value() : -result.error_code();
  }
};

INSTANTIATE_TEST_SUITE_P(, HealthService, testing::Values(Transport::kUnary), NameOf);

TEST_P(HealthService, KnowsTheServerAndItsServices) {
  for (const bool serving : {true, false, true}) {
    server_->SetServing(serving);
    for (const std::string service :
         {"", "ecom.coupon.v1.CouponService", "ecom.product.v1.ProductService"}) {
      EXPECT_EQ(Check(service), serving ? kServing : kNotServing) << service;
    }
    EXPECT_EQ(Check("ecom.lane.v1.LaneService"), -grpc::StatusCode::NOT_FOUND);
  }
}

TEST_P(HealthService, AnswersMoreChecksAtOnceThanItKeepsPosted) {
  std::vector<std::thread> callers;
  for (int i = 0; i < 16; ++i) {
    callers.emplace_back([this] {
      for (int j = 0; j < 50; ++j) EXPECT_EQ(Check(""), kServing);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST_P(HealthService, TellsThoseWhoWatchOfEachChange) {
  Watcher server(channel_, "");
  Watcher service(channel_, "ecom.product.v1.ProductService");
  for (const bool serving : {true, false, true}) {
    server_->SetServing(serving);
    EXPECT_EQ(server.Next(), serving ? kServing : kNotServing);
    EXPECT_EQ(service.Next(), serving ? kServing : kNotServing);
    server_->SetServing(serving);  // no change: nothing to tell
  }
}

TEST_P(HealthService, LetsAWatchOfAnUnknownServiceWait) {
  Watcher watcher(channel_, "ecom.cart.v1.CartService");
  EXPECT_EQ(watcher.Next(), kServiceUnknown);
  server_->SetServing(false);
  server_->Drain(absl::Seconds(20));
  EXPECT_EQ(watcher.Next(), kEnd) << "it has no state to be told of";
}

TEST_P(HealthService, RefusesMoreWatchesThanTheBoundAndForgetsThoseWhoLeft) {
  Watcher stays(channel_, "");
  EXPECT_EQ(stays.Next(), kServing);
  for (int i = 0; i < 5; ++i) {
    std::unique_ptr<Watcher> second;
    const absl::Time give_up = absl::Now() + absl::Seconds(20);
    int first = kEnd;  // the one before is seen to leave a little later
    while (first == kEnd && absl::Now() < give_up) {
      second = std::make_unique<Watcher>(channel_, "");
      first = second->Next();
    }
    EXPECT_EQ(first, kServing);
    Watcher third(channel_, "");
    EXPECT_EQ(third.Next(), kEnd);
    EXPECT_EQ(third.End(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
}

TEST_P(HealthService, EndsWatchesWhenItDrainsOnceTheyKnow) {
  Watcher watcher(channel_, "");
  EXPECT_EQ(watcher.Next(), kServing);
  server_->Drain(absl::Seconds(20));
  EXPECT_EQ(watcher.Next(), kNotServing);
  EXPECT_EQ(watcher.Next(), kEnd);
  EXPECT_EQ(watcher.End(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace ecom::tests
