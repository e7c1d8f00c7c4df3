#include "adapters/mysql/coupon_store.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "adapters/mysql/coupon_row.h"
#include "adapters/mysql/placeholders.h"
#include "base/status_macros.h"
#include "coupon/record_rules.h"

namespace ecom::adapters::mysql {
namespace {

using coupon::AdmittedClaim;
using coupon::Coupon;
using coupon::CouponId;
using coupon::Generation;
using coupon::Holder;
using coupon::Issue;
using coupon::IssueState;
using coupon::LogPartition;
using coupon::LogRecord;
using coupon::RecordResult;
using coupon::RecordRules;

// Locks are the server's, not the database's: their names tell databases apart.
#define ECOM_GATES_LOCK_NAME "CONCAT('ecom.gates.', SHA1(DATABASE()))"

/// Runs `select`, which ends before "IN (…)", for all ids and calls `on_row` for each row.
template <typename OnRow>
absl::Status SelectByIds(Connection& connection, std::string_view select, std::string_view tail,
                         std::span<const CouponId> ids, OnRow on_row) {
  for (size_t begin = 0; begin < ids.size(); begin += kValuesInStatement) {
    const std::span chunk = ids.subspan(begin, std::min(kValuesInStatement, ids.size() - begin));
    const size_t size = PaddedSize(chunk.size());
    ASSIGN_OR_RETURN(Statement statement,
                     connection.Prepare(absl::StrCat(std::string(select), " IN (",
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
  RETURN_IF_ERROR(SelectByIds(connection, ECOM_SELECT_COUPON "WHERE id", "", {&id, 1},
                              [&](const Statement& row) { coupon = ReadCoupon(row); }));
  return coupon;
}

/// Locks the coupons, in id order, and reads all that the rules ask for.
absl::Status Learn(Connection& connection, RecordRules& rules) {
  const std::vector<CouponId> coupons = rules.coupons();
  RETURN_IF_ERROR(SelectByIds(
      connection, "SELECT id, incarnation, available_quantity FROM coupons WHERE id",
      " ORDER BY id FOR UPDATE", coupons,
      [&](const Statement& row) { rules.KnowCoupon({row.Int(0)}, row.Text(1), row.Int(2)); }));
  RETURN_IF_ERROR(SelectByIds(
      connection,
      "SELECT coupon_id, log_partition, gate_generation FROM gate_barriers WHERE coupon_id", "",
      coupons, [&](const Statement& row) {
        rules.KnowBarrier({row.Int(0)}, static_cast<LogPartition>(row.Int(1)), {row.Int(2)});
      }));
  for (const LogPartition partition : rules.partitions()) {
    ASSIGN_OR_RETURN(Statement select,
                     connection.Prepare("SELECT recorded, announced FROM log_partitions "
                                        "WHERE log_partition = ?"));
    ASSIGN_OR_RETURN(const bool exists, select.Bind(partition).Step());
    if (exists) {
      rules.KnowProgress(partition, {.recorded = select.Int(0), .announced = select.Int(1)});
    }
  }
  return SelectByHolders(
      connection, "SELECT coupon_id, user_id, request_id, issued_at FROM coupon_issues ",
      rules.holders(), [&](const Holder& holder, const Statement& row) {
        // An id that is none of ours equals no claim's.
        rules.KnowRow(holder, coupon::RequestId::Parse(row.Text(2)).value_or(coupon::RequestId()),
                      row.Time(3));
        return absl::OkStatus();
      });
}

absl::Status InsertIssues(Connection& connection, const RecordRules& rules, absl::Time now) {
  std::span<const AdmittedClaim* const> rest = rules.new_rows();
  while (!rest.empty()) {
    const size_t size = ExactSize(rest.size());
    ASSIGN_OR_RETURN(
        Statement insert,
        connection.Prepare(absl::StrCat(
            "INSERT INTO coupon_issues (coupon_id, user_id, request_id, issued_at) VALUES ",
            Repeated("(?, ?, ?, ?)", size))));
    for (const AdmittedClaim* claim : rest.first(size)) {
      insert.Bind(claim->holder.coupon.value, claim->holder.user.value, claim->request.ToString(),
                  now);
    }
    const auto inserted = insert.Run();
    // The table has this one key: somebody who does not lock the coupon, a person perhaps, put the
    // row there meanwhile. The same batch finds it, as a duplicate.
    if (absl::IsAlreadyExists(inserted.status())) {
      return absl::UnavailableError(
          absl::StrCat("a row came in between: ", inserted.status().message()));
    }
    RETURN_IF_ERROR(inserted.status());
    rest = rest.subspan(size);
  }
  return absl::OkStatus();
}

absl::Status InsertRejections(Connection& connection, const RecordRules& rules, absl::Time now) {
  std::span<const RecordRules::Rejection> rest = rules.rejections();
  while (!rest.empty()) {
    const size_t size = ExactSize(rest.size());
    // Only what is there by the key is passed over; each other error stays one.
    ASSIGN_OR_RETURN(Statement insert,
                     connection.Prepare(absl::StrCat(
                         "INSERT INTO coupon_rejections (coupon_id, user_id, request_id, "
                         "reason, rejected_at) VALUES ",
                         Repeated("(?, ?, ?, ?, ?)", size),
                         " ON DUPLICATE KEY UPDATE coupon_id = coupon_rejections.coupon_id")));
    for (const RecordRules::Rejection& rejection : rest.first(size)) {
      const AdmittedClaim& claim = *rejection.claim;
      insert.Bind(claim.holder.coupon.value, claim.holder.user.value, claim.request.ToString(),
                  rejection.reason, now);
    }
    RETURN_IF_ERROR(insert.Run().status());
    rest = rest.subspan(size);
  }
  return absl::OkStatus();
}

absl::Status UpdateCoupons(Connection& connection, const RecordRules& rules) {
  for (const auto& [id, units] : rules.taken()) {
    ASSIGN_OR_RETURN(
        Statement update,
        connection.Prepare("UPDATE coupons SET available_quantity = available_quantity - ? "
                           "WHERE id = ? AND available_quantity >= ?"));
    ASSIGN_OR_RETURN(const int64_t changed, update.Bind(units, id.value, units).Run());
    if (changed != 1) {
      return absl::InternalError(absl::StrCat("coupon ", id.value, " was issued beyond its stock"));
    }
  }
  return absl::OkStatus();
}

absl::Status InsertProgress(Connection& connection, const RecordRules& rules) {
  for (const auto& [key, generation] : rules.passed_barriers()) {
    ASSIGN_OR_RETURN(
        Statement insert,
        connection.Prepare("INSERT INTO gate_barriers (coupon_id, log_partition, gate_generation) "
                           "VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE gate_generation = "
                           "GREATEST(gate_generation, VALUES(gate_generation))"));
    RETURN_IF_ERROR(insert.Bind(key.first.value, key.second, generation.value).Run().status());
  }
  for (const RecordRules::ProgressMove& move : rules.progress()) {
    ASSIGN_OR_RETURN(
        Statement insert,
        connection.Prepare(absl::StrCat(
            "INSERT INTO log_partitions (log_partition, recorded, announced) VALUES (?, ?, ?) "
            "ON DUPLICATE KEY UPDATE ",
            move.restarts ? "recorded = VALUES(recorded), announced = VALUES(announced)"
                          : "recorded = GREATEST(recorded, VALUES(recorded)), "
                            "announced = GREATEST(announced, VALUES(announced))")));
    insert.Bind(move.partition, move.to.recorded, move.to.announced);
    RETURN_IF_ERROR(insert.Run().status());
  }
  return absl::OkStatus();
}

absl::Status WriteDown(Connection& connection, const RecordRules& rules, absl::Time now) {
  RETURN_IF_ERROR(InsertIssues(connection, rules, now));
  RETURN_IF_ERROR(InsertRejections(connection, rules, now));
  RETURN_IF_ERROR(UpdateCoupons(connection, rules));
  return InsertProgress(connection, rules);
}

/// Between two looks at whether the lock is still held: a rebuild waits for the recorders for up to
/// 30 s. A process that stands still in the middle of one holds the others up for so long.
constexpr int kGatesLockIdleSeconds = 60;

/// A lock by name in the database server, which ends with its connection at the latest.
class MysqlGateLock final : public coupon::GateLock {
 public:
  explicit MysqlGateLock(ConnectionPool::Lease connection) : connection_(std::move(connection)) {}
  MysqlGateLock(const MysqlGateLock&) = delete;
  MysqlGateLock& operator=(const MysqlGateLock&) = delete;
  ~MysqlGateLock() override {
    Ask("SELECT COALESCE(RELEASE_LOCK(" ECOM_GATES_LOCK_NAME "), 0)");
    connection_->Discard();  // its session is not like the others'
  }

  bool Held() override {
    return Ask("SELECT COALESCE(IS_USED_LOCK(" ECOM_GATES_LOCK_NAME ") = CONNECTION_ID(), 0)");
  }

 private:
  bool Ask(const std::string& sql) {
    auto select = connection_->Prepare(sql);
    if (!select.ok()) return false;
    const auto row = select->Step();
    return row.ok() && *row && select->Int(0) == 1;
  }

  ConnectionPool::Lease connection_;
};

}  // namespace

absl::StatusOr<std::vector<std::optional<Coupon>>> MysqlCouponStore::FindCoupons(
    std::span<const CouponId> ids) {
  std::vector<std::optional<Coupon>> coupons;
  if (ids.empty()) return coupons;
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  absl::flat_hash_map<CouponId, Coupon> found;
  RETURN_IF_ERROR(
      SelectByIds(*connection, ECOM_SELECT_COUPON "WHERE id", "", ids, [&](const Statement& row) {
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

absl::StatusOr<std::vector<RecordResult>> MysqlCouponStore::Record(
    std::span<const LogRecord> batch, const coupon::LogPositions& announced) {
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*connection));
  RecordRules rules(batch, announced);
  RETURN_IF_ERROR(Learn(*connection, rules));
  const absl::Time now = clock_.Now();
  std::vector<RecordResult> results = rules.Decide(now);
  RETURN_IF_ERROR(WriteDown(*connection, rules, now));
  RETURN_IF_ERROR(transaction.Commit());
  return results;
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
  // Barriers may be those of an earlier coupon with this id, which a person has replaced.
  ASSIGN_OR_RETURN(Statement update,
                   connection->Prepare("UPDATE coupons SET gate_generation = 1 + GREATEST("
                                       "gate_generation, (SELECT COALESCE(MAX(gate_generation), 0) "
                                       "FROM gate_barriers WHERE coupon_id = ?)), "
                                       "gate_home = '' WHERE id = ?"));
  RETURN_IF_ERROR(update.Bind(id.value, id.value).Run().status());
  ASSIGN_OR_RETURN(std::optional<Coupon> coupon, FindCoupon(*connection, id));
  RETURN_IF_ERROR(transaction.Commit());
  if (!coupon) return absl::NotFoundError(absl::StrCat("no coupon ", id.value));
  return *std::move(coupon);
}

absl::StatusOr<std::unique_ptr<coupon::GateLock>> MysqlCouponStore::LockGates(absl::Duration wait) {
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  RETURN_IF_ERROR(
      connection->Execute(absl::StrCat("SET SESSION wait_timeout = ", kGatesLockIdleSeconds)));
  ASSIGN_OR_RETURN(
      Statement select,
      connection->Prepare("SELECT COALESCE(GET_LOCK(" ECOM_GATES_LOCK_NAME ", ?), 0)"));
  // Whole seconds: MySQL rounds, and MariaDB before 10.0.2 would wait for ever.
  const int64_t wait_s = absl::ToInt64Seconds(wait);
  ASSIGN_OR_RETURN(const bool answered, select.Bind(wait_s).Step());
  if (!answered || select.Int(0) != 1) {
    connection->Discard();
    return nullptr;
  }
  return std::make_unique<MysqlGateLock>(std::move(connection));
}

absl::Status MysqlCouponStore::SetHome(CouponId id, Generation generation,
                                       const std::string& home) {
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  // The home stays or becomes the same: so it is looked at, not the number of changed rows.
  ASSIGN_OR_RETURN(Statement update, connection->Prepare("UPDATE coupons SET gate_home = ? "
                                                         "WHERE id = ? AND gate_generation = ?"));
  RETURN_IF_ERROR(update.Bind(home, id.value, generation.value).Run().status());
  ASSIGN_OR_RETURN(const std::optional<Coupon> coupon, FindCoupon(*connection, id));
  if (coupon && coupon->gate_generation == generation && coupon->gate_home == home) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError("the gate is at another generation by now");
}

absl::StatusOr<Generation> MysqlCouponStore::PassedBarrier(CouponId id, int partitions) {
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  ASSIGN_OR_RETURN(
      Statement select,
      connection->Prepare("SELECT COUNT(*), COALESCE(MIN(gate_generation), 0) FROM gate_barriers "
                          "WHERE coupon_id = ? AND log_partition < ?"));
  RETURN_IF_ERROR(select.Bind(id.value, partitions).Step().status());
  return select.Int(0) == partitions ? Generation{select.Int(1)} : Generation{};
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
