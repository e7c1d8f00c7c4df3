#pragma once

#include <memory>
#include <vector>

#include "ecom/product/v1/product_service.grpc.pb.h"
#include "product/catalog.h"
#include "rpc/service.h"
#include "rpc/unary_call.h"

namespace ecom::rpc {

/// ecom.product.v1.ProductService: decodes, hands over to the catalog, encodes.
class ProductService final : public Service {
 public:
  /// All must outlive the service.
  ProductService(product::Catalog& catalog, InFlight& in_flight)
      : catalog_(catalog), in_flight_(in_flight) {}

  grpc::Service& service() override { return service_; }
  void Start(grpc::ServerCompletionQueue& queue, int posted) override;

 private:
  using Get = UnaryMethod<product::v1::GetProductRequest, product::v1::GetProductResponse>;
  using List = UnaryMethod<product::v1::ListProductsRequest, product::v1::ListProductsResponse>;
  using Popular = UnaryMethod<product::v1::ListPopularProductsRequest,
                              product::v1::ListPopularProductsResponse>;

  void HandleGet(Get::Call& call);
  void HandleList(List::Call& call);
  void HandlePopular(Popular::Call& call);

  product::Catalog& catalog_;
  InFlight& in_flight_;
  product::v1::ProductService::AsyncService service_;
  std::vector<std::unique_ptr<Get>> gets_;
  std::vector<std::unique_ptr<List>> lists_;
  std::vector<std::unique_ptr<Popular>> populars_;
};

}  // namespace ecom::rpc
