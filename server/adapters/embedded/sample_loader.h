#pragma once

#include <span>

#include "absl/status/status.h"
#include "adapters/embedded/database.h"
#include "coupon/coupon.h"
#include "product/product.h"

namespace ecom::adapters::embedded {

/// Inserts each coupon and product whose id is not there yet, in one transaction; leaves the
/// others as they are. So loading the same again changes nothing. A coupon with an empty
/// incarnation gets a random one. Blocks for an fsync. Thread-safe.
///
/// * UNAVAILABLE: nothing was changed; load again.
/// * ALREADY_EXISTS: a value breaks a rule of the schema, such as a price out of range; nothing
///   was changed.
absl::Status LoadSampleData(Database& database, std::span<const coupon::Coupon> coupons,
                            std::span<const product::Product> products);

}  // namespace ecom::adapters::embedded
