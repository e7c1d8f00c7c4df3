#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coupon/coupon.h"
#include "product/product.h"

namespace ecom::app {

/// The coupons and products that a fresh installation begins with.
struct SampleData {
  std::vector<coupon::Coupon> coupons;
  std::vector<product::Product> products;
};

/// Makes the sample data: coupon 1 with `coupon_stock` units, open from `now` (rounded down to the
/// second) for a year; 2 with five units, open as long; 3 not open until 2099; 4 closed since
/// 2000; and products 1 to 100. Each call gives the coupons new incarnations, so whoever loads it
/// keeps the rows that are there already. Thread-safe; does no I/O.
SampleData MakeSampleData(absl::Time now, int64_t coupon_stock);

/// The same data, coupon 1 with 1000 units, as SQL for MySQL 8.0 and MariaDB 10.11 that may be
/// run again and again: the text of bench/k6/setup-test-data.sql.
std::string SampleDataSql();

}  // namespace ecom::app
