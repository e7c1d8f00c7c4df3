#pragma once

#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "product/product.h"

namespace ecom::product {

/// The second level: products that all servers share, in front of the store. May forget anything at
/// any time, but never takes an older version for a newer one. Thread-safe; every call blocks for
/// one round trip, at most as long as the adapter's timeout.
class ProductCache {
 public:
  virtual ~ProductCache() = default;

  /// Reads products by id, in order; nullopt where it has none. UNAVAILABLE: it cannot be asked.
  virtual absl::StatusOr<std::vector<std::optional<Product>>> Find(
      std::span<const ProductId> ids) = 0;

  /// Keeps products as they were read from the store; of each it passes over an older version than
  /// it has, or than was dropped. UNAVAILABLE: it is not known which ones it keeps.
  virtual absl::Status Put(std::span<const Product> products) = 0;

  /// Drops every version below `change.version`, takes none of them any more, and tells all
  /// servers (ProductChanges). Idempotent. UNAVAILABLE: it is not known whether it did; say it
  /// again.
  virtual absl::Status Drop(const ProductVersion& change) = 0;

  /// Forgets products that are not in the store any more; keeps nothing out. UNAVAILABLE: it is not
  /// known which ones it forgot.
  virtual absl::Status Forget(std::span<const ProductId> ids) = 0;
};

}  // namespace ecom::product
