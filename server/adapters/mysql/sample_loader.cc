#include "adapters/mysql/sample_loader.h"

#include "base/status_macros.h"

namespace ecom::adapters::mysql {
namespace {

// Only what is there by the key is passed over; each other error stays one.

absl::Status InsertCoupon(Connection& connection, const coupon::Coupon& coupon) {
  ASSIGN_OR_RETURN(
      Statement insert,
      connection.Prepare(
          "INSERT INTO coupons (id, name, total_quantity, available_quantity, "
          "starts_at, ends_at, gate_generation, incarnation) "
          "VALUES (?, ?, ?, ?, ?, ?, ?, COALESCE(NULLIF(?, ''), CAST(UUID() AS CHAR))) "
          "ON DUPLICATE KEY UPDATE id = coupons.id"));
  return insert
      .Bind(coupon.id.value, coupon.name, coupon.total_quantity, coupon.available_quantity,
            coupon.starts_at, coupon.ends_at, coupon.gate_generation.value, coupon.incarnation)
      .Run()
      .status();
}

absl::Status InsertProduct(Connection& connection, const product::Product& product) {
  ASSIGN_OR_RETURN(
      Statement insert,
      connection.Prepare("INSERT INTO products (id, category_id, name, price, stock_quantity, "
                         "is_active, view_count, created_at, updated_at) "
                         "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                         "ON DUPLICATE KEY UPDATE id = products.id"));
  return insert
      .Bind(product.id.value, product.category.value, product.name, Hundredths{product.price_minor},
            product.stock_quantity, product.is_active, product.view_count, product.created_at,
            product.updated_at)
      .Run()
      .status();
}

}  // namespace

absl::Status LoadSampleData(ConnectionPool& pool, std::span<const coupon::Coupon> coupons,
                            std::span<const product::Product> products) {
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool.Acquire());
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*connection));
  for (const coupon::Coupon& coupon : coupons) {
    RETURN_IF_ERROR(InsertCoupon(*connection, coupon));
  }
  for (const product::Product& product : products) {
    RETURN_IF_ERROR(InsertProduct(*connection, product));
  }
  return transaction.Commit();
}

}  // namespace ecom::adapters::mysql
