// What every StoreAudit must show, whatever is behind it: all that is there, right or wrong.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "adapters/embedded/coupon_audit.h"
#include "adapters/mysql/coupon_audit.h"
#include "coupon/audit.h"
#include "support/mysql_backend.h"

namespace ecom::tests {
namespace {

using coupon::AdmittedClaim;
using coupon::Coupon;
using coupon::CouponId;
using coupon::LogRecord;
using coupon::RequestId;

/// A store, whoever checks it, and a person who spoils it.
class AuditedBackend {
 public:
  virtual ~AuditedBackend() = default;
  virtual CouponStoreBackend& stores() = 0;
  virtual coupon::StoreAudit& audit() = 0;
  virtual absl::Status Query(const std::string& sql) = 0;
};

class AuditedMysql final : public AuditedBackend {
 public:
  CouponStoreBackend& stores() override { return backend_; }
  coupon::StoreAudit& audit() override { return audit_; }
  absl::Status Query(const std::string& sql) override { return backend_.database().Query(sql); }

 private:
  MysqlCouponStoreBackend backend_;
  adapters::mysql::MysqlCouponAudit audit_{backend_.database().pool()};
};

/// The file stays open in a server, here the backend, while it is checked.
class AuditedFile final : public AuditedBackend {
 public:
  AuditedFile() {
    auto audit = adapters::embedded::EmbeddedCouponAudit::Open(backend_.path());
    Require(audit.status());
    audit_ = *std::move(audit);
  }

  CouponStoreBackend& stores() override { return backend_; }
  coupon::StoreAudit& audit() override { return *audit_; }
  absl::Status Query(const std::string& sql) override {
    return backend_.database().Write(
        [&](adapters::embedded::Connection& connection) { return connection.Execute(sql); });
  }

 private:
  EmbeddedCouponBackend backend_{/*in_memory=*/false};
  std::unique_ptr<adapters::embedded::EmbeddedCouponAudit> audit_;
};

class StoreAudit : public testing::TestWithParam<const char*> {
 protected:
  StoreAudit() {
    if (GetParam() == std::string("mysql")) {
      backend_ = std::make_unique<AuditedMysql>();
    } else {
      backend_ = std::make_unique<AuditedFile>();
    }
    coupon_ = OpenCoupon(backend_->stores().clock(), 1, 2);
    backend_->stores().PutCoupon(coupon_);
  }

  LogRecord RecordOf(int64_t user, RequestId request) {
    return {.position = ++position_,
            .record = AdmittedClaim{.holder = {.coupon = coupon_.id, .user = {user}},
                                    .request = request,
                                    .incarnation = coupon_.incarnation,
                                    .generation = {1}}};
  }

  void Record(const std::vector<LogRecord>& batch) {
    const auto results = backend_->stores().store().Record(batch, {});
    ASSERT_TRUE(results.ok()) << results.status();
  }

  /// As the store keeps it: to the microsecond.
  absl::Time Now() {
    return absl::FromUnixMicros(absl::ToUnixMicros(backend_->stores().clock().Now()));
  }

  std::unique_ptr<AuditedBackend> backend_;
  Coupon coupon_;
  coupon::LogPosition position_ = 0;
};

TEST_P(StoreAudit, ShowsRowsAndRejectionsInTheOrderOfTheirUsers) {
  const std::vector requests = {RequestId::Random(), RequestId::Random(), RequestId::Random()};
  Record({RecordOf(9, requests[0]), RecordOf(7, requests[1]), RecordOf(8, requests[2])});
  const auto records = backend_->audit().ReadCoupon(coupon_.id, 3);
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_TRUE(records->coupon);
  EXPECT_EQ(records->coupon->available_quantity, 0);
  EXPECT_EQ(records->coupon->incarnation, coupon_.incarnation);
  ASSERT_EQ(records->rows.size(), 2u);
  EXPECT_EQ(records->rows[0].user.value, 7);
  EXPECT_EQ(records->rows[0].request, requests[1]);
  EXPECT_EQ(records->rows[0].issued_at, Now());
  EXPECT_EQ(records->rows[1].user.value, 9);
  ASSERT_EQ(records->rejections.size(), 1u);
  EXPECT_EQ(records->rejections[0].user.value, 8);
  EXPECT_EQ(records->rejections[0].request, requests[2]);
  EXPECT_EQ(records->rejections[0].reason, "over-admitted");
  EXPECT_EQ(records->rejections[0].rejected_at, Now());
}

TEST_P(StoreAudit, ReadsMoreRowsThanOnePageHolds) {
  constexpr int kRows = 25'000;
  std::string values;
  for (int user = 1; user <= kRows; ++user) {
    absl::StrAppend(&values, user > 1 ? "," : "", "(1,", user, ",'", RequestId::Random().ToString(),
                    "',");
    absl::StrAppend(&values, GetParam() == std::string("mysql") ? "UTC_TIMESTAMP(6))" : "0)");
  }
  Require(backend_->Query(absl::StrCat("INSERT INTO coupon_issues VALUES ", values)));
  const auto records = backend_->audit().ReadCoupon(coupon_.id, kRows);
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->rows.size(), static_cast<size_t>(kRows));
  for (int user = 1; user <= kRows; ++user) {
    ASSERT_EQ(records->rows[static_cast<size_t>(user) - 1].user.value, user);
  }
  const auto too_many = backend_->audit().ReadCoupon(coupon_.id, kRows - 1);
  EXPECT_TRUE(absl::IsResourceExhausted(too_many.status())) << too_many.status();
}

TEST_P(StoreAudit, ShowsWhatNoServerWouldHaveWritten) {
  const std::string time = GetParam() == std::string("mysql") ? "UTC_TIMESTAMP(6)" : "0";
  Require(backend_->Query(
      absl::StrCat("INSERT INTO coupon_issues VALUES (1, -5, 'no request id', ", time, ")")));
  Require(backend_->Query("DELETE FROM coupons WHERE id = 1"));
  const auto records = backend_->audit().ReadCoupon(coupon_.id, 10);
  ASSERT_TRUE(records.ok()) << records.status();
  EXPECT_EQ(records->coupon, std::nullopt);
  ASSERT_EQ(records->rows.size(), 1u);
  EXPECT_EQ(records->rows[0].user.value, -5);
  EXPECT_EQ(records->rows[0].request, std::nullopt);
}

TEST_P(StoreAudit, ShowsAllThatThereIsOfAHolder) {
  const RequestId request = RequestId::Random();
  const RequestId rejected = RequestId::Random();
  Record({RecordOf(1, RequestId::Random()),
          RecordOf(2, request),
          RecordOf(3, rejected),
          {.partition = 4, .record = coupon::Barrier{.coupon = coupon_.id, .generation = {6}}}});

  const auto holder = backend_->audit().ReadHolder({coupon_.id, {2}});
  ASSERT_TRUE(holder.ok()) << holder.status();
  ASSERT_TRUE(holder->coupon);
  ASSERT_TRUE(holder->row);
  EXPECT_EQ(holder->row->request, request);
  EXPECT_TRUE(holder->rejections.empty());
  EXPECT_EQ(holder->barriers.at(4).value, 6);

  const auto beyond = backend_->audit().ReadHolder({coupon_.id, {3}});
  ASSERT_TRUE(beyond.ok()) << beyond.status();
  EXPECT_FALSE(beyond->row);
  ASSERT_EQ(beyond->rejections.size(), 1u);
  EXPECT_EQ(beyond->rejections[0].request, rejected);

  const auto nobody = backend_->audit().ReadHolder({CouponId{99}, {2}});
  ASSERT_TRUE(nobody.ok()) << nobody.status();
  EXPECT_FALSE(nobody->coupon || nobody->row);
}

INSTANTIATE_TEST_SUITE_P(Backends, StoreAudit, testing::Values("embedded_file", "mysql"),
                         [](const auto& backend) { return std::string(backend.param); });

TEST(EmbeddedAudit, ShowsWhatWaitsInTheLogAndWhatIsDead) {
  EmbeddedCouponBackend backend(/*in_memory=*/false);
  backend.PutCoupon(OpenCoupon(backend.clock(), 1, 2));
  const auto audit = *adapters::embedded::EmbeddedCouponAudit::Open(backend.path());
  const AdmittedClaim claim = {.holder = {{1}, {42}},
                               .request = RequestId::Random(),
                               .incarnation = "incarnation-1",
                               .generation = {3}};
  Require(backend.log().Append({&claim, 1}));
  const auto waiting = audit->ReadWaiting(claim.holder);
  ASSERT_TRUE(waiting.ok()) << waiting.status();
  ASSERT_EQ(waiting->size(), 1u);
  EXPECT_EQ(std::get<AdmittedClaim>((*waiting)[0].record).request, claim.request);
  EXPECT_TRUE(audit->ReadWaiting({{1}, {43}})->empty());
  const auto positions = *audit->ReadEndsAndCommitted();
  EXPECT_EQ(coupon::LagOf(positions.first, positions.second), 1);

  const std::vector<coupon::DeadRecord> dead = {
      {.record = {.position = 7, .record = coupon::Malformed{.key = "k", .payload = "p"}},
       .reason = "none of ours"}};
  Require(backend.dead_letters().Add(dead));
  Require(backend.dead_letters().Add(dead));
  EXPECT_EQ(*audit->CountDeadLetters(), 2);
  const auto letters = *audit->ReadDeadLetters(2, 10);
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_EQ(letters[0].id, 2);
  EXPECT_EQ(letters[0].log_position, 7);
  EXPECT_EQ(letters[0].reason, "none of ours");
}

TEST(EmbeddedAudit, OpensNothingButADataFileOfThisVersion) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/ecom.db";
  const auto open = [&] { return adapters::embedded::EmbeddedCouponAudit::Open(path).status(); };
  EXPECT_TRUE(absl::IsFailedPrecondition(open())) << open();
  { std::ofstream(path) << "something else, and not a little of it"; }
  EXPECT_TRUE(absl::IsFailedPrecondition(open())) << open();
  std::filesystem::remove(path);
  { const auto made = adapters::embedded::Database::Create({.path = path}); }
  EXPECT_TRUE(open().ok()) << open();  // without a server, too
  {
    auto connection = adapters::embedded::Connection::Open(path, 2 /* SQLITE_OPEN_READWRITE */);
    Require((*connection)->Execute("PRAGMA user_version = 99"));
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(open())) << open();
}

}  // namespace
}  // namespace ecom::tests
