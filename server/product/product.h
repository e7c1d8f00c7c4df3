#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/strong_id.h"

/// The product's story: the words that catalog, caches and stores share.
namespace ecom::product {

using ProductId = base::StrongId<struct ProductTag>;
using CategoryId = base::StrongId<struct CategoryTag>;

/// A product as its store holds it.
struct Product {
  ProductId id;
  CategoryId category;
  std::string name;
  /// Hundredths of a won, 0 to 999999999999 (the store's DECIMAL(12,2)).
  int64_t price_minor = 0;
  int64_t stock_quantity = 0;
  bool is_active = false;
  /// Views that the store had counted when it was read.
  int64_t view_count = 0;
  absl::Time created_at;
  absl::Time updated_at;
  /// Grows with each change that is made through ProductStore::UpdateProduct.
  int64_t version = 0;
};

enum class Sort {
  kPrice,   ///< cheapest first
  kViews,   ///< most viewed first
  kNewest,  ///< newest first
};

/// Where a page of a list begins: behind this product, in the list's order.
struct PageStart {
  /// price_minor, view_count, or created_at in microseconds since 1970 UTC.
  int64_t sort_key = 0;
  ProductId id;
};

/// One page of a list. Ties are ordered by ascending id.
struct ListQuery {
  std::optional<CategoryId> category;
  std::optional<bool> is_active;
  Sort sort = Sort::kNewest;
  int limit = 20;
  std::optional<PageStart> after;
};

/// The highest price that a store holds (DECIMAL(12,2)).
inline constexpr int64_t kPriceMinorMax = 999'999'999'999;

/// What is to be changed of a product; the rest stays.
struct ProductPatch {
  std::optional<int64_t> price_minor;
  std::optional<int64_t> stock_quantity;
  std::optional<bool> is_active;
};

/// INVALID_ARGUMENT: a value that a store does not hold.
absl::Status Check(const ProductPatch& patch);

/// Changes what `patch` names.
void Apply(const ProductPatch& patch, Product& product);

/// A product that was changed, and the version that it has since.
struct ProductVersion {
  ProductId id;
  int64_t version = 0;
};

/// Views of one product that were counted since the last flush.
struct ViewDelta {
  ProductId id;
  int64_t views = 0;
};

/// All views of one product.
struct ViewTotal {
  ProductId id;
  int64_t views = 0;
};

}  // namespace ecom::product
