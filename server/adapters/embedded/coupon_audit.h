#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "adapters/embedded/sqlite.h"
#include "coupon/audit.h"
#include "coupon/claim_log.h"

namespace ecom::adapters::embedded {

/// A dead letter in the data file.
struct KeptLetter {
  int64_t id = 0;
  coupon::LogPosition log_position = 0;
  std::string reason;
  std::string key;
  std::string payload;
};

/// Reads the data file beside the server that has it open, or without one: takes no lock that a
/// server takes, and writes nothing. Each call sees the file as of one moment. Thread-safe; callers
/// take turns.
class EmbeddedCouponAudit final : public coupon::StoreAudit {
 public:
  /// FAILED_PRECONDITION, with a message for the operator: there is no such file, it is not ours,
  /// or it is of another version.
  static absl::StatusOr<std::unique_ptr<EmbeddedCouponAudit>> Open(const std::string& path);

  absl::StatusOr<coupon::CouponRecords> ReadCoupon(coupon::CouponId coupon,
                                                   size_t rows_max) override;
  absl::StatusOr<coupon::HolderRecords> ReadHolder(const coupon::Holder& holder) override;

  /// The claims of one holder, up to 1,000, that are in the log and not yet recorded. One query, of
  /// the whole log. UNAVAILABLE.
  absl::StatusOr<std::vector<coupon::LogRecord>> ReadWaiting(const coupon::Holder& holder);

  /// How long the log is, and how far it is recorded. UNAVAILABLE.
  absl::StatusOr<std::pair<coupon::LogPositions, coupon::LogPositions>> ReadEndsAndCommitted();

  /// Up to `letters_max` dead letters with ids of `id_min` and above, by id. UNAVAILABLE.
  absl::StatusOr<std::vector<KeptLetter>> ReadDeadLetters(int64_t id_min, int letters_max);

  absl::StatusOr<int64_t> CountDeadLetters();

 private:
  explicit EmbeddedCouponAudit(std::unique_ptr<Connection> connection)
      : connection_(std::move(connection)) {}

  /// Runs `read` on one view of the file.
  absl::Status Read(absl::FunctionRef<absl::Status(Connection&)> read);

  std::mutex mutex_;
  const std::unique_ptr<Connection> connection_;
};

}  // namespace ecom::adapters::embedded
