#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/client_unary_call.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "adapters/embedded/product_store.h"
#include "adapters/embedded/sample_loader.h"
#include "adapters/embedded/view_totals.h"
#include "base/call_stats.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "product/catalog.h"
#include "rpc/server.h"
#include "support/coupon_pipeline.h"
#include "support/lane_client.h"

namespace ecom::tests {

/// How calls come to the server. What they mean does not depend on it.
enum class Transport { kUnary, kLane };

inline std::string NameOf(const testing::TestParamInfo<Transport>& transport) {
  return transport.param == Transport::kUnary ? "Unary" : "Lane";
}

/// A real gRPC server in this process over the embedded adapters, and a channel to it.
class RpcFixture : public testing::TestWithParam<Transport> {
 protected:
  explicit RpcFixture(rpc::Server::Options options = {}) {
    options.address = "127.0.0.1:0";
    server_ = *rpc::Server::Create(
        options,
        {.issuer = pipeline_.issuer, .catalog = catalog_, .clock = pipeline_.backend.clock()});
    server_->SetServing(true);
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                   grpc::InsecureChannelCredentials());
    if (GetParam() == Transport::kLane) lane_.emplace(channel_);
  }

  ~RpcFixture() override {
    pipeline_.log.Release();
    server_->Drain(absl::Seconds(5));
    pipeline_.issuer.Stop();
    pipeline_.writer.Stop();
    catalog_.Stop();
    server_->Close();
  }

  /// Calls a method, such as "/ecom.product.v1.ProductService/GetProduct", as the test's parameter
  /// says. No timeout: none.
  template <typename Request, typename Response>
  grpc::Status Call(const char* method, const Request& request, Response& response,
                    absl::Duration timeout = absl::ZeroDuration()) {
    response.Clear();
    if (lane_) return lane_->Call(method, request, response, timeout, request_id_);
    grpc::ClientContext context;
    if (!request_id_.empty()) context.AddMetadata("x-request-id", request_id_);
    if (timeout > absl::ZeroDuration()) {
      context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(timeout));
    }
    return grpc::internal::BlockingUnaryCall<Request, Response, google::protobuf::MessageLite,
                                             google::protobuf::MessageLite>(
        channel_.get(), grpc::internal::RpcMethod(method, grpc::internal::RpcMethod::NORMAL_RPC),
        &context, request, &response);
  }

  /// What the server has counted of a method, named as for Call.
  base::CallStats::Snapshot CallsOf(std::string_view path) const {
    for (const rpc::Server::MethodCalls& calls : server_->calls()) {
      if (absl::StrCat("/", calls.service, "/", calls.method) == path) return calls.calls;
    }
    ADD_FAILURE() << "nothing is counted of " << path;
    return {};
  }

  /// The REST contract's code that an error carries, such as "CP101"; checks the rest of it.
  static std::string CodeOf(const grpc::Status& status, const std::string& reason) {
    const google::rpc::ErrorInfo info = InfoOf(status);
    if (!info.metadata().contains("code")) return "no code";
    EXPECT_EQ(info.domain(), "ecom");
    EXPECT_EQ(info.reason(), reason);
    return info.metadata().at("code");
  }

  /// What an error carries; empty: nothing.
  static google::rpc::ErrorInfo InfoOf(const grpc::Status& status) {
    google::rpc::Status details;
    EXPECT_TRUE(details.ParseFromString(status.error_details()));
    EXPECT_EQ(details.code(), status.error_code());
    EXPECT_EQ(details.message(), status.error_message());
    google::rpc::ErrorInfo info;
    EXPECT_TRUE(details.details_size() == 1 && details.details(0).UnpackTo(&info));
    return info;
  }

  std::string request_id_;  // of the calls to come; empty: none
  CouponPipeline pipeline_;
  adapters::embedded::EmbeddedProductStore products_{pipeline_.backend.database(),
                                                     pipeline_.backend.clock()};
  adapters::embedded::EmbeddedViewTotals views_{pipeline_.backend.database()};
  product::Catalog catalog_{
      {}, {.store = products_, .totals = views_, .clock = pipeline_.backend.clock()}};
  std::unique_ptr<rpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::optional<LaneClient> lane_;  // for Transport::kLane
};

}  // namespace ecom::tests
