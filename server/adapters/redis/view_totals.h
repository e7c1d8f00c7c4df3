#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "adapters/redis/connection.h"
#include "base/call_stats.h"
#include "product/views.h"

namespace ecom::adapters::redis {

/// The views of all servers, in the gate's Redis: the product cache's may evict. A call is one
/// round trip.
///
/// `product:views:totals` is a hash from product to total, some 70 bytes for each product that was
/// ever viewed. `product:views:unstored` is a sorted set of the products whose total may not be in
/// the store yet, by the time (microseconds) since which. `product:views:sequence:<server>` is the
/// last batch of that server that was added, for a day after it.
///
/// Totals are exact up to the highest int64_t, where they stay. What somebody has put in a total's
/// place and is no count is as if it were not there. Thread-safe. Adding and storing have one
/// connection, Find has another: who reads products does not wait for who counts.
///
/// A Redis that lost its memory is seeded again from the store and by those who know more. Only
/// when it does so between adding a batch and answering, and another server or the store has
/// learned the new total meanwhile, that batch counts twice.
class RedisViewTotals final : public product::ViewTotals {
 public:
  /// Products in one call; more are INVALID_ARGUMENT. Bounds how long a call holds up the gate
  /// (some 5 ms), and is what Lua can unpack.
  static constexpr size_t kProductsMax = 4'096;

  struct Options {
    Address address;
    absl::Duration connect_timeout = absl::Milliseconds(250);
    /// For one round trip of those that count; they try again with the next flush.
    absl::Duration command_timeout = absl::Milliseconds(500);
    /// For one round trip of Find, for which readers wait.
    absl::Duration find_timeout = absl::Milliseconds(100);
    /// Puts the names' first part in braces, so that Redis Cluster keeps the keys together.
    bool cluster = false;
  };

  /// Does not connect: that happens at the first call.
  explicit RedisViewTotals(Options options);

  absl::StatusOr<std::vector<std::optional<int64_t>>> Add(const product::ViewBatch& batch) override;
  absl::StatusOr<std::vector<std::optional<int64_t>>> Find(
      std::span<const product::ProductId> ids) override;
  /// As the port says. What it raises is taken for unstored.
  absl::Status Seed(std::span<const product::ViewTotal> totals) override;
  /// As the port says: those that wait longest first. At most kProductsMax.
  absl::StatusOr<std::vector<product::ViewTotal>> Unstored(int limit) override;
  /// As the port says. A total that has grown since goes to the end of those that wait.
  absl::Status NoteStored(std::span<const product::ViewTotal> totals) override;

  /// What its connections have counted together.
  base::CallStats::Snapshot calls() const;

 private:
  std::string Key(std::string_view what) const;
  absl::StatusOr<Reply> RunScript(const Script& script, std::vector<std::string> keys,
                                  std::vector<std::string> arguments);
  absl::Status RunForEach(const Script& script, std::span<const product::ViewTotal> totals);

  const Options options_;
  Connection counting_;
  Connection finding_;
};

}  // namespace ecom::adapters::redis
