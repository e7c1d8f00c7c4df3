#include "adapters/embedded/view_totals.h"

#include "base/status_macros.h"

namespace ecom::adapters::embedded {

using product::ProductId;
using product::ViewBatch;
using product::ViewDelta;
using product::ViewTotal;

absl::Status RaiseViews(Database& database, std::span<const ViewTotal> totals) {
  return database.Write([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement update, connection.Prepare("UPDATE products SET view_count = ? "
                                                          "WHERE id = ? AND view_count < ?"));
    for (const ViewTotal& total : totals) {
      RETURN_IF_ERROR(update.Bind(total.views, total.id.value, total.views).Run());
      update.Reset();
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<std::optional<int64_t>>> EmbeddedViewTotals::Add(
    const ViewBatch& batch) {
  std::lock_guard lock(adding_mutex_);
  int64_t& added = added_[batch.server];
  const bool is_new = batch.sequence > added;
  std::vector<std::optional<int64_t>> totals;
  RETURN_IF_ERROR(database_.Write([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement update,
                     connection.Prepare("UPDATE products SET view_count = view_count + "
                                        "MIN(?, 9223372036854775807 - view_count) WHERE id = ? "
                                        "RETURNING view_count"));
    for (const ViewDelta& delta : batch.deltas) {
      const int64_t views = is_new ? delta.views : 0;
      ASSIGN_OR_RETURN(const bool found, update.Bind(views, delta.id.value).Step());
      totals.emplace_back(found ? update.Int(0) : 0);
      update.Reset();
    }
    return absl::OkStatus();
  }));
  if (is_new) added = batch.sequence;
  return totals;
}

absl::StatusOr<std::vector<std::optional<int64_t>>> EmbeddedViewTotals::Find(
    std::span<const ProductId> ids) {
  std::vector<std::optional<int64_t>> totals(ids.size());
  RETURN_IF_ERROR(database_.Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement select,
                     connection.Prepare("SELECT view_count FROM products WHERE id = ?"));
    for (size_t i = 0; i < ids.size(); ++i) {
      ASSIGN_OR_RETURN(const bool found, select.Bind(ids[i].value).Step());
      if (found) totals[i] = select.Int(0);
      select.Reset();
    }
    return absl::OkStatus();
  }));
  return totals;
}

absl::Status EmbeddedViewTotals::Seed(std::span<const ViewTotal> totals) {
  return RaiseViews(database_, totals);
}

}  // namespace ecom::adapters::embedded
