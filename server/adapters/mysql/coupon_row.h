#pragma once

#include <string>

#include "adapters/mysql/connection.h"
#include "coupon/coupon.h"

// How a coupon is read from its table. For this room's .cc files only.

#define ECOM_SELECT_COUPON                                                        \
  "SELECT id, name, incarnation, total_quantity, available_quantity, starts_at, " \
  "ends_at, gate_generation, gate_home FROM coupons "

namespace ecom::adapters::mysql {

/// Reads the columns that ECOM_SELECT_COUPON names.
inline coupon::Coupon ReadCoupon(const Statement& row) {
  return {.id = {row.Int(0)},
          .name = std::string(row.Text(1)),
          .incarnation = std::string(row.Text(2)),
          .total_quantity = row.Int(3),
          .available_quantity = row.Int(4),
          .starts_at = row.Time(5),
          .ends_at = row.Time(6),
          .gate_generation = {row.Int(7)},
          .gate_home = std::string(row.Text(8))};
}

}  // namespace ecom::adapters::mysql
