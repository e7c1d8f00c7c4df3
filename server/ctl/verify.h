#pragma once

#include <iosfwd>

#include "absl/status/statusor.h"
#include "adapters/embedded/coupon_audit.h"
#include "app/stack_backing.h"
#include "base/clock.h"
#include "ctl/command_line.h"

namespace ecom::ctl {

/// `verify`: holds what the stores hold of a coupon against each other and, with journals, against
/// what clients were told. With `--wait` it first waits until nothing is on its way.
///
/// kClean: all that could be judged holds. kBroken: something does not. kUnable: claims are on
/// their way, and nothing is broken so far. Errors as ReadSnapshot's; NOT_FOUND: there is no such
/// coupon.
absl::StatusOr<Exit> Verify(app::StackBacking& stack, const base::Clock& clock,
                            const CommandLine& line, std::ostream& out);
absl::StatusOr<Exit> Verify(adapters::embedded::EmbeddedCouponAudit& file, const CommandLine& line,
                            std::ostream& out);

}  // namespace ecom::ctl
