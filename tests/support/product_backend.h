#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "adapters/embedded/database.h"
#include "adapters/embedded/product_store.h"
#include "adapters/embedded/sample_loader.h"
#include "base/clock.h"
#include "product/product.h"
#include "product/store.h"
#include "support/temporary_folder.h"

namespace ecom::tests {

/// A product store of one kind of backend. The contract suite runs against each kind.
class ProductBackend {
 public:
  virtual ~ProductBackend() = default;

  virtual product::ProductStore& store() = 0;
  /// Puts products into the store that have new ids, as a person would by SQL.
  virtual void PutProducts(const std::vector<product::Product>& products) = 0;
};

/// What MakeProductBackend understands: a new kind of adapter is one more name.
inline const char* const kProductBackends[] = {"embedded_file", "embedded_memory"};

/// The embedded adapter on a file, or on ":memory:".
class EmbeddedProductBackend final : public ProductBackend {
 public:
  explicit EmbeddedProductBackend(bool in_memory)
      : database_(*adapters::embedded::Database::Create(
            {.path = in_memory ? ":memory:" : folder_.path() + "/ecom.db"})),
        store_(*database_, clock_) {}

  product::ProductStore& store() override { return store_; }
  adapters::embedded::Database& database() { return *database_; }

  void PutProducts(const std::vector<product::Product>& products) override {
    if (!adapters::embedded::LoadSampleData(*database_, {}, products).ok()) std::abort();
  }

 private:
  TemporaryFolder folder_;
  const base::SystemClock clock_;
  std::unique_ptr<adapters::embedded::Database> database_;
  adapters::embedded::EmbeddedProductStore store_;
};

inline std::unique_ptr<ProductBackend> MakeProductBackend(const std::string& name) {
  return std::make_unique<EmbeddedProductBackend>(name == "embedded_memory");
}

inline product::Product MakeProduct(int64_t id) {
  const absl::Time created = absl::FromUnixSeconds(1766653343);
  return {.id = {id},
          .category = {1 + (id - 1) % 5},
          .name = "상품_" + std::to_string(id),
          .price_minor = 1'000'000 + 10'000 * id,
          .stock_quantity = 1000,
          .is_active = true,
          .view_count = 0,
          .created_at = created,
          .updated_at = created};
}

inline std::vector<product::Product> MakeProducts(int64_t count) {
  std::vector<product::Product> products;
  for (int64_t id = 1; id <= count; ++id) products.push_back(MakeProduct(id));
  return products;
}

}  // namespace ecom::tests
