#include "adapters/embedded/coupon_audit.h"

#include <sqlite3.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "adapters/embedded/coupon_row.h"
#include "adapters/embedded/schema.h"
#include "base/status_macros.h"

namespace ecom::adapters::embedded {
namespace {

using coupon::RecordedIssue;
using coupon::RecordedRejection;
using coupon::RequestId;

/// A server's checkpoint holds a reader up for less than that.
constexpr int kBusyTimeoutMs = 2000;

RecordedIssue IssueOf(const Statement& row) {
  return {.user = {row.Int(0)}, .request = RequestId::Parse(row.Text(1)), .issued_at = row.Time(2)};
}

RecordedRejection RejectionOf(const Statement& row) {
  return {.user = {row.Int(0)},
          .request = RequestId::Parse(row.Text(1)),
          .reason = std::string(row.Text(2)),
          .rejected_at = row.Time(3)};
}

/// Appends what `select` answers to `items`.
template <typename Item, typename ItemOf>
absl::Status ReadAll(Statement& select, size_t items_max, ItemOf item_of,
                     std::vector<Item>& items) {
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, select.Step());
    if (!more) return absl::OkStatus();
    if (items.size() >= items_max) {
      return absl::ResourceExhaustedError(absl::StrCat("more than ", items_max, " rows"));
    }
    items.push_back(item_of(select));
  }
}

absl::StatusOr<int64_t> ReadInt(Connection& connection, const char* sql) {
  ASSIGN_OR_RETURN(Statement select, connection.Prepare(sql));
  RETURN_IF_ERROR(select.Step().status());
  return select.Int(0);
}

absl::Status CheckVersion(Connection& connection, const std::string& path) {
  const auto application = ReadInt(connection, "PRAGMA application_id");
  const auto version = ReadInt(connection, "PRAGMA user_version");
  if (absl::IsUnavailable(application.status())) return application.status();
  if (!application.ok() || !version.ok() || *application != kApplicationId) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is not an ecom data file"));
  }
  if (*version != kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " has schema version ", *version, ", this program reads ", kSchemaVersion,
        *version < kSchemaVersion ? ": start the server once" : ": use a newer program"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddedCouponAudit>> EmbeddedCouponAudit::Open(
    const std::string& path) {
  auto connection = Connection::Open(path, SQLITE_OPEN_READONLY);
  if (!connection.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is no data file ", path, " that can be read"));
  }
  RETURN_IF_ERROR((*connection)->Execute(absl::StrCat("PRAGMA busy_timeout = ", kBusyTimeoutMs)));
  RETURN_IF_ERROR(CheckVersion(**connection, path));
  return std::unique_ptr<EmbeddedCouponAudit>(new EmbeddedCouponAudit(*std::move(connection)));
}

absl::Status EmbeddedCouponAudit::Read(absl::FunctionRef<absl::Status(Connection&)> read) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(connection_->Run("BEGIN"));
  absl::Status status = read(*connection_);
  const absl::Status ended = connection_->Run("COMMIT");
  if (status.ok() ? ended.ok() : absl::IsResourceExhausted(status)) return status;
  return absl::UnavailableError((status.ok() ? ended : status).message());
}

absl::StatusOr<coupon::CouponRecords> EmbeddedCouponAudit::ReadCoupon(coupon::CouponId id,
                                                                      size_t rows_max) {
  coupon::CouponRecords records;
  RETURN_IF_ERROR(Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(records.coupon, FindCoupon(connection, id));
    ASSIGN_OR_RETURN(Statement rows,
                     connection.Prepare("SELECT user_id, request_id, issued_at_us FROM "
                                        "coupon_issues WHERE coupon_id = ? ORDER BY user_id"));
    RETURN_IF_ERROR(ReadAll(rows.Bind(id.value), rows_max, IssueOf, records.rows));
    ASSIGN_OR_RETURN(Statement rejections,
                     connection.Prepare("SELECT user_id, request_id, reason, rejected_at_us FROM "
                                        "coupon_rejections WHERE coupon_id = ? ORDER BY user_id, "
                                        "rejected_at_us"));
    return ReadAll(rejections.Bind(id.value), rows_max - records.rows.size(), RejectionOf,
                   records.rejections);
  }));
  return records;
}

absl::StatusOr<coupon::HolderRecords> EmbeddedCouponAudit::ReadHolder(
    const coupon::Holder& holder) {
  /// Each has another request id, and a user has few.
  constexpr size_t kRejectionsMax = 1000;
  coupon::HolderRecords records;
  RETURN_IF_ERROR(Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(records.coupon, FindCoupon(connection, holder.coupon));
    ASSIGN_OR_RETURN(Statement row,
                     connection.Prepare("SELECT user_id, request_id, issued_at_us FROM "
                                        "coupon_issues WHERE coupon_id = ? AND user_id = ?"));
    ASSIGN_OR_RETURN(const bool issued, row.Bind(holder.coupon.value, holder.user.value).Step());
    if (issued) records.row = IssueOf(row);
    ASSIGN_OR_RETURN(Statement rejections,
                     connection.Prepare("SELECT user_id, request_id, reason, rejected_at_us FROM "
                                        "coupon_rejections WHERE coupon_id = ? AND user_id = ? "
                                        "ORDER BY rejected_at_us"));
    RETURN_IF_ERROR(ReadAll(rejections.Bind(holder.coupon.value, holder.user.value), kRejectionsMax,
                            RejectionOf, records.rejections));
    ASSIGN_OR_RETURN(Statement barriers,
                     connection.Prepare("SELECT log_partition, gate_generation "
                                        "FROM gate_barriers WHERE coupon_id = ?"));
    barriers.Bind(holder.coupon.value);
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, barriers.Step());
      if (!more) return absl::OkStatus();
      records.barriers[static_cast<coupon::LogPartition>(barriers.Int(0))] = {barriers.Int(1)};
    }
  }));
  return records;
}

absl::StatusOr<std::vector<coupon::LogRecord>> EmbeddedCouponAudit::ReadWaiting(
    const coupon::Holder& holder) {
  std::vector<coupon::LogRecord> records;
  RETURN_IF_ERROR(Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(
        Statement select,
        connection.Prepare("SELECT position, request_id, incarnation, gate_generation, "
                           "claimed_at_us FROM claim_log WHERE coupon_id = ? AND user_id = ? "
                           "ORDER BY position LIMIT 1000"));
    select.Bind(holder.coupon.value, holder.user.value);
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, select.Step());
      if (!more) return absl::OkStatus();
      coupon::LogRecord& record = records.emplace_back();
      record.position = select.Int(0);
      const std::optional<RequestId> request = RequestId::Parse(select.Text(1));
      if (!request) {
        record.record = coupon::Malformed{.reason = "a record without a request id"};
        continue;
      }
      record.record = coupon::AdmittedClaim{.holder = holder,
                                            .request = *request,
                                            .incarnation = std::string(select.Text(2)),
                                            .generation = {select.Int(3)},
                                            .claimed_at = select.Time(4)};
    }
  }));
  return records;
}

absl::StatusOr<std::pair<coupon::LogPositions, coupon::LogPositions>>
EmbeddedCouponAudit::ReadEndsAndCommitted() {
  std::pair<coupon::LogPositions, coupon::LogPositions> positions;
  RETURN_IF_ERROR(Read([&](Connection& connection) -> absl::Status {
    // What is recorded is deleted.
    ASSIGN_OR_RETURN(positions.first[0],
                     ReadInt(connection,
                             "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = "
                             "'claim_log'), 0) + 1"));
    ASSIGN_OR_RETURN(positions.second[0],
                     ReadInt(connection,
                             "SELECT COALESCE((SELECT MIN(position) FROM claim_log), (SELECT seq + "
                             "1 FROM sqlite_sequence WHERE name = 'claim_log'), 1)"));
    return absl::OkStatus();
  }));
  return positions;
}

absl::StatusOr<std::vector<KeptLetter>> EmbeddedCouponAudit::ReadDeadLetters(int64_t id_min,
                                                                             int letters_max) {
  std::vector<KeptLetter> letters;
  RETURN_IF_ERROR(Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement select,
                     connection.Prepare("SELECT id, log_position, reason, key, payload FROM "
                                        "dead_letters WHERE id >= ? ORDER BY id LIMIT ?"));
    select.Bind(id_min, letters_max);
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, select.Step());
      if (!more) return absl::OkStatus();
      letters.push_back({.id = select.Int(0),
                         .log_position = select.Int(1),
                         .reason = std::string(select.Text(2)),
                         .key = std::string(select.Text(3)),
                         .payload = std::string(select.Text(4))});
    }
  }));
  return letters;
}

absl::StatusOr<int64_t> EmbeddedCouponAudit::CountDeadLetters() {
  int64_t count = 0;
  RETURN_IF_ERROR(Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(count, ReadInt(connection, "SELECT COUNT(*) FROM dead_letters"));
    return absl::OkStatus();
  }));
  return count;
}

}  // namespace ecom::adapters::embedded
