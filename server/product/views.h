#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "product/product.h"

namespace ecom::product {

/// Views that one server has counted; sent until it is known that they were added.
struct ViewBatch {
  std::string server;    ///< names one run of one server
  int64_t sequence = 0;  ///< counts that server's batches, from 1 on
  /// Each product once. 0 views ask for the total alone.
  std::vector<ViewDelta> deltas;
};

/// Adds up the views of all servers, as totals since the product was made. Ahead of the store, to
/// which ViewWriter brings them. Thread-safe; every call blocks for one round trip or transaction.
class ViewTotals {
 public:
  virtual ~ViewTotals() = default;

  /// Adds a batch, unless it, or a later one of the same server, was added before. Idempotent.
  ///
  /// Returns the total of each product, in order; or, with nullopt where it has no total, that it
  /// has added nothing: Seed those and send the same again.
  /// UNAVAILABLE: it is not known whether they were added; send the same again.
  virtual absl::StatusOr<std::vector<std::optional<int64_t>>> Add(const ViewBatch& batch) = 0;

  /// Reads totals, in order; nullopt where it has none. UNAVAILABLE.
  virtual absl::StatusOr<std::vector<std::optional<int64_t>>> Find(
      std::span<const ProductId> ids) = 0;

  /// Raises totals to what the store, or somebody who was shown it, knows. UNAVAILABLE.
  virtual absl::Status Seed(std::span<const ViewTotal> totals) = 0;

  /// Returns up to `limit` totals that may not be in the store yet. UNAVAILABLE.
  virtual absl::StatusOr<std::vector<ViewTotal>> Unstored(int limit) = 0;

  /// Notes that the store has these; of a total that has grown since, nothing. UNAVAILABLE.
  virtual absl::Status NoteStored(std::span<const ViewTotal> totals) = 0;
};

}  // namespace ecom::product
