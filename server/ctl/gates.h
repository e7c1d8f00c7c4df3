#pragma once

#include <iosfwd>

#include "absl/status/statusor.h"
#include "app/config.h"
#include "app/stack_backing.h"
#include "base/clock.h"
#include "ctl/command_line.h"

namespace ecom::ctl {

/// `gate show`: the gates of the coupons that have one now, or of one coupon. A round trip each.
/// NOT_FOUND: there is no such coupon. UNAVAILABLE: a dependency cannot be asked.
absl::StatusOr<Exit> ShowGates(app::StackBacking& stack, const base::Clock& clock,
                               const CommandLine& line, std::ostream& out);

/// `gate rebuild`: makes the gate's generation invalid, so that the running servers, who know how
/// long their promises last, build it anew; waits until it is open, up to a minute.
///
/// kBroken: it is not open by then. FAILED_PRECONDITION: the coupon has no gate now. NOT_FOUND,
/// UNAVAILABLE as above; also while a server is building gates.
absl::StatusOr<Exit> RebuildGate(app::StackBacking& stack, const base::Clock& clock,
                                 const CommandLine& line, std::ostream& out);

/// `reconcile`: what a server does each second, from here: looks, looks again after the servers'
/// interval, as a difference counts only when it stays, and repairs. A rebuild waits for the
/// recorders of the running servers and for their ack-deadline, which must be the setting of this
/// program, too. With `--dry-run` only says what it would do.
///
/// kBroken with `--dry-run`: there is something to do. UNAVAILABLE: a dependency cannot be asked.
absl::StatusOr<Exit> Reconcile(app::StackBacking& stack, const app::Config& config,
                               const base::Clock& clock, const CommandLine& line,
                               std::ostream& out);

}  // namespace ecom::ctl
