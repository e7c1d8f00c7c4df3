#include "adapters/embedded/product_changes.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::adapters::embedded {

using product::ProductVersion;

EmbeddedProductChanges::EmbeddedProductChanges(Options options, Database& database,
                                               const base::Clock& clock)
    : options_(options), database_(database), clock_(clock), look_at_(clock.Monotonic()) {}

absl::StatusOr<std::vector<ProductVersion>> EmbeddedProductChanges::Next(absl::Duration timeout) {
  if (!version_) {
    const absl::Status begun = Begin();
    if (!begun.ok()) absl::SleepFor(std::min(timeout, options_.poll_interval));
    RETURN_IF_ERROR(begun);
    return absl::UnavailableError("changes of products before this one may have been missed");
  }
  const absl::Duration deadline = clock_.Monotonic() + timeout;
  for (;;) {
    absl::SleepFor(std::min(look_at_, deadline) - clock_.Monotonic());
    if (look_at_ > deadline) return std::vector<ProductVersion>();
    auto changes = Look();
    if (!changes.ok() && !failing_) {
      base::Log(base::Level::kWarn, "changes of products can't be read",
                {{"error", changes.status()}});
    }
    failing_ = !changes.ok();
    const bool more = changes.ok() && changes->size() == size_t{kChangesMax};
    look_at_ = clock_.Monotonic() + (more ? absl::ZeroDuration() : options_.poll_interval);
    if (changes.ok() && !changes->empty()) return changes;
  }
}

absl::Status EmbeddedProductChanges::Begin() {
  absl::Status begun = database_.Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement select,
                     connection.Prepare("SELECT COALESCE(MAX(version), 0) FROM products"));
    RETURN_IF_ERROR(select.Step().status());
    version_ = select.Int(0);
    return absl::OkStatus();
  });
  if (begun.ok()) return begun;
  return absl::UnavailableError(begun.message());
}

/// Reads the changes behind version_, which it moves.
absl::StatusOr<std::vector<ProductVersion>> EmbeddedProductChanges::Look() {
  std::vector<ProductVersion> changes;
  RETURN_IF_ERROR(database_.Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement select, connection.Prepare("SELECT id, version FROM products "
                                                          "WHERE version > ? "
                                                          "ORDER BY version LIMIT ?"));
    select.Bind(*version_, kChangesMax);
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, select.Step());
      if (!more) return absl::OkStatus();
      changes.push_back({.id = {select.Int(0)}, .version = select.Int(1)});
    }
  }));
  if (!changes.empty()) version_ = changes.back().version;
  return changes;
}

}  // namespace ecom::adapters::embedded
