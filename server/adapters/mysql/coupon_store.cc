#include "adapters/mysql/coupon_store.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "adapters/mysql/placeholders.h"
#include "base/status_macros.h"

namespace ecom::adapters::mysql {
namespace {

using coupon::AdmittedClaim;
using coupon::Barrier;
using coupon::Coupon;
using coupon::CouponId;
using coupon::Generation;
using coupon::Holder;
using coupon::Issue;
using coupon::IssueState;
using coupon::LogRecord;
using coupon::RecordOutcome;

#define ECOM_SELECT_COUPON                                                        \
  "SELECT id, name, incarnation, total_quantity, available_quantity, starts_at, " \
  "ends_at, gate_generation FROM coupons "

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

/// Runs `select`, which ends before its list of ids, for all ids and calls `on_row` for each row.
template <typename OnRow>
absl::Status SelectByIds(Connection& connection, std::string_view select, std::string_view tail,
                         std::span<const CouponId> ids, OnRow on_row) {
  for (size_t begin = 0; begin < ids.size(); begin += kValuesInStatement) {
    const std::span chunk = ids.subspan(begin, std::min(kValuesInStatement, ids.size() - begin));
    const size_t size = PaddedSize(chunk.size());
    ASSIGN_OR_RETURN(Statement statement,
                     connection.Prepare(absl::StrCat(std::string(select), "WHERE id IN (",
                                                     Repeated("?", size), ")", std::string(tail))));
    for (size_t i = 0; i < size; ++i) statement.Bind(chunk[std::min(i, chunk.size() - 1)].value);
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, statement.Step());
      if (!more) break;
      on_row(statement);
    }
  }
  return absl::OkStatus();
}

/// Runs `select`, whose first two columns are a holder, for all holders and calls `on_row` with
/// each holder and row.
template <typename OnRow>
absl::Status SelectByHolders(Connection& connection, std::string_view select,
                             std::span<const Holder> holders, OnRow on_row) {
  for (size_t begin = 0; begin < holders.size(); begin += kValuesInStatement) {
    const std::span chunk =
        holders.subspan(begin, std::min(kValuesInStatement, holders.size() - begin));
    const size_t size = PaddedSize(chunk.size());
    // Not (coupon_id, user_id) IN (…), which MariaDB does not answer from the key.
    ASSIGN_OR_RETURN(Statement statement,
                     connection.Prepare(
                         absl::StrCat(std::string(select), "WHERE ",
                                      Repeated("(coupon_id = ? AND user_id = ?)", size, " OR "))));
    for (size_t i = 0; i < size; ++i) {
      const Holder& holder = chunk[std::min(i, chunk.size() - 1)];
      statement.Bind(holder.coupon.value, holder.user.value);
    }
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, statement.Step());
      if (!more) break;
      RETURN_IF_ERROR(on_row(Holder{{statement.Int(0)}, {statement.Int(1)}}, statement));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Coupon>> FindCoupon(Connection& connection, CouponId id) {
  std::optional<Coupon> coupon;
  RETURN_IF_ERROR(SelectByIds(connection, ECOM_SELECT_COUPON, "", {&id, 1},
                              [&](const Statement& row) { coupon = ReadCoupon(row); }));
  return coupon;
}

/// Records one batch inside a transaction.
class BatchRecorder {
 public:
  BatchRecorder(Connection& connection, absl::Time now) : connection_(connection), now_(now) {}

  absl::StatusOr<std::vector<RecordOutcome>> Record(std::span<const LogRecord> batch) {
    RETURN_IF_ERROR(LockCoupons(batch));
    RETURN_IF_ERROR(FindIssued(batch));
    std::vector<RecordOutcome> outcomes;
    outcomes.reserve(batch.size());
    for (const LogRecord& record : batch) outcomes.push_back(Decide(record));
    RETURN_IF_ERROR(InsertIssues());
    RETURN_IF_ERROR(InsertRejections());
    RETURN_IF_ERROR(UpdateCoupons());
    return outcomes;
  }

 private:
  struct CouponState {
    bool exists = false;
    std::string incarnation;
    int64_t available = 0;
    int64_t issued = 0;
    Generation passed_barrier;
    bool barrier_moved = false;
  };

  struct Rejection {
    const AdmittedClaim* claim;
    std::string_view reason;
  };

  absl::Status LockCoupons(std::span<const LogRecord> batch) {
    for (const LogRecord& record : batch) {
      const auto* barrier = std::get_if<Barrier>(&record.record);
      coupons_.try_emplace(barrier != nullptr
                               ? barrier->coupon
                               : std::get<AdmittedClaim>(record.record).holder.coupon);
    }
    std::vector<CouponId> ids;
    for (const auto& [id, state] : coupons_) ids.push_back(id);
    return SelectByIds(connection_,
                       "SELECT id, incarnation, available_quantity, passed_barrier FROM coupons ",
                       " ORDER BY id FOR UPDATE", ids, [&](const Statement& row) {
                         CouponState& state = coupons_[{row.Int(0)}];
                         state.exists = true;
                         state.incarnation = std::string(row.Text(1));
                         state.available = row.Int(2);
                         state.passed_barrier = {row.Int(3)};
                       });
  }

  absl::Status FindIssued(std::span<const LogRecord> batch) {
    std::vector<Holder> holders;
    for (const LogRecord& record : batch) {
      const auto* claim = std::get_if<AdmittedClaim>(&record.record);
      if (claim != nullptr && coupons_[claim->holder.coupon].exists) {
        holders.push_back(claim->holder);
      }
    }
    return SelectByHolders(connection_, "SELECT coupon_id, user_id FROM coupon_issues ", holders,
                           [&](const Holder& holder, const Statement&) {
                             issued_.insert(holder);
                             return absl::OkStatus();
                           });
  }

  RecordOutcome Decide(const LogRecord& record) {
    if (const auto* barrier = std::get_if<Barrier>(&record.record)) {
      CouponState& state = coupons_[barrier->coupon];
      if (state.passed_barrier < barrier->generation) {
        state.passed_barrier = barrier->generation;
        state.barrier_moved = state.exists;
      }
      return RecordOutcome::kBarrier;
    }
    const AdmittedClaim& claim = std::get<AdmittedClaim>(record.record);
    CouponState& state = coupons_[claim.holder.coupon];
    if (!state.exists || state.incarnation != claim.incarnation) {
      rejections_.push_back({&claim, "unknown coupon"});
      return RecordOutcome::kUnknownCoupon;
    }
    if (claim.generation < state.passed_barrier) return RecordOutcome::kStale;
    if (issued_.contains(claim.holder)) return RecordOutcome::kDuplicate;
    if (state.issued >= state.available) {
      rejections_.push_back({&claim, "over-admitted"});
      return RecordOutcome::kOverAdmitted;
    }
    issued_.insert(claim.holder);
    issues_.push_back(&claim);
    ++state.issued;
    return RecordOutcome::kIssued;
  }

  absl::Status InsertIssues() {
    std::span<const AdmittedClaim* const> rest = issues_;
    while (!rest.empty()) {
      const size_t size = ExactSize(rest.size());
      ASSIGN_OR_RETURN(
          Statement insert,
          connection_.Prepare(absl::StrCat(
              "INSERT INTO coupon_issues (coupon_id, user_id, request_id, issued_at) VALUES ",
              Repeated("(?, ?, ?, ?)", size))));
      for (const AdmittedClaim* claim : rest.first(size)) {
        insert.Bind(claim->holder.coupon.value, claim->holder.user.value, claim->request.ToString(),
                    now_);
      }
      const auto inserted = insert.Run();
      // The table has this one key: somebody who does not lock the coupon, a person perhaps, put
      // the row there meanwhile. The same batch finds it, as a duplicate.
      if (absl::IsAlreadyExists(inserted.status())) {
        return absl::UnavailableError(
            absl::StrCat("a row came in between: ", inserted.status().message()));
      }
      RETURN_IF_ERROR(inserted.status());
      rest = rest.subspan(size);
    }
    return absl::OkStatus();
  }

  absl::Status InsertRejections() {
    std::span<const Rejection> rest = rejections_;
    while (!rest.empty()) {
      const size_t size = ExactSize(rest.size());
      // Only what is there by the key is passed over; each other error stays one.
      ASSIGN_OR_RETURN(Statement insert,
                       connection_.Prepare(absl::StrCat(
                           "INSERT INTO coupon_rejections (coupon_id, user_id, request_id, "
                           "reason, rejected_at) VALUES ",
                           Repeated("(?, ?, ?, ?, ?)", size),
                           " ON DUPLICATE KEY UPDATE coupon_id = coupon_rejections.coupon_id")));
      for (const Rejection& rejection : rest.first(size)) {
        const AdmittedClaim& claim = *rejection.claim;
        insert.Bind(claim.holder.coupon.value, claim.holder.user.value, claim.request.ToString(),
                    rejection.reason, now_);
      }
      RETURN_IF_ERROR(insert.Run().status());
      rest = rest.subspan(size);
    }
    return absl::OkStatus();
  }

  absl::Status UpdateCoupons() {
    for (const auto& [id, state] : coupons_) {
      if (state.issued == 0 && !state.barrier_moved) continue;
      ASSIGN_OR_RETURN(
          Statement update,
          connection_.Prepare("UPDATE coupons SET available_quantity = available_quantity - ?, "
                              "passed_barrier = GREATEST(passed_barrier, ?) "
                              "WHERE id = ? AND available_quantity >= ?"));
      ASSIGN_OR_RETURN(
          const int64_t changed,
          update.Bind(state.issued, state.passed_barrier.value, id.value, state.issued).Run());
      if (changed != 1) {
        return absl::InternalError(
            absl::StrCat("coupon ", id.value, " was issued beyond its stock"));
      }
    }
    return absl::OkStatus();
  }

  Connection& connection_;
  const absl::Time now_;
  absl::btree_map<CouponId, CouponState> coupons_;  // in the order in which rows are locked
  absl::flat_hash_set<Holder> issued_;
  std::vector<const AdmittedClaim*> issues_;
  std::vector<Rejection> rejections_;
};

}  // namespace

absl::StatusOr<std::vector<std::optional<Coupon>>> MysqlCouponStore::FindCoupons(
    std::span<const CouponId> ids) {
  std::vector<std::optional<Coupon>> coupons;
  if (ids.empty()) return coupons;
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  absl::flat_hash_map<CouponId, Coupon> found;
  RETURN_IF_ERROR(SelectByIds(*connection, ECOM_SELECT_COUPON, "", ids, [&](const Statement& row) {
    Coupon coupon = ReadCoupon(row);
    found.emplace(coupon.id, std::move(coupon));
  }));
  for (const CouponId id : ids) {
    const auto position = found.find(id);
    coupons.push_back(position != found.end() ? std::optional(position->second) : std::nullopt);
  }
  return coupons;
}

absl::StatusOr<std::vector<std::optional<Issue>>> MysqlCouponStore::FindIssues(
    std::span<const Holder> holders) {
  std::vector<std::optional<Issue>> issues;
  if (holders.empty()) return issues;
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  absl::flat_hash_map<Holder, Issue> found;
  absl::flat_hash_map<Holder, absl::Time> rejected_at;
  const auto read = [](const Statement& row, IssueState state) -> absl::StatusOr<Issue> {
    const std::optional<coupon::RequestId> request = coupon::RequestId::Parse(row.Text(2));
    if (!request) return absl::InternalError("a row has a request id that is none of ours");
    return Issue{.request = *request, .state = state, .issued_at = {}};
  };
  RETURN_IF_ERROR(SelectByHolders(
      *connection, "SELECT coupon_id, user_id, request_id, issued_at FROM coupon_issues ", holders,
      [&](const Holder& holder, const Statement& row) -> absl::Status {
        ASSIGN_OR_RETURN(Issue issue, read(row, IssueState::kIssued));
        issue.issued_at = row.Time(3);
        found[holder] = issue;
        return absl::OkStatus();
      }));
  std::vector<Holder> without_row;
  for (const Holder& holder : holders) {
    if (!found.contains(holder)) without_row.push_back(holder);
  }
  RETURN_IF_ERROR(SelectByHolders(
      *connection, "SELECT coupon_id, user_id, request_id, rejected_at FROM coupon_rejections ",
      without_row, [&](const Holder& holder, const Statement& row) -> absl::Status {
        const absl::Time at = row.Time(3);
        const auto [latest, is_first] = rejected_at.try_emplace(holder, at);
        if (!is_first && at <= latest->second) return absl::OkStatus();
        latest->second = at;
        ASSIGN_OR_RETURN(found[holder], read(row, IssueState::kRejected));
        return absl::OkStatus();
      }));
  for (const Holder& holder : holders) {
    const auto position = found.find(holder);
    issues.push_back(position != found.end() ? std::optional(position->second) : std::nullopt);
  }
  return issues;
}

absl::StatusOr<std::vector<RecordOutcome>> MysqlCouponStore::Record(
    std::span<const LogRecord> batch) {
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*connection));
  BatchRecorder recorder(*connection, clock_.Now());
  ASSIGN_OR_RETURN(std::vector<RecordOutcome> outcomes, recorder.Record(batch));
  RETURN_IF_ERROR(transaction.Commit());
  return outcomes;
}

absl::StatusOr<std::vector<Coupon>> MysqlCouponStore::FindArmable(absl::Time now) {
  std::vector<Coupon> coupons;
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  ASSIGN_OR_RETURN(
      Statement select,
      connection->Prepare(ECOM_SELECT_COUPON "WHERE starts_at <= ? AND ends_at > ? ORDER BY id"));
  select.Bind(now, now - coupon::kArmedPastEnd);
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, select.Step());
    if (!more) return coupons;
    coupons.push_back(ReadCoupon(select));
  }
}

absl::StatusOr<Coupon> MysqlCouponStore::AdvanceGeneration(CouponId id) {
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*connection));
  ASSIGN_OR_RETURN(Statement update,
                   connection->Prepare("UPDATE coupons SET gate_generation = gate_generation + 1 "
                                       "WHERE id = ?"));
  RETURN_IF_ERROR(update.Bind(id.value).Run().status());
  ASSIGN_OR_RETURN(std::optional<Coupon> coupon, FindCoupon(*connection, id));
  RETURN_IF_ERROR(transaction.Commit());
  if (!coupon) return absl::NotFoundError(absl::StrCat("no coupon ", id.value));
  return *std::move(coupon);
}

absl::StatusOr<Generation> MysqlCouponStore::PassedBarrier(CouponId id) {
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  ASSIGN_OR_RETURN(Statement select,
                   connection->Prepare("SELECT passed_barrier FROM coupons WHERE id = ?"));
  ASSIGN_OR_RETURN(const bool found, select.Bind(id.value).Step());
  return found ? Generation{select.Int(0)} : Generation{};
}

absl::StatusOr<coupon::GateContents> MysqlCouponStore::ReadContents(CouponId id) {
  coupon::GateContents contents;
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  // Rows and coupon as of one moment. Counts for the next transaction only.
  RETURN_IF_ERROR(connection->Execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"));
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*connection));
  ASSIGN_OR_RETURN(Statement select,
                   connection->Prepare("SELECT user_id FROM coupon_issues WHERE coupon_id = ?"));
  select.Bind(id.value);
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, select.Step());
    if (!more) break;
    contents.participants.push_back({select.Int(0)});
  }
  ASSIGN_OR_RETURN(const std::optional<Coupon> coupon, FindCoupon(*connection, id));
  RETURN_IF_ERROR(transaction.Commit());
  const int64_t rows = static_cast<int64_t>(contents.participants.size());
  // A person may have taken units away, or lowered the total below what is issued.
  if (coupon) {
    contents.stock = std::clamp<int64_t>(coupon->total_quantity - rows, 0,
                                         std::max<int64_t>(0, coupon->available_quantity));
  }
  return contents;
}

}  // namespace ecom::adapters::mysql
