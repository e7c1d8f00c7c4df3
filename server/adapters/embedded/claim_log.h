#pragma once

#include <condition_variable>
#include <mutex>
#include <span>
#include <vector>

#include "adapters/embedded/database.h"
#include "coupon/claim_log.h"

namespace ecom::adapters::embedded {

/// The claim log as a table of the data file, one partition: appends share the file's group commit,
/// and what is committed by the reader is deleted.
class EmbeddedClaimLog final : public coupon::ClaimLog,
                               public coupon::ClaimSource,
                               public coupon::LogProgress,
                               public coupon::DeadLetters {
 public:
  /// `database` must outlive the log.
  explicit EmbeddedClaimLog(Database& database) : database_(database) {}

  absl::Status Append(std::span<const coupon::AdmittedClaim> claims) override;
  absl::StatusOr<int> AppendBarrier(const coupon::Barrier& barrier) override;
  absl::Status Ready() const override { return absl::OkStatus(); }

  absl::StatusOr<std::vector<coupon::LogRecord>> Poll(int records_max,
                                                      absl::Duration timeout) override;
  absl::Status Commit(std::span<const coupon::LogRecord> records) override;
  void Rewind() override;

  absl::StatusOr<coupon::LogPositions> Ends() override;
  absl::StatusOr<coupon::LogPositions> Committed() override;

  absl::Status Add(std::span<const coupon::DeadRecord> records) override;
  /// How many there are. One query; UNAVAILABLE.
  absl::StatusOr<int64_t> CountDeadLetters();

 private:
  absl::Status Insert(std::span<const coupon::AdmittedClaim> claims);
  void Announce();
  absl::StatusOr<std::vector<coupon::LogRecord>> ReadNext(int records_max);
  absl::StatusOr<int64_t> ReadInt(const char* sql);

  Database& database_;
  std::mutex mutex_;
  std::condition_variable appended_;
  bool unread_ = true;                 // what an earlier process left may be there
  coupon::LogPosition delivered_ = 0;  // only the one caller of Poll touches it
};

}  // namespace ecom::adapters::embedded
