#pragma once

#include <optional>
#include <span>
#include <vector>

#include "adapters/embedded/database.h"
#include "base/clock.h"
#include "product/store.h"

namespace ecom::adapters::embedded {

/// Products in the data file.
class EmbeddedProductStore final : public product::ProductStore {
 public:
  /// `database` and `clock` must outlive the store.
  EmbeddedProductStore(Database& database, const base::Clock& clock)
      : database_(database), clock_(clock) {}

  absl::StatusOr<std::vector<std::optional<product::Product>>> FindProducts(
      std::span<const product::ProductId> ids) override;
  absl::StatusOr<std::vector<product::Product>> ListProducts(
      const product::ListQuery& query) override;
  absl::StatusOr<product::Product> UpdateProduct(product::ProductId id,
                                                 const product::ProductPatch& patch) override;
  absl::Status RaiseViews(std::span<const product::ViewTotal> totals) override;

  /// Every statement that ListProducts may run, so that a test can look at their plans.
  static std::vector<const char*> ListStatements();

 private:
  Database& database_;
  const base::Clock& clock_;
};

}  // namespace ecom::adapters::embedded
