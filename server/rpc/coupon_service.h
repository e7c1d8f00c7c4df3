#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "coupon/issuer.h"
#include "ecom/coupon/v1/coupon_service.grpc.pb.h"
#include "rpc/call.h"
#include "rpc/service.h"

namespace ecom::rpc {

/// ecom.coupon.v1.CouponService: decodes, hands over to the issuer, encodes.
class CouponService final : public Service {
 public:
  /// All must outlive the service.
  CouponService(coupon::Issuer& issuer, const base::Clock& clock, InFlight& in_flight);

  grpc::Service& service() override { return service_; }
  const std::vector<std::unique_ptr<Method>>& methods() const override { return methods_; }

 private:
  using Issue = Call<coupon::v1::IssueCouponRequest, coupon::v1::IssueCouponResponse>;
  using Find = Call<coupon::v1::GetCouponIssueRequest, coupon::v1::GetCouponIssueResponse>;

  void HandleIssue(Issue& call);
  void HandleFind(Find& call);

  coupon::Issuer& issuer_;
  const base::Clock& clock_;
  coupon::v1::CouponService::AsyncService service_;
  std::vector<std::unique_ptr<Method>> methods_;
};

}  // namespace ecom::rpc
