#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "adapters/embedded/database.h"
#include "product/views.h"

namespace ecom::adapters::embedded {

/// Raises the views of products, in one transaction; what is higher already stays, and a product
/// that is gone is passed over. For this room's .cc files only.
absl::Status RaiseViews(Database& database, std::span<const product::ViewTotal> totals);

/// Views in the data file: the products' own counts are the totals, so none is ever missing from
/// the store.
///
/// Which batches were added is remembered in this object alone. That is enough: a transaction's
/// outcome is known, or the file has failed and the process ends.
class EmbeddedViewTotals final : public product::ViewTotals {
 public:
  /// `database` must outlive the totals.
  explicit EmbeddedViewTotals(Database& database) : database_(database) {}

  /// As the port says, in one transaction, and without touching `updated_at`. Of a product that is
  /// gone it passes over the views, and answers 0: there is nothing to seed. A total that would be
  /// more than an int64_t stays at its highest value.
  absl::StatusOr<std::vector<std::optional<int64_t>>> Add(const product::ViewBatch& batch) override;
  absl::StatusOr<std::vector<std::optional<int64_t>>> Find(
      std::span<const product::ProductId> ids) override;
  absl::Status Seed(std::span<const product::ViewTotal> totals) override;
  absl::StatusOr<std::vector<product::ViewTotal>> Unstored(int) override {
    return std::vector<product::ViewTotal>{};
  }
  absl::Status NoteStored(std::span<const product::ViewTotal>) override { return absl::OkStatus(); }

 private:
  Database& database_;
  std::mutex adding_mutex_;  // held while a batch is added: no batch twice at once
  absl::flat_hash_map<std::string, int64_t> added_;  // the last sequence of each server
};

}  // namespace ecom::adapters::embedded
