#pragma once

#include <span>

#include "absl/status/status.h"
#include "adapters/mysql/connection_pool.h"
#include "coupon/coupon.h"
#include "product/product.h"

namespace ecom::adapters::mysql {

/// Inserts each coupon and product whose id is not there yet, in one transaction; leaves the
/// others as they are. So loading the same again changes nothing. A coupon with an empty
/// incarnation gets a random one. Blocks. Thread-safe.
///
/// * UNAVAILABLE: unknown whether it was loaded; load again.
/// * INVALID_ARGUMENT: a value breaks a rule of the schema, such as a price out of range; nothing
///   was changed.
absl::Status LoadSampleData(ConnectionPool& pool, std::span<const coupon::Coupon> coupons,
                            std::span<const product::Product> products);

}  // namespace ecom::adapters::mysql
