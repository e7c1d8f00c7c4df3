#include "product/product.h"

namespace ecom::product {

absl::Status Check(const ProductPatch& patch) {
  if (patch.price_minor && (*patch.price_minor < 0 || *patch.price_minor > kPriceMinorMax)) {
    return absl::InvalidArgumentError("a price is 0 to 9999999999.99");
  }
  if (patch.stock_quantity && *patch.stock_quantity < 0) {
    return absl::InvalidArgumentError("a stock is 0 or more");
  }
  return absl::OkStatus();
}

void Apply(const ProductPatch& patch, Product& product) {
  if (patch.price_minor) product.price_minor = *patch.price_minor;
  if (patch.stock_quantity) product.stock_quantity = *patch.stock_quantity;
  if (patch.is_active) product.is_active = *patch.is_active;
}

}  // namespace ecom::product
