#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "coupon/issuer.h"
#include "ecom/coupon/v1/coupon_service.grpc.pb.h"
#include "rpc/service.h"
#include "rpc/unary_call.h"

namespace ecom::rpc {

/// ecom.coupon.v1.CouponService: decodes, hands over to the issuer, encodes.
class CouponService final : public Service {
 public:
  /// All must outlive the service.
  CouponService(coupon::Issuer& issuer, const base::Clock& clock, InFlight& in_flight);

  grpc::Service& service() override { return service_; }
  void Start(grpc::ServerCompletionQueue& queue, int posted) override;

 private:
  using Issue = UnaryMethod<coupon::v1::IssueCouponRequest, coupon::v1::IssueCouponResponse>;
  using Find = UnaryMethod<coupon::v1::GetCouponIssueRequest, coupon::v1::GetCouponIssueResponse>;

  void HandleIssue(Issue::Call& call);
  void HandleFind(Find::Call& call);

  coupon::Issuer& issuer_;
  const base::Clock& clock_;
  InFlight& in_flight_;
  coupon::v1::CouponService::AsyncService service_;
  std::vector<std::unique_ptr<Issue>> issues_;
  std::vector<std::unique_ptr<Find>> finds_;
};

}  // namespace ecom::rpc
