#pragma once

#include <iosfwd>

#include "absl/status/statusor.h"
#include "adapters/embedded/coupon_audit.h"
#include "app/stack_backing.h"
#include "base/clock.h"
#include "ctl/command_line.h"

namespace ecom::ctl {

/// `dlt list`: the dead letters that nobody has dealt with, up to 10,000; with `--all` the others,
/// too. Holds no payloads. Blocks for up to 10 s.
///
/// UNAVAILABLE: Kafka or MySQL cannot be asked, or not in time.
absl::StatusOr<Exit> ListLetters(app::StackBacking& stack, const base::Clock& clock,
                                 const CommandLine& line, std::ostream& out);
absl::StatusOr<Exit> ListLetters(adapters::embedded::EmbeddedCouponAudit& file,
                                 const CommandLine& line, std::ostream& out);

/// `dlt show`: one letter with all that it holds, as JSON. NOT_FOUND: there is none.
absl::StatusOr<Exit> ShowLetter(app::StackBacking& stack, const base::Clock& clock,
                                const CommandLine& line, std::ostream& out);

/// `dlt replay`, `dlt discard`: deals with one letter or, with `--all`, with each that is there
/// when it begins. Idempotent: who comes second says so, and does nothing. A replay that was cut
/// short before it was noted is done again, which makes no second row.
///
/// kBroken: one of the letters cannot be replayed, such as one that was cut; the others were.
absl::StatusOr<Exit> SettleLetters(app::StackBacking& stack, const base::Clock& clock,
                                   const CommandLine& line, std::ostream& out);

}  // namespace ecom::ctl
