#include "rpc/edge_service.h"

#include <vector>

#include "rpc/encode.h"

namespace ecom::rpc {

EdgeService::EdgeService(product::Catalog& catalog, InFlight& in_flight) : catalog_(catalog) {
  using edge::v1::CountViewsRequest, edge::v1::CountViewsResponse;
  methods_.push_back(std::make_unique<TypedMethod<CountViewsRequest, CountViewsResponse>>(
      "/ecom.edge.v1.EdgeService/CountViews",
      [this](auto* context, auto* request, auto* responder, auto& queue, Event* event) {
        service_.RequestCountViews(context, request, responder, &queue, &queue, event);
      },
      [this](CountViews& call) { HandleCountViews(call); }, in_flight));
}

void EdgeService::HandleCountViews(CountViews& call) {
  std::vector<product::ViewDelta> views;
  views.reserve(static_cast<size_t>(call.request().products_size()));
  for (const edge::v1::ProductViews& each : call.request().products()) {
    views.push_back({.id = {each.product_id()}, .views = each.views()});
  }
  const absl::Status counted = catalog_.CountViews(views);
  if (!counted.ok()) return FinishWithError(call, counted);
  call.Finish();
}

}  // namespace ecom::rpc
