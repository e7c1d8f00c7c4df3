#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "app/sample_data.h"

namespace ecom::app {
namespace {

const absl::Time kNow = absl::FromUnixMillis(1766653343999);

absl::Time Utc(int64_t year, int month, int day, int hour = 0, int minute = 0, int second = 0) {
  return absl::FromCivil(absl::CivilSecond(year, month, day, hour, minute, second),
                         absl::UTCTimeZone());
}

TEST(SampleData, OpensCouponOneWithItsStockForAYearFromTheSecondThatHasBegun) {
  const SampleData data = MakeSampleData(kNow, 12345);
  ASSERT_EQ(data.coupons.size(), 4u);
  const coupon::Coupon& coupon = data.coupons[0];
  EXPECT_EQ(coupon.id, coupon::CouponId{1});
  EXPECT_EQ(coupon.total_quantity, 12345);
  EXPECT_EQ(coupon.available_quantity, 12345);
  EXPECT_EQ(coupon.starts_at, absl::FromUnixSeconds(1766653343));
  EXPECT_EQ(coupon.ends_at - coupon.starts_at, 365 * absl::Hours(24));
  EXPECT_EQ(coupon.gate_generation, coupon::Generation{0});
}

TEST(SampleData, GivesCouponTwoFiveUnitsWhateverTheStockOfCouponOne) {
  const SampleData data = MakeSampleData(kNow, 12345);
  EXPECT_EQ(data.coupons[1].id, coupon::CouponId{2});
  EXPECT_EQ(data.coupons[1].total_quantity, 5);
  EXPECT_EQ(data.coupons[1].available_quantity, 5);
  EXPECT_EQ(data.coupons[1].starts_at, data.coupons[0].starts_at);
  EXPECT_EQ(data.coupons[1].ends_at, data.coupons[0].ends_at);
}

TEST(SampleData, OpensCouponThreeIn2099AndClosedCouponFourIn2000SeoulTime) {
  const SampleData data = MakeSampleData(kNow, 1);
  EXPECT_EQ(data.coupons[2].id, coupon::CouponId{3});
  EXPECT_EQ(data.coupons[2].starts_at, Utc(2098, 12, 31, 15));
  EXPECT_GT(data.coupons[2].ends_at, data.coupons[2].starts_at);
  EXPECT_EQ(data.coupons[3].id, coupon::CouponId{4});
  EXPECT_EQ(data.coupons[3].ends_at, Utc(1999, 12, 31, 15));
  EXPECT_LT(data.coupons[3].starts_at, data.coupons[3].ends_at);
}

TEST(SampleData, GivesEachCouponAnIncarnationOfItsOwn) {
  std::set<std::string> incarnations;
  for (int i = 0; i < 2; ++i) {
    for (const coupon::Coupon& coupon : MakeSampleData(kNow, 1).coupons) {
      EXPECT_TRUE(coupon::RequestId::Parse(coupon.incarnation));
      EXPECT_FALSE(coupon.name.empty());
      incarnations.insert(coupon.incarnation);
    }
  }
  EXPECT_EQ(incarnations.size(), 8u);
}

TEST(SampleData, HasAHundredProductsAsTheContractDescribesThem) {
  const SampleData data = MakeSampleData(kNow, 1);
  ASSERT_EQ(data.products.size(), 100u);
  for (size_t i = 0; i < data.products.size(); ++i) {
    const product::Product& product = data.products[i];
    const auto id = static_cast<int64_t>(i) + 1;
    EXPECT_EQ(product.id, product::ProductId{id});
    EXPECT_EQ(product.name, "부하테스트상품_" + std::to_string(id));
    EXPECT_EQ(product.price_minor, 1000000 + 10000 * id);
    EXPECT_EQ(product.stock_quantity, 1000);
    EXPECT_EQ(product.view_count, 0);
    EXPECT_TRUE(product.is_active);
    EXPECT_EQ(product.created_at, Utc(2025, 12, 25, 9, 2, 23));
    EXPECT_EQ(product.updated_at, product.created_at);
  }
  EXPECT_EQ(data.products[0].category, product::CategoryId{1});
  EXPECT_EQ(data.products[4].category, product::CategoryId{5});
  EXPECT_EQ(data.products[5].category, product::CategoryId{1});
  EXPECT_EQ(data.products[99].category, product::CategoryId{5});
}

TEST(SampleDataSql, IsTheFileBesideTheLoadScenarios) {
  const std::string path = ECOM_SOURCE_DIR "/bench/k6/setup-test-data.sql";
  const std::string expected = SampleDataSql();
  if (std::getenv("UPDATE_GOLDEN") != nullptr) std::ofstream(path) << expected;
  std::ifstream file(path);
  const std::string found(std::istreambuf_iterator<char>(file), {});
  EXPECT_TRUE(found == expected) << path
                                 << " is not what SampleDataSql() says; write it anew with\n"
                                 << "UPDATE_GOLDEN=1 app_test --gtest_filter='SampleDataSql.*'";
}

TEST(SampleDataSql, HoldsTheRowsInUtc) {
  const std::string sql = SampleDataSql();
  for (const std::string part : {
           "(1, '선착순 할인 쿠폰', 1000, 1000, UTC_TIMESTAMP(), UTC_TIMESTAMP() + INTERVAL 365 "
           "DAY)",
           "1000, 1000, '2098-12-31 15:00:00', '2099-12-31 15:00:00')",
           "1000, 1000, '1998-12-31 15:00:00', '1999-12-31 15:00:00')",
           "(1, 1, '부하테스트상품_1', 10100.00, 1000, 1, 0, '2025-12-25 09:02:23', '2025-12-25 "
           "09:02:23')",
           "(100, 5, '부하테스트상품_100', 20000.00, 1000, 1, 0,",
       }) {
    EXPECT_NE(sql.find(part), std::string::npos) << part;
  }
}

}  // namespace
}  // namespace ecom::app
