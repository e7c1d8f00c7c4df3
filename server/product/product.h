#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

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

/// Views of one product that were counted since the last flush.
struct ViewDelta {
  ProductId id;
  int64_t views = 0;
};

}  // namespace ecom::product
