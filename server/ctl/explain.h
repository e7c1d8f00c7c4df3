#pragma once

#include <iosfwd>

#include "absl/status/statusor.h"
#include "adapters/embedded/coupon_audit.h"
#include "app/stack_backing.h"
#include "base/clock.h"
#include "ctl/command_line.h"

namespace ecom::ctl {

/// `explain`: tells all that is known of one user's claim, and what the user would be answered now.
/// Reads the user's partition of the log and of the feed, for up to 30 s each, and the dead
/// letters, for up to 10 s. Errors as ReadSnapshot's.
absl::StatusOr<Exit> Explain(app::StackBacking& stack, const base::Clock& clock,
                             int64_t reservations_max, const CommandLine& line, std::ostream& out);
absl::StatusOr<Exit> Explain(adapters::embedded::EmbeddedCouponAudit& file,
                             const base::Clock& clock, int64_t reservations_max,
                             const CommandLine& line, std::ostream& out);

}  // namespace ecom::ctl
