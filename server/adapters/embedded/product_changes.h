#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "adapters/embedded/database.h"
#include "base/clock.h"
#include "product/changes.h"

namespace ecom::adapters::embedded {

/// Finds changed products in the data file, by looking for higher versions than it has seen: one
/// query of an index at a time. Not thread-safe.
class EmbeddedProductChanges final : public product::ProductChanges {
 public:
  /// Changes that one call returns; the rest comes with the next one.
  static constexpr int kChangesMax = 1'000;

  struct Options {
    /// The pause between two looks. Leaves room within the second in which a change must show.
    absl::Duration poll_interval = absl::Milliseconds(250);
  };

  /// `database` and `clock` must outlive this.
  EmbeddedProductChanges(Options options, Database& database, const base::Clock& clock);

  /// As the port says. The first call returns UNAVAILABLE at once, as it only learns where the
  /// versions are. A file that cannot be read has no changes: none is missed, they come later.
  absl::StatusOr<std::vector<product::ProductVersion>> Next(absl::Duration timeout) override;

 private:
  absl::Status Begin();
  absl::StatusOr<std::vector<product::ProductVersion>> Look();

  const Options options_;
  Database& database_;
  const base::Clock& clock_;
  std::optional<int64_t> version_;  ///< the highest one seen
  absl::Duration look_at_;          ///< the next time, of Clock::Monotonic
  bool failing_ = false;
};

}  // namespace ecom::adapters::embedded
