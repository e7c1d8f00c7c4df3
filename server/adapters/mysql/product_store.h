#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "adapters/mysql/connection_pool.h"
#include "base/clock.h"
#include "product/store.h"

namespace ecom::adapters::mysql {

/// Products in the database.
class MysqlProductStore final : public product::ProductStore {
 public:
  /// `pool` and `clock` must outlive the store.
  MysqlProductStore(ConnectionPool& pool, const base::Clock& clock) : pool_(pool), clock_(clock) {}

  absl::StatusOr<std::vector<std::optional<product::Product>>> FindProducts(
      std::span<const product::ProductId> ids) override;
  absl::StatusOr<std::vector<product::Product>> ListProducts(
      const product::ListQuery& query) override;
  absl::StatusOr<product::Product> UpdateProduct(product::ProductId id,
                                                 const product::ProductPatch& patch) override;
  absl::Status RaiseViews(std::span<const product::ViewTotal> totals) override;

  /// The statement that ListProducts runs for `query`, so that a test can look at its plan.
  static std::string ListStatement(const product::ListQuery& query);

 private:
  ConnectionPool& pool_;
  const base::Clock& clock_;
};

}  // namespace ecom::adapters::mysql
