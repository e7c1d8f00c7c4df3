// What every ClaimLog with its ClaimSource must do, whatever is behind it.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "coupon/claim_log.h"
#include "support/coupon_backend.h"

namespace ecom::tests {
namespace {

using coupon::AdmittedClaim;
using coupon::Barrier;
using coupon::LogRecord;

constexpr absl::Duration kPatience = absl::Seconds(10);

class ClaimLog : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { backend_ = MakeCouponBackend(GetParam()); }

  AdmittedClaim ClaimOf(int64_t user) {
    return {.holder = {.coupon = {1}, .user = {user}},
            .request = coupon::RequestId::Random(),
            .incarnation = "first",
            .generation = {3},
            .claimed_at = absl::FromUnixMicros(1234567)};
  }

  /// Polls until `count` records came.
  std::vector<LogRecord> Take(size_t count) {
    std::vector<LogRecord> taken;
    while (taken.size() < count) {
      auto records = backend_->source().Poll(static_cast<int>(count - taken.size()), kPatience);
      if (!records.ok() || records->empty()) {
        ADD_FAILURE() << "only " << taken.size() << " of " << count
                      << " records: " << records.status();
        break;
      }
      taken.insert(taken.end(), records->begin(), records->end());
    }
    return taken;
  }

  static int64_t UserOf(const LogRecord& record) {
    return std::get<AdmittedClaim>(record.record).holder.user.value;
  }

  std::unique_ptr<CouponBackend> backend_;
};

TEST_P(ClaimLog, DeliversWhatWasAppendedWholeAndInOrder) {
  const AdmittedClaim claim = ClaimOf(9223372036854775807);
  ASSERT_TRUE(backend_->log().Append(std::vector{claim, ClaimOf(2)}).ok());
  ASSERT_TRUE(backend_->log().AppendBarrier({1}, {4}).ok());
  const std::vector<LogRecord> records = Take(3);
  const auto& delivered = std::get<AdmittedClaim>(records[0].record);
  EXPECT_EQ(delivered.holder, claim.holder);
  EXPECT_EQ(delivered.request, claim.request);
  EXPECT_EQ(delivered.incarnation, claim.incarnation);
  EXPECT_EQ(delivered.generation, claim.generation);
  EXPECT_EQ(delivered.claimed_at, claim.claimed_at);
  EXPECT_EQ(UserOf(records[1]), 2);
  const auto& barrier = std::get<Barrier>(records[2].record);
  EXPECT_EQ(barrier.coupon, coupon::CouponId{1});
  EXPECT_EQ(barrier.generation, coupon::Generation{4});
  EXPECT_LT(records[0].position, records[1].position);
}

TEST_P(ClaimLog, AnswersNothingWithinTheTimeoutWhenThereIsNothing) {
  auto records = backend_->source().Poll(10, absl::Milliseconds(5));
  ASSERT_TRUE(records.ok());
  EXPECT_TRUE(records->empty());
}

TEST_P(ClaimLog, WakesAReaderThatWaits) {
  std::vector<LogRecord> records;
  std::thread reader([&] { records = Take(1); });
  ASSERT_TRUE(backend_->log().Append(std::vector{ClaimOf(5)}).ok());
  reader.join();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(UserOf(records[0]), 5);
}

TEST_P(ClaimLog, DeliversAgainAfterRewindWhatWasNotCommitted) {
  ASSERT_TRUE(backend_->log().Append(std::vector{ClaimOf(1), ClaimOf(2), ClaimOf(3)}).ok());
  const std::vector<LogRecord> records = Take(3);
  ASSERT_TRUE(backend_->source().Commit(records[0].position).ok());
  backend_->source().Rewind();
  const std::vector<LogRecord> again = Take(2);
  EXPECT_EQ(UserOf(again[0]), 2);
  EXPECT_EQ(UserOf(again[1]), 3);
}

TEST_P(ClaimLog, CountsItsLagAsWhatIsNotCommitted) {
  ASSERT_TRUE(backend_->log().Append(std::vector{ClaimOf(1), ClaimOf(2)}).ok());
  EXPECT_EQ(*backend_->source().Lag(), 2);
  const std::vector<LogRecord> records = Take(2);
  EXPECT_EQ(*backend_->source().Lag(), 2);
  ASSERT_TRUE(backend_->source().Commit(records[1].position).ok());
  EXPECT_EQ(*backend_->source().Lag(), 0);
}

TEST_P(ClaimLog, IsReadyWhenItCanBeReached) { EXPECT_TRUE(backend_->log().Ready().ok()); }

INSTANTIATE_TEST_SUITE_P(Backends, ClaimLog, testing::ValuesIn(kCouponBackends),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace ecom::tests
