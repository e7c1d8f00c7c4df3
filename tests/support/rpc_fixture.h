#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "adapters/embedded/product_store.h"
#include "adapters/embedded/sample_loader.h"
#include "adapters/embedded/view_totals.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "product/catalog.h"
#include "rpc/server.h"
#include "support/coupon_pipeline.h"

namespace ecom::tests {

/// A real gRPC server in this process over the embedded adapters, and a channel to it.
class RpcFixture : public testing::Test {
 protected:
  explicit RpcFixture(rpc::Server::Options options = {}) {
    options.address = "127.0.0.1:0";
    server_ = *rpc::Server::Create(
        options,
        {.issuer = pipeline_.issuer, .catalog = catalog_, .clock = pipeline_.backend.clock()});
    server_->SetServing(true);
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                   grpc::InsecureChannelCredentials());
  }

  ~RpcFixture() override {
    pipeline_.log.Release();
    server_->Drain(absl::Seconds(5));
    pipeline_.issuer.Stop();
    pipeline_.writer.Stop();
    catalog_.Stop();
    server_->Close();
  }

  /// The REST contract's code that an error carries, such as "CP101"; checks the rest of it.
  static std::string CodeOf(const grpc::Status& status, const std::string& reason) {
    google::rpc::Status details;
    EXPECT_TRUE(details.ParseFromString(status.error_details()));
    EXPECT_EQ(details.code(), status.error_code());
    EXPECT_EQ(details.message(), status.error_message());
    google::rpc::ErrorInfo info;
    if (details.details_size() != 1 || !details.details(0).UnpackTo(&info)) return "no ErrorInfo";
    EXPECT_EQ(info.domain(), "ecom");
    EXPECT_EQ(info.reason(), reason);
    return info.metadata().at("code");
  }

  CouponPipeline pipeline_;
  adapters::embedded::EmbeddedProductStore products_{pipeline_.backend.database(),
                                                     pipeline_.backend.clock()};
  adapters::embedded::EmbeddedViewTotals views_{pipeline_.backend.database()};
  product::Catalog catalog_{
      {}, {.store = products_, .totals = views_, .clock = pipeline_.backend.clock()}};
  std::unique_ptr<rpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace ecom::tests
