#include "adapters/embedded/coupon_store.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace ecom::adapters::embedded {
namespace {

using coupon::AdmittedClaim;
using coupon::Barrier;
using coupon::Coupon;
using coupon::CouponId;
using coupon::Generation;
using coupon::Issue;
using coupon::LogRecord;
using coupon::RecordOutcome;

#define ECOM_SELECT_COUPON                                                           \
  "SELECT id, name, incarnation, total_quantity, available_quantity, starts_at_us, " \
  "ends_at_us, gate_generation FROM coupons "

Coupon ReadCoupon(const Statement& row) {
  return {.id = {row.Int(0)},
          .name = std::string(row.Text(1)),
          .incarnation = std::string(row.Text(2)),
          .total_quantity = row.Int(3),
          .available_quantity = row.Int(4),
          .starts_at = row.Time(5),
          .ends_at = row.Time(6),
          .gate_generation = {row.Int(7)}};
}

absl::StatusOr<std::optional<Coupon>> FindCoupon(Connection& connection, CouponId id) {
  ASSIGN_OR_RETURN(Statement select, connection.Prepare(ECOM_SELECT_COUPON "WHERE id = ?"));
  ASSIGN_OR_RETURN(const bool found, select.Bind(id.value).Step());
  if (!found) return std::nullopt;
  return ReadCoupon(select);
}

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

/// Records one batch inside a transaction.
class BatchRecorder {
 public:
  BatchRecorder(Connection& connection, absl::Time now) : connection_(connection), now_(now) {}

  absl::StatusOr<RecordOutcome> Record(const LogRecord& record) {
    if (const auto* barrier = std::get_if<Barrier>(&record.record)) return Pass(*barrier);
    return RecordClaim(std::get<AdmittedClaim>(record.record));
  }

  /// Takes what was issued from the coupons' available quantity.
  absl::Status Finish() {
    for (const auto& [id, state] : coupons_) {
      if (state.issued == 0) continue;
      ASSIGN_OR_RETURN(
          Statement update,
          connection_.Prepare("UPDATE coupons SET available_quantity = available_quantity - ?1 "
                              "WHERE id = ?2 AND available_quantity >= ?1"));
      RETURN_IF_ERROR(update.Bind(state.issued, id.value).Run());
      if (connection_.Changes() != 1) {
        return absl::InternalError(
            absl::StrCat("coupon ", id.value, " was issued beyond its stock"));
      }
    }
    return absl::OkStatus();
  }

 private:
  struct CouponState {
    bool exists = false;
    std::string incarnation;
    int64_t available = 0;
    int64_t issued = 0;
    Generation passed_barrier;
  };

  absl::StatusOr<RecordOutcome> Pass(const Barrier& barrier) {
    ASSIGN_OR_RETURN(CouponState * state, Find(barrier.coupon));
    state->passed_barrier = std::max(state->passed_barrier, barrier.generation);
    ASSIGN_OR_RETURN(Statement update, connection_.Prepare("UPDATE coupons SET passed_barrier = "
                                                           "MAX(passed_barrier, ?) WHERE id = ?"));
    RETURN_IF_ERROR(update.Bind(barrier.generation.value, barrier.coupon.value).Run());
    return RecordOutcome::kBarrier;
  }

  absl::StatusOr<RecordOutcome> RecordClaim(const AdmittedClaim& claim) {
    ASSIGN_OR_RETURN(CouponState * state, Find(claim.holder.coupon));
    if (!state->exists || state->incarnation != claim.incarnation) {
      RETURN_IF_ERROR(Reject(claim, "unknown coupon"));
      return RecordOutcome::kUnknownCoupon;
    }
    if (claim.generation < state->passed_barrier) return RecordOutcome::kStale;
    ASSIGN_OR_RETURN(const bool exists, IsIssued(claim.holder));
    if (exists) return RecordOutcome::kDuplicate;
    if (state->issued >= state->available) {
      RETURN_IF_ERROR(Reject(claim, "over-admitted"));
      return RecordOutcome::kOverAdmitted;
    }
    RETURN_IF_ERROR(Insert(claim));
    ++state->issued;
    return RecordOutcome::kIssued;
  }

  absl::StatusOr<CouponState*> Find(CouponId id) {
    auto [position, is_new] = coupons_.try_emplace(id);
    CouponState& state = position->second;
    if (!is_new) return &state;
    ASSIGN_OR_RETURN(Statement select,
                     connection_.Prepare("SELECT incarnation, available_quantity, passed_barrier "
                                         "FROM coupons WHERE id = ?"));
    ASSIGN_OR_RETURN(state.exists, select.Bind(id.value).Step());
    if (!state.exists) return &state;
    state.incarnation = std::string(select.Text(0));
    state.available = select.Int(1);
    state.passed_barrier = {select.Int(2)};
    return &state;
  }

  absl::StatusOr<bool> IsIssued(const coupon::Holder& holder) {
    ASSIGN_OR_RETURN(
        Statement select,
        connection_.Prepare("SELECT 1 FROM coupon_issues WHERE coupon_id = ? AND user_id = ?"));
    return select.Bind(holder.coupon.value, holder.user.value).Step();
  }

  absl::Status Insert(const AdmittedClaim& claim) {
    ASSIGN_OR_RETURN(Statement insert,
                     connection_.Prepare("INSERT INTO coupon_issues (coupon_id, user_id, "
                                         "request_id, issued_at_us) VALUES (?, ?, ?, ?)"));
    const std::string request = claim.request.ToString();
    return insert.Bind(claim.holder.coupon.value, claim.holder.user.value, request, now_).Run();
  }

  absl::Status Reject(const AdmittedClaim& claim, std::string_view reason) {
    ASSIGN_OR_RETURN(Statement insert,
                     connection_.Prepare("INSERT INTO coupon_rejections (coupon_id, user_id, "
                                         "request_id, reason, rejected_at_us) "
                                         "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"));
    const std::string request = claim.request.ToString();
    return insert.Bind(claim.holder.coupon.value, claim.holder.user.value, request, reason, now_)
        .Run();
  }

  Connection& connection_;
  const absl::Time now_;
  absl::flat_hash_map<CouponId, CouponState> coupons_;
};

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

absl::StatusOr<std::vector<RecordOutcome>> EmbeddedCouponStore::Record(
    std::span<const LogRecord> batch) {
  const absl::Time now = clock_.Now();
  std::vector<RecordOutcome> outcomes;
  RETURN_IF_ERROR(database_.Write([&](Connection& connection) -> absl::Status {
    BatchRecorder recorder(connection, now);
    for (const LogRecord& record : batch) {
      ASSIGN_OR_RETURN(const RecordOutcome outcome, recorder.Record(record));
      outcomes.push_back(outcome);
    }
    return recorder.Finish();
  }));
  return outcomes;
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
    ASSIGN_OR_RETURN(Statement update,
                     connection.Prepare("UPDATE coupons SET gate_generation = gate_generation + 1 "
                                        "WHERE id = ?"));
    RETURN_IF_ERROR(update.Bind(id.value).Run());
    ASSIGN_OR_RETURN(coupon, FindCoupon(connection, id));
    return absl::OkStatus();
  }));
  if (!coupon) return absl::NotFoundError(absl::StrCat("no coupon ", id.value));
  return *std::move(coupon);
}

absl::StatusOr<Generation> EmbeddedCouponStore::PassedBarrier(CouponId id) {
  Generation passed;
  RETURN_IF_ERROR(database_.Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement select,
                     connection.Prepare("SELECT passed_barrier FROM coupons WHERE id = ?"));
    ASSIGN_OR_RETURN(const bool found, select.Bind(id.value).Step());
    if (found) passed = {select.Int(0)};
    return absl::OkStatus();
  }));
  return passed;
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
