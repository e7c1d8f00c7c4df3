#include "adapters/embedded/coupon_store.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "adapters/embedded/coupon_row.h"
#include "base/status_macros.h"
#include "coupon/record_rules.h"

namespace ecom::adapters::embedded {
namespace {

using coupon::AdmittedClaim;
using coupon::Coupon;
using coupon::CouponId;
using coupon::Generation;
using coupon::Issue;
using coupon::LogPartition;
using coupon::LogRecord;
using coupon::RecordResult;
using coupon::RecordRules;

/// Finds the row, else the latest rejection.
absl::StatusOr<std::optional<Issue>> FindIssue(Connection& connection,
                                               const coupon::Holder& holder) {
  auto read = [&](const char* sql,
                  coupon::IssueState state) -> absl::StatusOr<std::optional<Issue>> {
    ASSIGN_OR_RETURN(Statement select, connection.Prepare(sql));
    ASSIGN_OR_RETURN(const bool found, select.Bind(holder.coupon.value, holder.user.value).Step());
    if (!found) return std::nullopt;
    const std::optional<coupon::RequestId> request = coupon::RequestId::Parse(select.Text(0));
    if (!request) return absl::InternalError("a row has a request id that is none of ours");
    Issue issue{.request = *request, .state = state, .issued_at = {}};
    if (state == coupon::IssueState::kIssued) issue.issued_at = select.Time(1);
    return issue;
  };
  ASSIGN_OR_RETURN(std::optional<Issue> issued,
                   read("SELECT request_id, issued_at_us FROM coupon_issues "
                        "WHERE coupon_id = ? AND user_id = ?",
                        coupon::IssueState::kIssued));
  if (issued) return issued;
  return read(
      "SELECT request_id, rejected_at_us FROM coupon_rejections "
      "WHERE coupon_id = ? AND user_id = ? ORDER BY rejected_at_us DESC LIMIT 1",
      coupon::IssueState::kRejected);
}

absl::Status Learn(Connection& connection, RecordRules& rules) {
  for (const CouponId id : rules.coupons()) {
    ASSIGN_OR_RETURN(
        Statement coupon,
        connection.Prepare("SELECT incarnation, available_quantity FROM coupons WHERE id = ?"));
    ASSIGN_OR_RETURN(const bool exists, coupon.Bind(id.value).Step());
    if (!exists) continue;
    rules.KnowCoupon(id, coupon.Text(0), coupon.Int(1));
    ASSIGN_OR_RETURN(Statement barriers,
                     connection.Prepare("SELECT log_partition, gate_generation "
                                        "FROM gate_barriers WHERE coupon_id = ?"));
    barriers.Bind(id.value);
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, barriers.Step());
      if (!more) break;
      rules.KnowBarrier(id, static_cast<LogPartition>(barriers.Int(0)), {barriers.Int(1)});
    }
  }
  for (const LogPartition partition : rules.partitions()) {
    ASSIGN_OR_RETURN(Statement select,
                     connection.Prepare("SELECT recorded, announced FROM log_partitions "
                                        "WHERE log_partition = ?"));
    ASSIGN_OR_RETURN(const bool exists, select.Bind(partition).Step());
    if (exists) {
      rules.KnowProgress(partition, {.recorded = select.Int(0), .announced = select.Int(1)});
    }
  }
  for (const coupon::Holder& holder : rules.holders()) {
    ASSIGN_OR_RETURN(Statement select,
                     connection.Prepare("SELECT request_id, issued_at_us FROM coupon_issues "
                                        "WHERE coupon_id = ? AND user_id = ?"));
    ASSIGN_OR_RETURN(const bool exists, select.Bind(holder.coupon.value, holder.user.value).Step());
    if (!exists) continue;
    // An id that is none of ours equals no claim's.
    rules.KnowRow(holder, coupon::RequestId::Parse(select.Text(0)).value_or(coupon::RequestId()),
                  select.Time(1));
  }
  return absl::OkStatus();
}

absl::Status WriteDown(Connection& connection, const RecordRules& rules, absl::Time now) {
  for (const AdmittedClaim* claim : rules.new_rows()) {
    ASSIGN_OR_RETURN(Statement insert,
                     connection.Prepare("INSERT INTO coupon_issues (coupon_id, user_id, "
                                        "request_id, issued_at_us) VALUES (?, ?, ?, ?)"));
    const std::string request = claim->request.ToString();
    RETURN_IF_ERROR(
        insert.Bind(claim->holder.coupon.value, claim->holder.user.value, request, now).Run());
  }
  for (const RecordRules::Rejection& rejection : rules.rejections()) {
    ASSIGN_OR_RETURN(Statement insert,
                     connection.Prepare("INSERT INTO coupon_rejections (coupon_id, user_id, "
                                        "request_id, reason, rejected_at_us) "
                                        "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"));
    const AdmittedClaim& claim = *rejection.claim;
    const std::string request = claim.request.ToString();
    RETURN_IF_ERROR(insert
                        .Bind(claim.holder.coupon.value, claim.holder.user.value, request,
                              rejection.reason, now)
                        .Run());
  }
  for (const auto& [id, units] : rules.taken()) {
    ASSIGN_OR_RETURN(
        Statement update,
        connection.Prepare("UPDATE coupons SET available_quantity = available_quantity - ?1 "
                           "WHERE id = ?2 AND available_quantity >= ?1"));
    RETURN_IF_ERROR(update.Bind(units, id.value).Run());
    if (connection.Changes() != 1) {
      return absl::InternalError(absl::StrCat("coupon ", id.value, " was issued beyond its stock"));
    }
  }
  for (const auto& [key, generation] : rules.passed_barriers()) {
    ASSIGN_OR_RETURN(
        Statement insert,
        connection.Prepare("INSERT INTO gate_barriers (coupon_id, log_partition, gate_generation) "
                           "VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET gate_generation = "
                           "MAX(gate_generation, excluded.gate_generation)"));
    RETURN_IF_ERROR(insert.Bind(key.first.value, key.second, generation.value).Run());
  }
  for (const RecordRules::ProgressMove& move : rules.progress()) {
    ASSIGN_OR_RETURN(
        Statement insert,
        connection.Prepare(move.restarts
                               ? "INSERT OR REPLACE INTO log_partitions (log_partition, recorded, "
                                 "announced) VALUES (?, ?, ?)"
                               : "INSERT INTO log_partitions (log_partition, recorded, announced) "
                                 "VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
                                 "recorded = MAX(recorded, excluded.recorded), "
                                 "announced = MAX(announced, excluded.announced)"));
    insert.Bind(move.partition, move.to.recorded, move.to.announced);
    RETURN_IF_ERROR(insert.Run());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::optional<Coupon>>> EmbeddedCouponStore::FindCoupons(
    std::span<const CouponId> ids) {
  std::vector<std::optional<Coupon>> coupons;
  RETURN_IF_ERROR(database_.Read([&](Connection& connection) -> absl::Status {
    for (const CouponId id : ids) {
      ASSIGN_OR_RETURN(std::optional<Coupon> coupon, FindCoupon(connection, id));
      coupons.push_back(std::move(coupon));
    }
    return absl::OkStatus();
  }));
  return coupons;
}

absl::StatusOr<std::vector<std::optional<Issue>>> EmbeddedCouponStore::FindIssues(
    std::span<const coupon::Holder> holders) {
  std::vector<std::optional<Issue>> issues;
  RETURN_IF_ERROR(database_.Read([&](Connection& connection) -> absl::Status {
    for (const coupon::Holder& holder : holders) {
      ASSIGN_OR_RETURN(const std::optional<Issue> issue, FindIssue(connection, holder));
      issues.push_back(issue);
    }
    return absl::OkStatus();
  }));
  return issues;
}

absl::StatusOr<std::vector<RecordResult>> EmbeddedCouponStore::Record(
    std::span<const LogRecord> batch, const coupon::LogPositions& announced) {
  const absl::Time now = clock_.Now();
  std::vector<RecordResult> results;
  RETURN_IF_ERROR(database_.Write([&](Connection& connection) -> absl::Status {
    RecordRules rules(batch, announced);
    RETURN_IF_ERROR(Learn(connection, rules));
    results = rules.Decide(now);
    return WriteDown(connection, rules, now);
  }));
  return results;
}

absl::StatusOr<std::vector<Coupon>> EmbeddedCouponStore::FindArmable(absl::Time now) {
  std::vector<Coupon> coupons;
  RETURN_IF_ERROR(database_.Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement select,
                     connection.Prepare(ECOM_SELECT_COUPON
                                        "WHERE starts_at_us <= ? AND ends_at_us > ? ORDER BY id"));
    select.Bind(now, now - coupon::kArmedPastEnd);
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, select.Step());
      if (!more) return absl::OkStatus();
      coupons.push_back(ReadCoupon(select));
    }
  }));
  return coupons;
}

absl::StatusOr<Coupon> EmbeddedCouponStore::AdvanceGeneration(CouponId id) {
  std::optional<Coupon> coupon;
  RETURN_IF_ERROR(database_.Write([&](Connection& connection) -> absl::Status {
    // Barriers may be those of an earlier coupon with this id, which a person has replaced.
    ASSIGN_OR_RETURN(Statement update,
                     connection.Prepare("UPDATE coupons SET gate_generation = 1 + MAX("
                                        "gate_generation, (SELECT COALESCE(MAX(gate_generation), "
                                        "0) FROM gate_barriers WHERE coupon_id = ?1)), "
                                        "gate_home = '' WHERE id = ?1"));
    RETURN_IF_ERROR(update.Bind(id.value).Run());
    ASSIGN_OR_RETURN(coupon, FindCoupon(connection, id));
    return absl::OkStatus();
  }));
  if (!coupon) return absl::NotFoundError(absl::StrCat("no coupon ", id.value));
  return *std::move(coupon);
}

absl::Status EmbeddedCouponStore::SetHome(CouponId id, Generation generation,
                                          const std::string& home) {
  return database_.Write([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement update, connection.Prepare("UPDATE coupons SET gate_home = ? "
                                                          "WHERE id = ? AND gate_generation = ?"));
    RETURN_IF_ERROR(update.Bind(home, id.value, generation.value).Run());
    if (connection.Changes() == 1) return absl::OkStatus();
    return absl::FailedPreconditionError("the gate is at another generation by now");
  });
}

absl::StatusOr<Generation> EmbeddedCouponStore::PassedBarrier(CouponId id, int partitions) {
  Generation passed;
  RETURN_IF_ERROR(database_.Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement select,
                     connection.Prepare("SELECT COUNT(*), MIN(gate_generation) FROM gate_barriers "
                                        "WHERE coupon_id = ? AND log_partition < ?"));
    RETURN_IF_ERROR(select.Bind(id.value, partitions).Step().status());
    if (select.Int(0) == partitions) passed = {select.Int(1)};
    return absl::OkStatus();
  }));
  return passed;
}

/// The file has one server: nobody else could hold the lock.
absl::StatusOr<std::unique_ptr<coupon::GateLock>> EmbeddedCouponStore::LockGates(absl::Duration) {
  class SoleLock final : public coupon::GateLock {
   public:
    bool Held() override { return true; }
  };
  return std::make_unique<SoleLock>();
}

absl::StatusOr<coupon::GateContents> EmbeddedCouponStore::ReadContents(CouponId id) {
  coupon::GateContents contents;
  RETURN_IF_ERROR(database_.Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement select,
                     connection.Prepare("SELECT user_id FROM coupon_issues WHERE coupon_id = ?"));
    select.Bind(id.value);
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, select.Step());
      if (!more) break;
      contents.participants.push_back({select.Int(0)});
    }
    ASSIGN_OR_RETURN(const std::optional<Coupon> coupon, FindCoupon(connection, id));
    const int64_t rows = static_cast<int64_t>(contents.participants.size());
    // A person may have taken units away, or lowered the total below what is issued.
    if (coupon) {
      contents.stock = std::clamp<int64_t>(coupon->total_quantity - rows, 0,
                                           std::max<int64_t>(0, coupon->available_quantity));
    }
    return absl::OkStatus();
  }));
  return contents;
}

}  // namespace ecom::adapters::embedded
