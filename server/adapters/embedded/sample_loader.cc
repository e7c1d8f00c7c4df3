#include "adapters/embedded/sample_loader.h"

#include "base/status_macros.h"

namespace ecom::adapters::embedded {
namespace {

absl::Status InsertCoupon(Connection& connection, const coupon::Coupon& coupon) {
  ASSIGN_OR_RETURN(
      Statement insert,
      connection.Prepare("INSERT INTO coupons (id, name, total_quantity, available_quantity, "
                         "starts_at_us, ends_at_us, gate_generation) VALUES (?, ?, ?, ?, ?, ?, ?) "
                         "ON CONFLICT (id) DO NOTHING"));
  RETURN_IF_ERROR(insert
                      .Bind(coupon.id.value, coupon.name, coupon.total_quantity,
                            coupon.available_quantity, coupon.starts_at, coupon.ends_at,
                            coupon.gate_generation.value)
                      .Run());
  const bool inserted = connection.Changes() == 1;
  if (!inserted || coupon.incarnation.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(Statement update,
                   connection.Prepare("UPDATE coupons SET incarnation = ? WHERE id = ?"));
  return update.Bind(coupon.incarnation, coupon.id.value).Run();
}

absl::Status InsertProduct(Connection& connection, const product::Product& product) {
  ASSIGN_OR_RETURN(
      Statement insert,
      connection.Prepare("INSERT INTO products (id, category_id, name, price_minor, "
                         "stock_quantity, is_active, view_count, created_at_us, updated_at_us) "
                         "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"));
  return insert
      .Bind(product.id.value, product.category.value, product.name, product.price_minor,
            product.stock_quantity, product.is_active, product.view_count, product.created_at,
            product.updated_at)
      .Run();
}

}  // namespace

absl::Status LoadSampleData(Database& database, std::span<const coupon::Coupon> coupons,
                            std::span<const product::Product> products) {
  return database.Write([&](Connection& connection) -> absl::Status {
    for (const coupon::Coupon& coupon : coupons) {
      RETURN_IF_ERROR(InsertCoupon(connection, coupon));
    }
    for (const product::Product& product : products) {
      RETURN_IF_ERROR(InsertProduct(connection, product));
    }
    return absl::OkStatus();
  });
}

}  // namespace ecom::adapters::embedded
