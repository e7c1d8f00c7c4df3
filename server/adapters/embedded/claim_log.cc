#include "adapters/embedded/claim_log.h"

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace ecom::adapters::embedded {

using coupon::AdmittedClaim;
using coupon::LogRecord;

absl::Status EmbeddedClaimLog::Insert(std::span<const AdmittedClaim> claims) {
  absl::Status durable = database_.Write([claims](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(
        Statement insert,
        connection.Prepare("INSERT INTO claim_log (coupon_id, user_id, request_id, "
                           "incarnation, gate_generation, claimed_at_us, trace_parent) "
                           "VALUES (?, ?, ?, ?, ?, ?, ?)"));
    for (const AdmittedClaim& claim : claims) {
      const std::string request = claim.request.ToString();
      insert.Bind(claim.holder.coupon.value, claim.holder.user.value, request, claim.incarnation,
                  claim.generation.value, claim.claimed_at, claim.trace_parent);
      RETURN_IF_ERROR(insert.Run());
      insert.Reset();
    }
    return absl::OkStatus();
  });
  if (durable.ok()) Announce();
  return durable;
}

absl::StatusOr<int> EmbeddedClaimLog::AppendBarrier(const coupon::Barrier& barrier) {
  RETURN_IF_ERROR(database_.Write([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(
        Statement insert,
        connection.Prepare("INSERT INTO claim_log (coupon_id, incarnation, gate_generation) "
                           "VALUES (?, ?, ?)"));
    return insert.Bind(barrier.coupon.value, barrier.incarnation, barrier.generation.value).Run();
  }));
  Announce();
  return 1;
}

void EmbeddedClaimLog::Announce() {
  {
    std::lock_guard lock(mutex_);
    unread_ = true;
  }
  appended_.notify_one();
}

absl::StatusOr<std::vector<LogRecord>> EmbeddedClaimLog::Poll(int records_max,
                                                              absl::Duration timeout) {
  const auto give_up = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(timeout);
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (!appended_.wait_until(lock, give_up, [this] { return unread_; })) {
        return std::vector<LogRecord>{};
      }
      unread_ = false;
    }
    absl::StatusOr<std::vector<LogRecord>> records = ReadNext(records_max);
    // A full answer, or none, says nothing about the rest.
    if (!records.ok() || records->size() == static_cast<size_t>(records_max)) Announce();
    if (!records.ok() || !records->empty()) return records;
  }
}

absl::StatusOr<std::vector<LogRecord>> EmbeddedClaimLog::ReadNext(int records_max) {
  std::vector<LogRecord> records;
  RETURN_IF_ERROR(database_.Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement select,
                     connection.Prepare("SELECT position, coupon_id, user_id, request_id, "
                                        "incarnation, gate_generation, claimed_at_us, trace_parent "
                                        "FROM claim_log WHERE position > ? "
                                        "ORDER BY position LIMIT ?"));
    select.Bind(delivered_, records_max);
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, select.Step());
      if (!more) return absl::OkStatus();
      const coupon::CouponId coupon{select.Int(1)};
      const coupon::Generation generation{select.Int(5)};
      LogRecord& record = records.emplace_back();
      record.position = select.Int(0);
      if (select.IsNull(2)) {
        record.record = coupon::Barrier{
            .coupon = coupon, .generation = generation, .incarnation = std::string(select.Text(4))};
        continue;
      }
      const std::optional<coupon::RequestId> request = coupon::RequestId::Parse(select.Text(3));
      if (!request) {
        record.record = coupon::Malformed{.reason = "the request id is no UUID",
                                          .key = absl::StrCat(select.Int(2)),
                                          .payload = std::string(select.Text(3))};
        continue;
      }
      record.record = AdmittedClaim{.holder = {.coupon = coupon, .user = {select.Int(2)}},
                                    .request = *request,
                                    .incarnation = std::string(select.Text(4)),
                                    .generation = generation,
                                    .claimed_at = select.Time(6),
                                    .trace_parent = std::string(select.Text(7))};
    }
  }));
  if (!records.empty()) delivered_ = records.back().position;
  return records;
}

absl::Status EmbeddedClaimLog::Commit(std::span<const LogRecord> records) {
  if (records.empty()) return absl::OkStatus();
  return database_.Write([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement remove,
                     connection.Prepare("DELETE FROM claim_log WHERE position <= ?"));
    return remove.Bind(records.back().position).Run();
  });
}

void EmbeddedClaimLog::Rewind() {
  delivered_ = 0;  // what was committed is deleted
  Announce();
}

absl::StatusOr<coupon::LogPositions> EmbeddedClaimLog::Ends() {
  ASSIGN_OR_RETURN(
      const coupon::LogPosition end,
      ReadInt(
          "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'claim_log'), 0) + 1"));
  return coupon::LogPositions{{0, end}};
}

absl::StatusOr<coupon::LogPositions> EmbeddedClaimLog::Committed() {
  ASSIGN_OR_RETURN(const coupon::LogPosition committed,
                   ReadInt("SELECT COALESCE((SELECT MIN(position) FROM claim_log), "
                           "(SELECT seq + 1 FROM sqlite_sequence WHERE name = 'claim_log'), 1)"));
  return coupon::LogPositions{{0, committed}};
}

absl::StatusOr<int64_t> EmbeddedClaimLog::CountDeadLetters() {
  return ReadInt("SELECT COUNT(*) FROM dead_letters");
}

absl::StatusOr<int64_t> EmbeddedClaimLog::ReadInt(const char* sql) {
  int64_t value = 0;
  RETURN_IF_ERROR(database_.Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement select, connection.Prepare(sql));
    RETURN_IF_ERROR(select.Step().status());
    value = select.Int(0);
    return absl::OkStatus();
  }));
  return value;
}

absl::Status EmbeddedClaimLog::Add(std::span<const coupon::DeadRecord> records) {
  return database_.Write([records](Connection& connection) -> absl::Status {
    for (const coupon::DeadRecord& dead : records) {
      ASSIGN_OR_RETURN(Statement insert,
                       connection.Prepare("INSERT INTO dead_letters (log_position, reason, key, "
                                          "payload) VALUES (?, ?, ?, ?)"));
      std::string key, payload;
      if (const auto* malformed = std::get_if<coupon::Malformed>(&dead.record.record)) {
        key = malformed->key;
        payload = malformed->payload;
      } else if (const auto* claim = std::get_if<AdmittedClaim>(&dead.record.record)) {
        key = absl::StrCat(claim->holder.user.value);
        payload = absl::StrCat("coupon ", claim->holder.coupon.value, ", request ",
                               claim->request.ToString(), ", incarnation ", claim->incarnation);
      }
      RETURN_IF_ERROR(insert.Bind(dead.record.position, dead.reason, key, payload).Run());
    }
    return absl::OkStatus();
  });
}

}  // namespace ecom::adapters::embedded
