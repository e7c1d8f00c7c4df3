#pragma once

#include <memory>
#include <vector>

#include "ecom/product/v1/product_service.grpc.pb.h"
#include "product/catalog.h"
#include "rpc/call.h"
#include "rpc/service.h"

namespace ecom::rpc {

/// ecom.product.v1.ProductService: decodes, hands over to the catalog, encodes.
class ProductService final : public Service {
 public:
  /// All must outlive the service.
  ProductService(product::Catalog& catalog, InFlight& in_flight);

  grpc::Service& service() override { return service_; }
  const std::vector<std::unique_ptr<Method>>& methods() const override { return methods_; }

 private:
  using Get = Call<product::v1::GetProductRequest, product::v1::GetProductResponse>;
  using List = Call<product::v1::ListProductsRequest, product::v1::ListProductsResponse>;
  using Popular =
      Call<product::v1::ListPopularProductsRequest, product::v1::ListPopularProductsResponse>;

  void HandleGet(Get& call);
  void HandleList(List& call);
  void HandlePopular(Popular& call);

  product::Catalog& catalog_;
  product::v1::ProductService::AsyncService service_;
  std::vector<std::unique_ptr<Method>> methods_;
};

}  // namespace ecom::rpc
