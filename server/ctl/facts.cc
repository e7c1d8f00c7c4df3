#include "ctl/facts.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "adapters/kafka/history.h"
#include "adapters/mysql/coupon_audit.h"
#include "base/status_macros.h"

namespace ecom::ctl {
namespace {

using coupon::Coupon;
using coupon::CouponId;
using coupon::GateState;
using coupon::Holder;
using coupon::Reservation;
using coupon::UserId;

/// Users in one look at the store.
constexpr size_t kUsersInQuery = 5000;

bool HasGate(const std::optional<Coupon>& coupon, absl::Time now) {
  return coupon && now >= coupon->starts_at && now < coupon->ends_at + coupon::kArmedPastEnd;
}

/// Of the participants without a row: those who still have a reservation, and those whose row has
/// come meanwhile. A reservation is only dropped once the row is there, so whoever has neither, the
/// reservation asked for first, has lost its row.
absl::Status FindOnTheirWay(app::StackBacking& stack, CouponId id, CouponFacts& facts) {
  std::vector<UserId> rows, without_row;
  for (const coupon::RecordedIssue& row : facts.records.rows) rows.push_back(row.user);
  std::set_difference(facts.participants.begin(), facts.participants.end(), rows.begin(),
                      rows.end(), std::back_inserter(without_row));
  for (const Reservation& reservation : facts.reservations) {
    const UserId user = reservation.claim.holder.user;
    if (!std::binary_search(rows.begin(), rows.end(), user)) facts.on_their_way.insert(user);
  }
  std::vector<Holder> holders;
  for (const UserId user : without_row) {
    if (!facts.on_their_way.contains(user)) holders.push_back({.coupon = id, .user = user});
  }
  for (size_t begin = 0; begin < holders.size(); begin += kUsersInQuery) {
    const std::span chunk =
        std::span(holders).subspan(begin, std::min(kUsersInQuery, holders.size() - begin));
    ASSIGN_OR_RETURN(const auto issues, stack.coupon_store().FindIssues(chunk));
    for (size_t i = 0; i < chunk.size(); ++i) {
      const bool has_row = issues[i] && issues[i]->state == coupon::IssueState::kIssued;
      if (has_row) facts.on_their_way.insert(chunk[i].user);
    }
  }
  return absl::OkStatus();
}

/// A reservation that is old although the log is recorded is on no way any more.
bool AllLeftOver(const std::vector<Reservation>& reservations, absl::Time now) {
  return std::all_of(reservations.begin(), reservations.end(), [&](const Reservation& held) {
    return now - held.claimed_at > kReservationLeftAfter;
  });
}

bool SameBuild(const std::optional<GateState>& before, const std::optional<GateState>& after) {
  return before.has_value() == after.has_value() &&
         (!before || before->generation == after->generation);
}

absl::Status ReadGate(app::StackBacking& stack, CouponId id, CouponFacts& facts) {
  ASSIGN_OR_RETURN(auto participants, stack.gate().ReadParticipants(id, kRowsMax));
  facts.participants = std::move(participants.users);
  facts.foreign_participants = std::move(participants.foreign);
  ASSIGN_OR_RETURN(facts.reservations, stack.gate().FindReservationsBefore(
                                           id, absl::InfiniteFuture(), kReservationsMax));
  std::sort(
      facts.reservations.begin(), facts.reservations.end(),
      [](const Reservation& a, const Reservation& b) { return a.claim.holder < b.claim.holder; });
  return FindOnTheirWay(stack, id, facts);
}

}  // namespace

absl::StatusOr<LogProgress> ReadLogProgress(app::StackBacking& stack) {
  LogProgress log;
  ASSIGN_OR_RETURN(log.ends, stack.progress().Ends());
  ASSIGN_OR_RETURN(log.committed, stack.progress().Committed());
  return log;
}

absl::StatusOr<CouponSnapshot> ReadSnapshot(app::StackBacking& stack, const base::Clock& clock,
                                            CouponId id) {
  CouponSnapshot snapshot;
  CouponFacts& facts = snapshot.facts;
  adapters::mysql::MysqlCouponAudit audit(stack.pool());
  ASSIGN_OR_RETURN(const LogProgress log_before, ReadLogProgress(stack));
  ASSIGN_OR_RETURN(const auto defined, stack.coupon_store().FindCoupons({&id, 1}));
  std::optional<GateState> before;
  if (defined[0]) {
    ASSIGN_OR_RETURN(before, stack.control().Inspect(*defined[0]));
  }
  // Rows before participants: whoever has a row by then has had a place at the gate for longer.
  ASSIGN_OR_RETURN(facts.records, audit.ReadCoupon(id, kRowsMax));
  if (before) RETURN_IF_ERROR(ReadGate(stack, id, facts));
  if (facts.records.coupon) {
    ASSIGN_OR_RETURN(facts.gate, stack.control().Inspect(*facts.records.coupon));
  }
  facts.gate_expected = HasGate(facts.records.coupon, clock.Now());
  ASSIGN_OR_RETURN(snapshot.log, ReadLogProgress(stack));

  facts.participants_known = SameBuild(before, facts.gate);
  const bool log_is_quiet = log_before.lag() == 0 && snapshot.log.lag() == 0;
  facts.quiet =
      log_is_quiet && before == facts.gate && AllLeftOver(facts.reservations, clock.Now());
  return snapshot;
}

absl::StatusOr<CouponSnapshot> ReadSnapshot(adapters::embedded::EmbeddedCouponAudit& file,
                                            CouponId id) {
  CouponSnapshot snapshot;
  ASSIGN_OR_RETURN(const auto before, file.ReadEndsAndCommitted());
  ASSIGN_OR_RETURN(snapshot.facts.records, file.ReadCoupon(id, kRowsMax));
  ASSIGN_OR_RETURN(const auto after, file.ReadEndsAndCommitted());
  snapshot.log = {.ends = after.first, .committed = after.second};
  snapshot.facts.gate_seen = false;
  snapshot.facts.quiet = coupon::LagOf(before.first, before.second) == 0 && snapshot.log.lag() == 0;
  return snapshot;
}

absl::Status ReadFeed(app::StackBacking& stack, CouponId id, CouponFacts& facts) {
  ASSIGN_OR_RETURN(const auto history,
                   adapters::kafka::KafkaHistory::Create({.brokers = stack.brokers()}));
  absl::btree_set<Announcement> announced;
  ASSIGN_OR_RETURN(const adapters::kafka::FeedCoverage coverage,
                   history->VisitEvents([&](const coupon::IssuedCoupon& issued) {
                     if (issued.holder.coupon == id && announced.size() < kRowsMax) {
                       announced.emplace(issued.holder.user, issued.request);
                     }
                   }));
  const bool whole = coverage.from_the_first && coverage.to_the_end && announced.size() < kRowsMax;
  if (whole) facts.announced = std::move(announced);
  return absl::OkStatus();
}

}  // namespace ecom::ctl
