#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "adapters/embedded/database.h"
#include "base/clock.h"
#include "coupon/store.h"

namespace ecom::adapters::embedded {

/// Coupons, issues and rejections in the data file.
class EmbeddedCouponStore final : public coupon::CouponStore, public coupon::GateAuthority {
 public:
  /// `database` and `clock`, which tells when a coupon was issued, must outlive the store.
  EmbeddedCouponStore(Database& database, const base::Clock& clock)
      : database_(database), clock_(clock) {}

  absl::StatusOr<std::vector<std::optional<coupon::Coupon>>> FindCoupons(
      std::span<const coupon::CouponId> ids) override;
  absl::StatusOr<std::vector<std::optional<coupon::Issue>>> FindIssues(
      std::span<const coupon::Holder> holders) override;
  absl::StatusOr<std::vector<coupon::RecordResult>> Record(
      std::span<const coupon::LogRecord> batch, const coupon::LogPositions& announced) override;
  absl::StatusOr<std::vector<coupon::Coupon>> FindArmable(absl::Time now) override;

  absl::StatusOr<std::unique_ptr<coupon::GateLock>> LockGates(absl::Duration wait) override;
  absl::StatusOr<coupon::Coupon> AdvanceGeneration(coupon::CouponId coupon) override;
  absl::Status SetHome(coupon::CouponId coupon, coupon::Generation generation,
                       const std::string& home) override;
  absl::StatusOr<coupon::Generation> PassedBarrier(coupon::CouponId coupon,
                                                   int partitions) override;
  absl::StatusOr<coupon::GateContents> ReadContents(coupon::CouponId coupon) override;

 private:
  Database& database_;
  const base::Clock& clock_;
};

}  // namespace ecom::adapters::embedded
