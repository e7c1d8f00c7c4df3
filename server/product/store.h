#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "product/product.h"

namespace ecom::product {

/// Holds the products. Thread-safe; every call blocks for its I/O.
class ProductStore {
 public:
  virtual ~ProductStore() = default;

  /// Reads products by id, in order; nullopt where there is none. One query.
  ///
  /// Returns UNAVAILABLE when the store cannot be asked.
  virtual absl::StatusOr<std::vector<std::optional<Product>>> FindProducts(
      std::span<const ProductId> ids) = 0;

  /// Reads one page of a list. One query. Returns UNAVAILABLE.
  virtual absl::StatusOr<std::vector<Product>> ListProducts(const ListQuery& query) = 0;

  /// Changes a product, with a new version and `updated_at`. Returns it as it is now. One
  /// transaction, durable when it returns.
  ///
  /// NOT_FOUND: there is no such product. INVALID_ARGUMENT: a value that its column does not hold;
  /// nothing was changed. UNAVAILABLE: it is not known whether it was; the same again does no harm.
  virtual absl::StatusOr<Product> UpdateProduct(ProductId id, const ProductPatch& patch) = 0;

  /// Raises each product's views to the total, in a transaction or a few, without touching
  /// `updated_at`; what is higher already stays. A product that is gone is passed over. Idempotent.
  /// UNAVAILABLE: it is not known whether they were raised; the same again does no harm.
  virtual absl::Status RaiseViews(std::span<const ViewTotal> totals) = 0;
};

}  // namespace ecom::product
