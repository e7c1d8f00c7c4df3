#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "ecom/edge/v1/edge.pb.h"
#include "ecom/product/v1/product_service.pb.h"
#include "support/rpc_fixture.h"

namespace ecom::tests {
namespace {

namespace v1 = product::v1;

class ProductService : public RpcFixture {
 protected:
  ProductService() {
    std::vector<product::Product> products;
    for (int64_t id = 1; id <= 30; ++id) {
      products.push_back({.id = {id},
                          .category = {1 + id % 3},
                          .name = absl::StrCat("상품_", id),
                          .price_minor = 1000 * id + 5,
                          .stock_quantity = 7,
                          .is_active = id != 2,
                          .created_at = absl::FromUnixMicros(1500000 * id),
                          .updated_at = absl::FromUnixMicros(1600000 * id)});
    }
    EXPECT_TRUE(
        adapters::embedded::LoadSampleData(pipeline_.backend.database(), {}, products).ok());
  }

  grpc::Status Get(int64_t id) {
    v1::GetProductRequest request;
    request.set_product_id(id);
    return Call("/ecom.product.v1.ProductService/GetProduct", request, product_);
  }

  grpc::Status List(const v1::ListProductsRequest& request) {
    return Call("/ecom.product.v1.ProductService/ListProducts", request, page_);
  }

  grpc::Status CountViews(const std::vector<std::pair<int64_t, int64_t>>& views) {
    edge::v1::CountViewsRequest request;
    for (const auto& [id, count] : views) {
      edge::v1::ProductViews& each = *request.add_products();
      each.set_product_id(id);
      each.set_views(count);
    }
    edge::v1::CountViewsResponse nothing;
    return Call("/ecom.edge.v1.EdgeService/CountViews", request, nothing);
  }

  v1::GetProductResponse product_;
  v1::ListProductsResponse page_;
};

INSTANTIATE_TEST_SUITE_P(, ProductService, testing::Values(Transport::kUnary, Transport::kLane),
                         NameOf);

TEST_P(ProductService, AnswersAProductWholeActiveOrNot) {
  ASSERT_TRUE(Get(2).ok());
  const v1::Product& product = product_.product();
  EXPECT_EQ(product.id(), 2);
  EXPECT_EQ(product.name(), "상품_2");
  EXPECT_EQ(product.price_minor(), 2005);
  EXPECT_EQ(product.stock_quantity(), 7);
  EXPECT_FALSE(product.is_active());
  EXPECT_EQ(product.category_id(), 3);
  EXPECT_EQ(product.created_at().seconds(), 3);
  EXPECT_EQ(product.updated_at().seconds(), 3);
  EXPECT_EQ(product.updated_at().nanos(), 200000000);
}

TEST_P(ProductService, CountsAViewForEachSuccessfulGet) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Get(1).ok());
  ASSERT_TRUE(Get(1).ok());
  EXPECT_GE(product_.product().view_count(), 5);
  EXPECT_LE(product_.product().view_count(), 6);
}

TEST_P(ProductService, CountsTheViewsThatAGatewayHasShown) {
  ASSERT_TRUE(CountViews({{1, 40}, {2, 2}}).ok());
  ASSERT_TRUE(Get(1).ok());
  EXPECT_EQ(product_.product().view_count(), 41);
  ASSERT_TRUE(Get(2).ok());
  EXPECT_EQ(product_.product().view_count(), 3);
}

TEST_P(ProductService, CountsNothingOfViewsThatCannotBe) {
  const std::vector<std::pair<int64_t, int64_t>> wrong = {
      {0, 1}, {-1, 1}, {2, 0}, {2, -7}, {2, product::Catalog::kViewsMax + 1}};
  for (const auto& each : wrong) {
    EXPECT_EQ(CodeOf(CountViews({{1, 40}, each}), "INVALID_REQUEST"), "CM400") << each.second;
  }
  ASSERT_TRUE(Get(1).ok());
  EXPECT_EQ(product_.product().view_count(), 1);
}

TEST_P(ProductService, AnswersEachErrorWithItsStatusAndCode) {
  EXPECT_EQ(CodeOf(Get(31), "PRODUCT_NOT_FOUND"), "PD101");
  EXPECT_EQ(CodeOf(Get(0), "INVALID_REQUEST"), "CM400");
  EXPECT_EQ(CodeOf(Get(-5), "INVALID_REQUEST"), "CM400");
  v1::ListProductsRequest request;
  request.set_page_size(101);
  EXPECT_EQ(CodeOf(List(request), "INVALID_REQUEST"), "CM400");
  request.set_page_size(0);
  EXPECT_EQ(CodeOf(List(request), "INVALID_REQUEST"), "CM400");
  request.set_page_size(10);
  request.set_cursor("absurd");
  EXPECT_EQ(CodeOf(List(request), "INVALID_REQUEST"), "CM400");
  request.clear_cursor();
  request.set_sort(static_cast<v1::ProductSort>(77));
  EXPECT_EQ(CodeOf(List(request), "INVALID_REQUEST"), "CM400");
  request.clear_sort();
  request.set_category_id(0);
  EXPECT_EQ(CodeOf(List(request), "INVALID_REQUEST"), "CM400");
}

TEST_P(ProductService, PagesThroughAListWithoutRepeatingOrSkipping) {
  v1::ListProductsRequest request;
  request.set_sort(v1::PRODUCT_SORT_PRICE);
  request.set_is_active(true);
  request.set_page_size(10);
  std::vector<int64_t> ids;
  int pages = 0;
  do {
    ASSERT_TRUE(List(request).ok());
    for (const v1::Product& product : page_.products()) ids.push_back(product.id());
    request.set_cursor(page_.next_cursor());
    ASSERT_LT(++pages, 10);
  } while (!page_.next_cursor().empty());
  EXPECT_EQ(ids.size(), 29u);
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
}

TEST_P(ProductService, ListsTheNewestFirstByDefaultTwentyAPage) {
  ASSERT_TRUE(List({}).ok());
  EXPECT_EQ(page_.products_size(), 20);
  EXPECT_EQ(page_.products(0).id(), 30);
}

TEST_P(ProductService, ListsThePopularOnesMostViewedFirst) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Get(9).ok());
  ASSERT_TRUE(Get(4).ok());
  v1::ListPopularProductsRequest request;
  request.set_page_size(2);
  v1::ListPopularProductsResponse response;
  ASSERT_TRUE(Eventually([&] {
    pipeline_.backend.clock().Advance(absl::Seconds(2));  // past the copy's age
    if (!Call("/ecom.product.v1.ProductService/ListPopularProducts", request, response).ok())
      return false;
    return response.products_size() == 2 && response.products(0).id() == 9 &&
           response.products(1).id() == 4;
  }));
}

}  // namespace
}  // namespace ecom::tests
