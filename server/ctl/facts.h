#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "adapters/embedded/coupon_audit.h"
#include "app/stack_backing.h"
#include "base/clock.h"
#include "coupon/claim_log.h"
#include "ctl/judge.h"

namespace ecom::ctl {

/// Bounds the memory of one command to some GB: rows, and participants, of one coupon.
inline constexpr size_t kRowsMax = 10'000'000;
/// Reservations that are read; servers allow as many at most.
inline constexpr int kReservationsMax = 10'000'000;

/// How long the log is, and how far it is recorded.
struct LogProgress {
  coupon::LogPositions ends;
  coupon::LogPositions committed;

  int64_t lag() const { return coupon::LagOf(ends, committed); }
};

/// Two round trips and more. UNAVAILABLE: the message begins with "Kafka".
absl::StatusOr<LogProgress> ReadLogProgress(app::StackBacking& stack);

/// What the stores hold of a coupon, and what was on its way meanwhile.
struct CouponSnapshot {
  CouponFacts facts;
  LogProgress log;
};

/// Reads a coupon while claims may come in. Whoever has a place at the gate and no row is looked at
/// a second time, reservation first, then row: so only a real difference stays. Blocks for a round
/// trip each 1,000 participants and each 10,000 rows; up to kRowsMax of each.
///
/// * RESOURCE_EXHAUSTED: more than that.
/// * UNAVAILABLE, FAILED_PRECONDITION: the message says which dependency, and what of it.
absl::StatusOr<CouponSnapshot> ReadSnapshot(app::StackBacking& stack, const base::Clock& clock,
                                            coupon::CouponId coupon);

/// The same of the data file; the gate is in the memory of its server.
absl::StatusOr<CouponSnapshot> ReadSnapshot(adapters::embedded::EmbeddedCouponAudit& file,
                                            coupon::CouponId coupon);

/// Reads the events on the feed into `facts`, which must hold the rows already. Leaves them out
/// where the feed was not read whole, which proves nothing. Reads the whole topic, for up to 30 s.
absl::Status ReadFeed(app::StackBacking& stack, coupon::CouponId coupon, CouponFacts& facts);

}  // namespace ecom::ctl
