#pragma once

#include <memory>
#include <vector>

#include "ecom/edge/v1/edge.grpc.pb.h"
#include "product/catalog.h"
#include "rpc/call.h"
#include "rpc/service.h"

namespace ecom::rpc {

/// ecom.edge.v1.EdgeService: counts what gateways have shown by themselves.
class EdgeService final : public Service {
 public:
  /// All must outlive the service.
  EdgeService(product::Catalog& catalog, InFlight& in_flight);

  grpc::Service& service() override { return service_; }
  const std::vector<std::unique_ptr<Method>>& methods() const override { return methods_; }

 private:
  using CountViews = Call<edge::v1::CountViewsRequest, edge::v1::CountViewsResponse>;

  void HandleCountViews(CountViews& call);

  product::Catalog& catalog_;
  edge::v1::EdgeService::AsyncService service_;
  std::vector<std::unique_ptr<Method>> methods_;
};

}  // namespace ecom::rpc
