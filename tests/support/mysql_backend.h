#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "adapters/mysql/coupon_store.h"
#include "adapters/mysql/product_store.h"
#include "adapters/mysql/sample_loader.h"
#include "support/coupon_backend.h"
#include "support/fake_clock.h"
#include "support/mysql_server.h"
#include "support/product_backend.h"

namespace ecom::tests {

/// The MySQL adapter on a database of its own.
class MysqlCouponStoreBackend final : public CouponStoreBackend {
 public:
  coupon::CouponStore& store() override { return store_; }
  coupon::GateAuthority& authority() override { return store_; }
  FakeClock& clock() override { return clock_; }
  MysqlDatabase& database() { return database_; }

  void PutCoupon(const coupon::Coupon& coupon) override {
    Require(database_.Query(absl::StrCat("DELETE FROM coupons WHERE id = ", coupon.id.value)));
    Require(adapters::mysql::LoadSampleData(database_.pool(), {&coupon, 1}, {}));
  }
  int64_t CountIssues(coupon::CouponId coupon) override { return Count("coupon_issues", coupon); }
  int64_t CountRejections(coupon::CouponId coupon) override {
    return Count("coupon_rejections", coupon);
  }

 private:
  int64_t Count(const std::string& table, coupon::CouponId coupon) {
    return database_.Count(
        absl::StrCat("SELECT COUNT(*) FROM ", table, " WHERE coupon_id = ", coupon.value));
  }

  FakeClock clock_;
  MysqlDatabase database_;
  adapters::mysql::MysqlCouponStore store_{database_.pool(), clock_};
};

/// The MySQL adapter on a database of its own.
class MysqlProductBackend final : public ProductBackend {
 public:
  product::ProductStore& store() override { return store_; }
  MysqlDatabase& database() { return database_; }

  void PutProducts(const std::vector<product::Product>& products) override {
    Require(adapters::mysql::LoadSampleData(database_.pool(), {}, products));
  }

 private:
  MysqlDatabase database_;
  const base::SystemClock clock_;
  adapters::mysql::MysqlProductStore store_{database_.pool(), clock_};
};

/// What MakeCouponStoreBackend and MakeProductStoreBackend understand.
inline const char* const kCouponStoreBackends[] = {"embedded_file", "embedded_memory", "mysql"};
inline const char* const kProductStoreBackends[] = {"embedded_file", "embedded_memory", "mysql"};

inline std::unique_ptr<CouponStoreBackend> MakeCouponStoreBackend(const std::string& name) {
  if (name == "mysql") return std::make_unique<MysqlCouponStoreBackend>();
  return MakeCouponBackend(name);
}

inline std::unique_ptr<ProductBackend> MakeProductStoreBackend(const std::string& name) {
  if (name == "mysql") return std::make_unique<MysqlProductBackend>();
  return MakeProductBackend(name);
}

}  // namespace ecom::tests
