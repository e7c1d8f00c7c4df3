#include "adapters/mysql/coupon_audit.h"

#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "adapters/mysql/coupon_row.h"
#include "base/status_macros.h"

namespace ecom::adapters::mysql {
namespace {

using coupon::Coupon;
using coupon::CouponId;
using coupon::RecordedIssue;
using coupon::RecordedRejection;
using coupon::RequestId;

/// Some MB in the driver, which reads a result whole; a second at most for a slow disk.
constexpr int kRowsInPage = 10000;

/// All reads of one transaction see the database as of the first one.
absl::StatusOr<Transaction> BeginSnapshot(Connection& connection) {
  // Counts for the next transaction only.
  RETURN_IF_ERROR(connection.Execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"));
  return Transaction::Begin(connection);
}

absl::StatusOr<std::optional<Coupon>> FindCoupon(Connection& connection, CouponId id) {
  ASSIGN_OR_RETURN(Statement select, connection.Prepare(ECOM_SELECT_COUPON "WHERE id = ?"));
  ASSIGN_OR_RETURN(const bool found, select.Bind(id.value).Step());
  if (!found) return std::nullopt;
  return ReadCoupon(select);
}

RecordedIssue IssueOf(const Statement& row) {
  return {.user = {row.Int(0)}, .request = RequestId::Parse(row.Text(1)), .issued_at = row.Time(2)};
}

RecordedRejection RejectionOf(const Statement& row) {
  return {.user = {row.Int(0)},
          .request = RequestId::Parse(row.Text(1)),
          .reason = std::string(row.Text(2)),
          .rejected_at = row.Time(3)};
}

absl::Status ReadRows(Connection& connection, CouponId id, size_t rows_max,
                      std::vector<RecordedIssue>& rows) {
  int64_t next = std::numeric_limits<int64_t>::min();
  for (;;) {
    ASSIGN_OR_RETURN(Statement select,
                     connection.Prepare("SELECT user_id, request_id, issued_at FROM coupon_issues "
                                        "WHERE coupon_id = ? AND user_id >= ? ORDER BY user_id "
                                        "LIMIT ?"));
    select.Bind(id.value, next, kRowsInPage);
    int count = 0;
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, select.Step());
      if (!more) break;
      rows.push_back(IssueOf(select));
      ++count;
    }
    if (rows.size() > rows_max) {
      return absl::ResourceExhaustedError(absl::StrCat("more than ", rows_max, " rows"));
    }
    if (count < kRowsInPage || rows.back().user.value == std::numeric_limits<int64_t>::max()) break;
    next = rows.back().user.value + 1;
  }
  return absl::OkStatus();
}

absl::Status ReadRejections(Statement& select, size_t rejections_max,
                            std::vector<RecordedRejection>& rejections) {
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, select.Step());
    if (!more) return absl::OkStatus();
    if (rejections.size() == rejections_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("more than ", rejections_max, " rejections"));
    }
    rejections.push_back(RejectionOf(select));
  }
}

}  // namespace

absl::StatusOr<coupon::CouponRecords> MysqlCouponAudit::ReadCoupon(CouponId id, size_t rows_max) {
  coupon::CouponRecords records;
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  ASSIGN_OR_RETURN(Transaction transaction, BeginSnapshot(*connection));
  ASSIGN_OR_RETURN(records.coupon, FindCoupon(*connection, id));
  RETURN_IF_ERROR(ReadRows(*connection, id, rows_max, records.rows));
  ASSIGN_OR_RETURN(Statement select,
                   connection->Prepare("SELECT user_id, request_id, reason, rejected_at FROM "
                                       "coupon_rejections WHERE coupon_id = ? "
                                       "ORDER BY user_id, rejected_at LIMIT ?"));
  const size_t left = rows_max - records.rows.size();
  select.Bind(id.value, static_cast<int64_t>(left) + 1);
  RETURN_IF_ERROR(ReadRejections(select, left, records.rejections));
  RETURN_IF_ERROR(transaction.Commit());
  return records;
}

absl::StatusOr<coupon::HolderRecords> MysqlCouponAudit::ReadHolder(const coupon::Holder& holder) {
  /// Each has another request id, and a user has few.
  constexpr size_t kRejectionsMax = 1000;
  coupon::HolderRecords records;
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  ASSIGN_OR_RETURN(Transaction transaction, BeginSnapshot(*connection));
  ASSIGN_OR_RETURN(records.coupon, FindCoupon(*connection, holder.coupon));

  ASSIGN_OR_RETURN(Statement row,
                   connection->Prepare("SELECT user_id, request_id, issued_at FROM coupon_issues "
                                       "WHERE coupon_id = ? AND user_id = ?"));
  ASSIGN_OR_RETURN(const bool issued, row.Bind(holder.coupon.value, holder.user.value).Step());
  if (issued) records.row = IssueOf(row);

  ASSIGN_OR_RETURN(Statement rejections,
                   connection->Prepare("SELECT user_id, request_id, reason, rejected_at FROM "
                                       "coupon_rejections WHERE coupon_id = ? AND user_id = ? "
                                       "ORDER BY rejected_at"));
  rejections.Bind(holder.coupon.value, holder.user.value);
  RETURN_IF_ERROR(ReadRejections(rejections, kRejectionsMax, records.rejections));

  ASSIGN_OR_RETURN(Statement barriers,
                   connection->Prepare("SELECT log_partition, gate_generation FROM gate_barriers "
                                       "WHERE coupon_id = ?"));
  barriers.Bind(holder.coupon.value);
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, barriers.Step());
    if (!more) break;
    records.barriers[static_cast<coupon::LogPartition>(barriers.Int(0))] = {barriers.Int(1)};
  }
  RETURN_IF_ERROR(transaction.Commit());
  return records;
}

}  // namespace ecom::adapters::mysql
