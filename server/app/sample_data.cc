#include "app/sample_data.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/civil_time.h"

namespace ecom::app {
namespace {

constexpr int64_t kSqlCouponStock = 1000;
constexpr int64_t kProducts = 100;
constexpr int64_t kCategories = 5;
constexpr int64_t kProductStock = 1000;
constexpr int64_t kMinorPerWon = 100;

/// A year, to which MySQL and C++ agree in leap years too.
constexpr int kOpenDays = 365;

/// Seoul has kept UTC+9, without summer time, since 1988.
absl::Time Seoul(absl::CivilSecond civil) {
  return absl::FromCivil(civil, absl::FixedTimeZone(9 * 60 * 60));
}

/// When a coupon is open.
struct Window {
  bool from_now = false;  ///< for kOpenDays, when set
  absl::Time starts_at;
  absl::Time ends_at;
};

struct SampleCoupon {
  int64_t id = 0;
  std::string_view name;
  int64_t quantity = 0;
  Window window;
};

std::vector<SampleCoupon> SampleCoupons(int64_t coupon_stock) {
  const Window open = {.from_now = true, .starts_at = {}, .ends_at = {}};
  const Window future = {.from_now = false,
                         .starts_at = Seoul(absl::CivilSecond(2099, 1, 1)),
                         .ends_at = Seoul(absl::CivilSecond(2100, 1, 1))};
  const Window past = {.from_now = false,
                       .starts_at = Seoul(absl::CivilSecond(1999, 1, 1)),
                       .ends_at = Seoul(absl::CivilSecond(2000, 1, 1))};
  return {
      {.id = 1, .name = "선착순 할인 쿠폰", .quantity = coupon_stock, .window = open},
      {.id = 2, .name = "선착순 5명 쿠폰", .quantity = 5, .window = open},
      {.id = 3, .name = "2099년 신년 쿠폰", .quantity = 1000, .window = future},
      {.id = 4, .name = "1999년 마감 쿠폰", .quantity = 1000, .window = past},
  };
}

std::vector<product::Product> SampleProducts() {
  const absl::Time created_at = Seoul(absl::CivilSecond(2025, 12, 25, 18, 2, 23));
  std::vector<product::Product> products;
  for (int64_t id = 1; id <= kProducts; ++id) {
    products.push_back({.id = {id},
                        .category = {1 + (id - 1) % kCategories},
                        .name = absl::StrCat("부하테스트상품_", id),
                        .price_minor = (10000 + 100 * id) * kMinorPerWon,
                        .stock_quantity = kProductStock,
                        .is_active = true,
                        .view_count = 0,
                        .created_at = created_at,
                        .updated_at = created_at});
  }
  return products;
}

/// A string literal; none of our names holds a quote or a backslash.
std::string Quoted(std::string_view text) { return absl::StrCat("'", std::string(text), "'"); }

std::string DateTime(absl::Time time) {
  return Quoted(absl::FormatTime("%Y-%m-%d %H:%M:%S", time, absl::UTCTimeZone()));
}

std::string CouponRow(const SampleCoupon& coupon) {
  const Window& window = coupon.window;
  // UTC_TIMESTAMP() without digits is rounded down to the second.
  const std::string starts_at = window.from_now ? "UTC_TIMESTAMP()" : DateTime(window.starts_at);
  const std::string ends_at = window.from_now
                                  ? absl::StrCat("UTC_TIMESTAMP() + INTERVAL ", kOpenDays, " DAY")
                                  : DateTime(window.ends_at);
  return absl::StrCat("  (", coupon.id, ", ", Quoted(coupon.name), ", ", coupon.quantity, ", ",
                      coupon.quantity, ", ", starts_at, ", ", ends_at, ")");
}

std::string ProductRow(const product::Product& product) {
  const std::string price =
      absl::StrCat(product.price_minor / kMinorPerWon, ".",
                   absl::Dec(product.price_minor % kMinorPerWon, absl::kZeroPad2));
  return absl::StrCat("  (", product.id.value, ", ", product.category.value, ", ",
                      Quoted(product.name), ", ", price, ", ", product.stock_quantity, ", ",
                      product.is_active ? 1 : 0, ", ", product.view_count, ", ",
                      DateTime(product.created_at), ", ", DateTime(product.updated_at), ")");
}

template <typename Rows, typename Format>
std::string JoinRows(const Rows& rows, Format format) {
  return absl::StrJoin(rows, ",\n",
                       [&](std::string* out, const auto& row) { out->append(format(row)); });
}

}  // namespace

SampleData MakeSampleData(absl::Time now, int64_t coupon_stock) {
  const absl::Time opened_at = absl::FromUnixSeconds(absl::ToUnixSeconds(now));
  SampleData data{.coupons = {}, .products = SampleProducts()};
  for (const SampleCoupon& sample : SampleCoupons(coupon_stock)) {
    const Window& window = sample.window;
    data.coupons.push_back({
        .id = {sample.id},
        .name = std::string(sample.name),
        .incarnation = coupon::RequestId::Random().ToString(),
        .total_quantity = sample.quantity,
        .available_quantity = sample.quantity,
        .starts_at = window.from_now ? opened_at : window.starts_at,
        .ends_at = window.from_now ? opened_at + absl::Hours(24) * kOpenDays : window.ends_at,
        .gate_generation = {},
    });
  }
  return data;
}

std::string SampleDataSql() {
  return absl::StrCat(
      "-- The sample data for MySQL 8.0 and MariaDB 10.11. The server's schema must be there. Load "
      "it with\n"
      "--   docker exec -i ecom-mysql mysql -uroot -p\"$MYSQL_ROOT_PASSWORD\" ecommerce < "
      "bench/k6/setup-test-data.sql\n"
      "-- or any other client. Loading it again changes nothing: rows that are there stay as they "
      "are.\n"
      "-- Generated from server/app/sample_data.cc; the unit test SampleDataSql tells how.\n"
      "SET NAMES utf8mb4;\n"
      "START TRANSACTION;\n"
      "\n"
      "INSERT INTO coupons (id, name, total_quantity, available_quantity, starts_at, ends_at) "
      "VALUES\n",
      JoinRows(SampleCoupons(kSqlCouponStock), CouponRow),
      "\nON DUPLICATE KEY UPDATE id = coupons.id;\n"
      "\n"
      "INSERT INTO products (id, category_id, name, price, stock_quantity, is_active, view_count, "
      "created_at, "
      "updated_at) VALUES\n",
      JoinRows(SampleProducts(), ProductRow),
      "\nON DUPLICATE KEY UPDATE id = products.id;\n"
      "\n"
      "COMMIT;\n");
}

}  // namespace ecom::app
