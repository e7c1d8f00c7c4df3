#pragma once

#include "adapters/mysql/connection_pool.h"
#include "coupon/audit.h"

namespace ecom::adapters::mysql {

/// Reads what the database holds of a coupon, each time in one consistent view.
class MysqlCouponAudit final : public coupon::StoreAudit {
 public:
  /// `pool` must outlive the audit.
  explicit MysqlCouponAudit(ConnectionPool& pool) : pool_(pool) {}

  absl::StatusOr<coupon::CouponRecords> ReadCoupon(coupon::CouponId coupon,
                                                   size_t rows_max) override;
  absl::StatusOr<coupon::HolderRecords> ReadHolder(const coupon::Holder& holder) override;

 private:
  ConnectionPool& pool_;
};

}  // namespace ecom::adapters::mysql
