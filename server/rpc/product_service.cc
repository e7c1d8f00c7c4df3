#include "rpc/product_service.h"

#include <optional>
#include <utility>

#include "rpc/encode.h"

namespace ecom::rpc {
namespace {

constexpr int kPageSizeDefault = 20;

void Encode(const product::Product& product, int64_t view_count, product::v1::Product& message) {
  message.set_id(product.id.value);
  message.set_name(product.name);
  message.set_price_minor(product.price_minor);
  message.set_stock_quantity(product.stock_quantity);
  message.set_is_active(product.is_active);
  message.set_view_count(view_count);
  rpc::Encode(product.created_at, *message.mutable_created_at());
  rpc::Encode(product.updated_at, *message.mutable_updated_at());
  message.set_category_id(product.category.value);
}

/// nullopt: an order that this version does not know.
std::optional<product::Sort> ToSort(product::v1::ProductSort sort) {
  switch (sort) {
    case product::v1::PRODUCT_SORT_PRICE: return product::Sort::kPrice;
    case product::v1::PRODUCT_SORT_VIEWS: return product::Sort::kViews;
    case product::v1::PRODUCT_SORT_UNSPECIFIED:
    case product::v1::PRODUCT_SORT_NEWEST: return product::Sort::kNewest;
    default: return std::nullopt;
  }
}

void FinishGet(Call<product::v1::GetProductRequest, product::v1::GetProductResponse>& call,
               const absl::StatusOr<product::ProductView>& view) {
  if (!view.ok()) return FinishWithError(call, view.status());
  Encode(*view->product, view->view_count, *call.response().mutable_product());
  call.Finish();
}

template <typename Request, typename Response>
bool EncodePage(Call<Request, Response>& call, const absl::StatusOr<product::ProductPage>& page) {
  if (!page.ok()) {
    FinishWithError(call, page.status());
    return false;
  }
  for (const product::Product& product : page->products) {
    Encode(product, product.view_count, *call.response().add_products());
  }
  return true;
}

}  // namespace

ProductService::ProductService(product::Catalog& catalog, InFlight& in_flight) : catalog_(catalog) {
  using product::v1::GetProductRequest, product::v1::GetProductResponse;
  using product::v1::ListPopularProductsRequest, product::v1::ListPopularProductsResponse;
  using product::v1::ListProductsRequest, product::v1::ListProductsResponse;
  methods_.push_back(std::make_unique<TypedMethod<GetProductRequest, GetProductResponse>>(
      "/ecom.product.v1.ProductService/GetProduct",
      [this](auto* context, auto* request, auto* responder, auto& queue, Event* event) {
        service_.RequestGetProduct(context, request, responder, &queue, &queue, event);
      },
      [this](Get& call) { HandleGet(call); }, in_flight));
  methods_.push_back(std::make_unique<TypedMethod<ListProductsRequest, ListProductsResponse>>(
      "/ecom.product.v1.ProductService/ListProducts",
      [this](auto* context, auto* request, auto* responder, auto& queue, Event* event) {
        service_.RequestListProducts(context, request, responder, &queue, &queue, event);
      },
      [this](List& call) { HandleList(call); }, in_flight));
  methods_.push_back(
      std::make_unique<TypedMethod<ListPopularProductsRequest, ListPopularProductsResponse>>(
          "/ecom.product.v1.ProductService/ListPopularProducts",
          [this](auto* context, auto* request, auto* responder, auto& queue, Event* event) {
            service_.RequestListPopularProducts(context, request, responder, &queue, &queue, event);
          },
          [this](Popular& call) { HandlePopular(call); }, in_flight));
}

void ProductService::HandleGet(Get& call) {
  const product::ProductId id{call.request().product_id()};
  if (const auto view = catalog_.TryGet(id)) return FinishGet(call, *view);
  catalog_.Get(
      id, [&call](const absl::StatusOr<product::ProductView>& view) { FinishGet(call, view); });
}

void ProductService::HandleList(List& call) {
  const product::v1::ListProductsRequest& request = call.request();
  const std::optional<product::Sort> sort = ToSort(request.sort());
  if (!sort) return call.Finish(Error::kInvalid);
  product::ListRequest list{
      .sort = *sort, .page_size = request.has_page_size() ? request.page_size() : kPageSizeDefault};
  if (request.has_category_id()) list.category = {request.category_id()};
  if (request.has_is_active()) list.is_active = request.is_active();
  if (request.has_cursor()) list.cursor = request.cursor();
  catalog_.List(list, [&call](const absl::StatusOr<product::ProductPage>& page) {
    if (!EncodePage(call, page)) return;
    call.response().set_next_cursor(page->next_cursor);
    call.Finish();
  });
}

void ProductService::HandlePopular(Popular& call) {
  const product::v1::ListPopularProductsRequest& request = call.request();
  const int page_size = request.has_page_size() ? request.page_size() : kPageSizeDefault;
  catalog_.ListPopular(page_size, [&call](const absl::StatusOr<product::ProductPage>& page) {
    if (EncodePage(call, page)) call.Finish();
  });
}

}  // namespace ecom::rpc
