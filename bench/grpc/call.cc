#include "grpc/call.h"

#include <absl/strings/str_cat.h>
#include <grpcpp/support/slice.h>

#include <random>
#include <utility>

#include "ecom/coupon/v1/coupon_service.pb.h"
#include "ecom/product/v1/product_service.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace ecom::bench {
namespace {

using coupon::v1::COUPON_ISSUE_STATUS_QUEUED;
using coupon::v1::IssueCouponRequest;
using coupon::v1::IssueCouponResponse;
using product::v1::GetProductRequest;
using product::v1::GetProductResponse;
using product::v1::ListPopularProductsRequest;
using product::v1::ListPopularProductsResponse;

constexpr size_t kUuidLength = 36;

grpc::ByteBuffer Serialize(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

bool Parse(const grpc::ByteBuffer& buffer, google::protobuf::Message& message) {
  grpc::Slice slice;
  return buffer.DumpToSingleSlice(&slice).ok() &&
         message.ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
}

// The contract's code of a failed call, or its gRPC code.
std::string ErrorCode(const grpc::Status& status) {
  google::rpc::Status rich;
  if (rich.ParseFromString(status.error_details())) {
    for (const auto& detail : rich.details()) {
      google::rpc::ErrorInfo info;
      if (!detail.UnpackTo(&info)) continue;
      if (const auto code = info.metadata().find("code"); code != info.metadata().end()) {
        return code->second;
      }
    }
  }
  return absl::StrCat("GRPC", static_cast<int>(status.error_code()));
}

Verdict Accepted() { return {Outcome::kAccepted, "OK"}; }
Verdict WrongAnswer() { return {Outcome::kError, "WRONG_ANSWER"}; }

class IssueCoupon final : public CallKind {
 public:
  explicit IssueCoupon(const CallOptions& options)
      : next_user_(options.first_user), stride_(options.user_stride) {
    request_.set_coupon_id(options.coupon_id);
  }

  std::string Method() const override { return "/ecom.coupon.v1.CouponService/IssueCoupon"; }

  grpc::ByteBuffer NextRequest() override {
    request_.set_user_id(next_user_);
    next_user_ += stride_;
    return Serialize(request_);
  }

  Verdict Judge(const grpc::Status& status, const grpc::ByteBuffer& answer) override {
    if (!status.ok()) {
      std::string code = ErrorCode(status);
      if (code == "CP101") return {Outcome::kSoldOut, std::move(code)};
      if (code == "CP102") return {Outcome::kDuplicate, std::move(code)};
      return {Outcome::kError, std::move(code)};
    }
    IssueCouponResponse response;
    const bool promised = Parse(answer, response) && response.user_id() == request_.user_id() &&
                          response.coupon_id() == request_.coupon_id() &&
                          response.request_id().size() == kUuidLength &&
                          response.status() == COUPON_ISSUE_STATUS_QUEUED;
    return promised ? Accepted() : WrongAnswer();
  }

 private:
  IssueCouponRequest request_;
  int64_t next_user_;
  int64_t stride_;
};

// 80 % of the reads go to 20 of the 100 sample products.
class GetProduct final : public CallKind {
 public:
  explicit GetProduct(const CallOptions& options) : random_(options.seed) {}

  std::string Method() const override { return "/ecom.product.v1.ProductService/GetProduct"; }

  grpc::ByteBuffer NextRequest() override {
    request_.set_product_id(is_popular_(random_) ? popular_(random_) : other_(random_));
    return Serialize(request_);
  }

  Verdict Judge(const grpc::Status& status, const grpc::ByteBuffer& answer) override {
    if (!status.ok()) return {Outcome::kError, ErrorCode(status)};
    GetProductResponse response;
    const bool right = Parse(answer, response) &&
                       response.product().id() == request_.product_id() &&
                       !response.product().name().empty();
    return right ? Accepted() : WrongAnswer();
  }

 private:
  GetProductRequest request_;
  std::mt19937_64 random_;
  std::bernoulli_distribution is_popular_{0.8};
  std::uniform_int_distribution<int64_t> popular_{1, 20};
  std::uniform_int_distribution<int64_t> other_{21, 100};
};

// The most viewed products, a page of the size that is given when none is asked for.
class ListPopular final : public CallKind {
 public:
  std::string Method() const override {
    return "/ecom.product.v1.ProductService/ListPopularProducts";
  }

  grpc::ByteBuffer NextRequest() override { return Serialize(ListPopularProductsRequest()); }

  Verdict Judge(const grpc::Status& status, const grpc::ByteBuffer& answer) override {
    if (!status.ok()) return {Outcome::kError, ErrorCode(status)};
    ListPopularProductsResponse response;
    if (!Parse(answer, response) || response.products_size() != kPageSize) return WrongAnswer();
    for (int i = 0; i < kPageSize; ++i) {
      const product::v1::Product& product = response.products(i);
      if (product.id() < 1 || product.name().empty()) return WrongAnswer();
      if (i > 0 && product.view_count() > response.products(i - 1).view_count()) {
        return WrongAnswer();
      }
    }
    return Accepted();
  }

 private:
  static constexpr int kPageSize = 20;
};

// A call in which the server does next to nothing: what gRPC itself costs, the control of the
// others.
class Health final : public CallKind {
 public:
  std::string Method() const override { return "/grpc.health.v1.Health/Check"; }

  // A HealthCheckRequest without a service name is no bytes.
  grpc::ByteBuffer NextRequest() override {
    const grpc::Slice empty;
    return grpc::ByteBuffer(&empty, 1);
  }

  Verdict Judge(const grpc::Status& status, const grpc::ByteBuffer& answer) override {
    if (!status.ok()) return {Outcome::kError, ErrorCode(status)};
    // Field 1, an enum, is SERVING (1).
    grpc::Slice slice;
    const bool serving = answer.DumpToSingleSlice(&slice).ok() && slice.size() == 2 &&
                         slice.begin()[0] == 0x08 && slice.begin()[1] == 0x01;
    return serving ? Accepted() : WrongAnswer();
  }
};

}  // namespace

std::unique_ptr<CallKind> MakeCallKind(std::string_view name, const CallOptions& options) {
  if (name == "issue-coupon") return std::make_unique<IssueCoupon>(options);
  if (name == "get-product") return std::make_unique<GetProduct>(options);
  if (name == "list-popular") return std::make_unique<ListPopular>();
  if (name == "health") return std::make_unique<Health>();
  return nullptr;
}

}  // namespace ecom::bench
