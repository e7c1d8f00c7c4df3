#pragma once

#include <memory>
#include <string>

#include "adapters/embedded/claim_log.h"
#include "adapters/embedded/coupon_store.h"
#include "adapters/embedded/database.h"
#include "adapters/embedded/gate.h"
#include "coupon/claim_log.h"
#include "coupon/gate.h"
#include "coupon/store.h"
#include "support/fake_clock.h"
#include "support/temporary_folder.h"

namespace ecom::tests {

/// A gate of one kind, with the time that it decides by.
class GateBackend {
 public:
  virtual ~GateBackend() = default;

  virtual coupon::CouponGate& gate() = 0;
  virtual coupon::GateControl& control() = 0;
  virtual absl::Time Now() = 0;
  virtual void PassTime(absl::Duration duration) = 0;
  /// How far the clock may go on by itself within a test.
  virtual absl::Duration clock_tolerance() const = 0;
};

/// A coupon store of one kind, with the clock that it dates rows by.
class CouponStoreBackend {
 public:
  virtual ~CouponStoreBackend() = default;

  virtual coupon::CouponStore& store() = 0;
  virtual coupon::GateAuthority& authority() = 0;
  virtual FakeClock& clock() = 0;

  /// Puts a coupon into the store, as a person would by SQL; replaces one with the same id.
  virtual void PutCoupon(const coupon::Coupon& coupon) = 0;
  /// Counts rows as a person would by SQL.
  virtual int64_t CountIssues(coupon::CouponId coupon) = 0;
  virtual int64_t CountRejections(coupon::CouponId coupon) = 0;
};

/// Everything behind the coupon ports, of one kind of backend. The contract suites run against
/// each kind.
class CouponBackend : public GateBackend, public CouponStoreBackend {
 public:
  virtual coupon::ClaimLog& log() = 0;
  virtual coupon::ClaimSource& source() = 0;
  virtual coupon::LogProgress& progress() = 0;
  virtual coupon::DeadLetters& dead_letters() = 0;

  /// Records that are appended and not yet settled.
  int64_t Lag() { return coupon::LagOf(*progress().Ends(), *progress().Committed()); }

  absl::Time Now() override { return clock().Now(); }
  void PassTime(absl::Duration duration) override { clock().Advance(duration); }
  absl::Duration clock_tolerance() const override { return absl::ZeroDuration(); }
};

/// What Backend::Create understands: a new kind of adapter is one more name.
inline const char* const kCouponBackends[] = {"embedded_file", "embedded_memory"};

/// The embedded adapters on a file, or on ":memory:".
class EmbeddedCouponBackend final : public CouponBackend {
 public:
  explicit EmbeddedCouponBackend(bool in_memory,
                                 adapters::embedded::EmbeddedCouponGate::Options gate_options = {})
      : database_(*adapters::embedded::Database::Create({.path = in_memory ? ":memory:" : path()})),
        gate_(gate_options, clock_),
        log_(*database_),
        store_(*database_, clock_) {}

  coupon::CouponGate& gate() override { return gate_; }
  coupon::GateControl& control() override { return gate_; }
  coupon::ClaimLog& log() override { return log_; }
  coupon::ClaimSource& source() override { return log_; }
  coupon::LogProgress& progress() override { return log_; }
  coupon::DeadLetters& dead_letters() override { return log_; }
  coupon::CouponStore& store() override { return store_; }
  coupon::GateAuthority& authority() override { return store_; }
  FakeClock& clock() override { return clock_; }
  adapters::embedded::Database& database() { return *database_; }
  std::string path() const { return folder_.path() + "/ecom.db"; }

  void PutCoupon(const coupon::Coupon& coupon) override {
    const absl::Status put = database_->Write([&](adapters::embedded::Connection& connection) {
      auto insert = connection.Prepare(
          "INSERT OR REPLACE INTO coupons (id, name, incarnation, total_quantity, "
          "available_quantity, starts_at_us, ends_at_us, gate_generation, gate_home) "
          "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
      if (!insert.ok()) return insert.status();
      return insert
          ->Bind(coupon.id.value, coupon.name, coupon.incarnation, coupon.total_quantity,
                 coupon.available_quantity, coupon.starts_at, coupon.ends_at,
                 coupon.gate_generation.value, coupon.gate_home)
          .Run();
    });
    if (!put.ok()) std::abort();
  }

  int64_t CountIssues(coupon::CouponId coupon) override {
    return Count("SELECT COUNT(*) FROM coupon_issues WHERE coupon_id = ?", coupon);
  }
  int64_t CountDeadLetters() {
    return Count("SELECT COUNT(*) FROM dead_letters WHERE id >= ?", {0});
  }
  int64_t CountRejections(coupon::CouponId coupon) override {
    return Count("SELECT COUNT(*) FROM coupon_rejections WHERE coupon_id = ?", coupon);
  }

 private:
  int64_t Count(const char* sql, coupon::CouponId coupon) {
    int64_t count = -1;
    const absl::Status read = database_->Read([&](adapters::embedded::Connection& connection) {
      auto select = connection.Prepare(sql);
      if (!select.ok()) return select.status();
      auto found = select->Bind(coupon.value).Step();
      if (found.ok()) count = select->Int(0);
      return found.status();
    });
    if (!read.ok()) std::abort();
    return count;
  }

  TemporaryFolder folder_;
  FakeClock clock_;
  std::unique_ptr<adapters::embedded::Database> database_;
  adapters::embedded::EmbeddedCouponGate gate_;
  adapters::embedded::EmbeddedClaimLog log_;
  adapters::embedded::EmbeddedCouponStore store_;
};

inline std::unique_ptr<CouponBackend> MakeCouponBackend(const std::string& name) {
  return std::make_unique<EmbeddedCouponBackend>(name == "embedded_memory");
}

/// Where a gate would be built now: what Arm needs.
inline std::string HomeOf(coupon::GateControl& control, coupon::Coupon coupon) {
  coupon.gate_generation = {0};
  return control.Close(coupon)->home;
}

/// A coupon that is open at `now`.
inline coupon::Coupon OpenCoupon(absl::Time now, int64_t id, int64_t total) {
  return {.id = {id},
          .name = "쿠폰",
          .incarnation = "incarnation-" + std::to_string(id),
          .total_quantity = total,
          .available_quantity = total,
          .starts_at = now - absl::Hours(1),
          .ends_at = now + absl::Hours(1),
          .gate_generation = {0},
          .gate_home = ""};
}
inline coupon::Coupon OpenCoupon(const FakeClock& clock, int64_t id, int64_t total) {
  return OpenCoupon(clock.Now(), id, total);
}

}  // namespace ecom::tests
