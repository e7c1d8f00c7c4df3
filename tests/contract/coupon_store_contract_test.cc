// What every CouponStore and GateAuthority must do, whatever is behind it.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "coupon/store.h"
#include "support/coupon_backend.h"
#include "support/mysql_backend.h"

namespace ecom::tests {
namespace {

using coupon::AdmittedClaim;
using coupon::Coupon;
using coupon::CouponId;
using coupon::Issue;
using coupon::IssueState;
using coupon::LogRecord;
using coupon::RecordOutcome;
using coupon::RequestId;

class CouponStore : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    backend_ = MakeCouponStoreBackend(GetParam());
    coupon_ = OpenCoupon(backend_->clock(), 1, 2);
    backend_->PutCoupon(coupon_);
  }

  LogRecord RecordOf(int64_t user, RequestId request = RequestId::Random(),
                     int64_t generation = 1) {
    return {.position = ++position_,
            .record = AdmittedClaim{.holder = {.coupon = coupon_.id, .user = {user}},
                                    .request = request,
                                    .incarnation = coupon_.incarnation,
                                    .generation = {generation},
                                    .claimed_at = backend_->clock().Now()}};
  }

  LogRecord BarrierOf(int64_t generation) {
    return {.position = ++position_,
            .record = coupon::Barrier{.coupon = coupon_.id, .generation = {generation}}};
  }

  std::vector<RecordOutcome> Record(const std::vector<LogRecord>& batch,
                                    const coupon::LogPositions& announced = {}) {
    auto results = backend_->store().Record(batch, announced);
    EXPECT_TRUE(results.ok()) << results.status();
    std::vector<RecordOutcome> outcomes;
    if (!results.ok()) return outcomes;
    for (const coupon::RecordResult& result : *results) outcomes.push_back(result.outcome);
    return outcomes;
  }

  int64_t Available() {
    auto coupons = backend_->store().FindCoupons(std::vector{coupon_.id});
    return (*coupons)[0]->available_quantity;
  }

  std::optional<Issue> Find(int64_t user) {
    const std::vector<coupon::Holder> holders = {{coupon_.id, {user}}};
    return (*backend_->store().FindIssues(holders))[0];
  }

  std::unique_ptr<CouponStoreBackend> backend_;
  Coupon coupon_;
  coupon::LogPosition position_ = 0;
};

TEST_P(CouponStore, ReadsCouponsByIdInOrder) {
  auto coupons = backend_->store().FindCoupons(std::vector{CouponId{99}, coupon_.id});
  ASSERT_TRUE(coupons.ok());
  EXPECT_EQ((*coupons)[0], std::nullopt);
  const Coupon& found = *(*coupons)[1];
  EXPECT_EQ(found.id, coupon_.id);
  EXPECT_EQ(found.name, coupon_.name);
  EXPECT_EQ(found.incarnation, coupon_.incarnation);
  EXPECT_EQ(found.total_quantity, 2);
  EXPECT_EQ(found.available_quantity, 2);
  EXPECT_EQ(found.starts_at, coupon_.starts_at);
  EXPECT_EQ(found.ends_at, coupon_.ends_at);
}

TEST_P(CouponStore, IssuesOneRowAUserUpToTheStockAndKeepsTheRestAsRejections) {
  EXPECT_EQ(Record({RecordOf(1), RecordOf(1), RecordOf(2), RecordOf(3)}),
            (std::vector{RecordOutcome::kIssued, RecordOutcome::kDuplicate, RecordOutcome::kIssued,
                         RecordOutcome::kOverAdmitted}));
  EXPECT_EQ(Available(), 0);
  EXPECT_EQ(backend_->CountIssues(coupon_.id), 2);
  EXPECT_EQ(backend_->CountRejections(coupon_.id), 1);
}

TEST_P(CouponStore, ChangesNothingMoreWhenABatchComesAgain) {
  const std::vector<LogRecord> batch = {RecordOf(1), RecordOf(2), RecordOf(3)};
  Record(batch);
  EXPECT_EQ(Record(batch),
            (std::vector{RecordOutcome::kIssuedEarlier, RecordOutcome::kIssuedEarlier,
                         RecordOutcome::kOverAdmitted}));
  EXPECT_EQ(Available(), 0);
  EXPECT_EQ(backend_->CountIssues(coupon_.id), 2);
  EXPECT_EQ(backend_->CountRejections(coupon_.id), 1);
}

TEST_P(CouponStore, TellsTheRowOfAHolderWithItsRequestAndTime) {
  const RequestId request = RequestId::Random();
  Record({RecordOf(1, request)});
  const std::optional<Issue> issue = Find(1);
  ASSERT_NE(issue, std::nullopt);
  EXPECT_EQ(issue->request, request);
  EXPECT_EQ(issue->state, IssueState::kIssued);
  EXPECT_EQ(issue->issued_at, absl::FromUnixMicros(absl::ToUnixMicros(backend_->clock().Now())));
  EXPECT_EQ(Find(2), std::nullopt);
}

TEST_P(CouponStore, TellsARejectionUntilThereIsARow) {
  Record({RecordOf(1), RecordOf(2)});
  const RequestId request = RequestId::Random();
  Record({RecordOf(3, request)});
  EXPECT_EQ(Find(3)->state, IssueState::kRejected);
  EXPECT_EQ(Find(3)->request, request);
  coupon_.total_quantity = 3;
  coupon_.available_quantity = 1;
  backend_->PutCoupon(coupon_);
  EXPECT_EQ(Record({RecordOf(3, request)}), std::vector{RecordOutcome::kIssued});
  EXPECT_EQ(Find(3)->state, IssueState::kIssued);
}

TEST_P(CouponStore, RejectsClaimsOfAnUnknownCouponOrOfAnotherIncarnation) {
  LogRecord unknown = RecordOf(1);
  std::get<AdmittedClaim>(unknown.record).holder.coupon = {99};
  LogRecord earlier = RecordOf(1);
  std::get<AdmittedClaim>(earlier.record).incarnation = "an earlier one";
  EXPECT_EQ(Record({unknown, earlier}),
            (std::vector{RecordOutcome::kUnknownCoupon, RecordOutcome::kUnknownCoupon}));
  EXPECT_EQ(Available(), 2);
}

TEST_P(CouponStore, DropsClaimsOfOlderGenerationsBehindABarrier) {
  EXPECT_EQ(Record({RecordOf(1, RequestId::Random(), 1), BarrierOf(2),
                    RecordOf(2, RequestId::Random(), 1)}),
            (std::vector{RecordOutcome::kIssued, RecordOutcome::kBarrier, RecordOutcome::kStale}));
  // It is remembered with the batch, and an older barrier does not lower it.
  EXPECT_EQ(Record({BarrierOf(1), RecordOf(3, RequestId::Random(), 1),
                    RecordOf(4, RequestId::Random(), 2)}),
            (std::vector{RecordOutcome::kBarrier, RecordOutcome::kStale, RecordOutcome::kIssued}));
  EXPECT_EQ(*backend_->authority().PassedBarrier(coupon_.id, 1), coupon::Generation{2});
}

TEST_P(CouponStore, PassesOverTheBarrierOfAnEarlierCouponWithTheSameId) {
  LogRecord earlier = BarrierOf(9);
  std::get<coupon::Barrier>(earlier.record).incarnation = "an earlier one";
  LogRecord its_own = BarrierOf(2);
  std::get<coupon::Barrier>(its_own.record).incarnation = coupon_.incarnation;
  EXPECT_EQ(
      Record({its_own, earlier, RecordOf(1, RequestId::Random(), 2)}),
      (std::vector{RecordOutcome::kBarrier, RecordOutcome::kBarrier, RecordOutcome::kIssued}));
  EXPECT_EQ(*backend_->authority().PassedBarrier(coupon_.id, 1), coupon::Generation{2});
}

TEST_P(CouponStore, LetsABarrierCountInItsOwnPartitionOnly) {
  Record({BarrierOf(2)});
  LogRecord elsewhere = RecordOf(1, RequestId::Random(), 1);
  elsewhere.partition = 1;
  EXPECT_EQ(Record({elsewhere}), std::vector{RecordOutcome::kIssued});
  EXPECT_EQ(*backend_->authority().PassedBarrier(coupon_.id, 2), coupon::Generation{0});
  LogRecord barrier = BarrierOf(3);
  barrier.partition = 1;
  EXPECT_EQ(Record({barrier}), std::vector{RecordOutcome::kBarrier});
  EXPECT_EQ(*backend_->authority().PassedBarrier(coupon_.id, 2), coupon::Generation{2});
}

TEST_P(CouponStore, TellsApartWhatMayNotHaveBeenPublishedWhenItComesAgain) {
  const std::vector<LogRecord> first = {RecordOf(1)};
  const LogRecord second = RecordOf(2);
  Record(first);
  Record({second}, {{0, second.position}});  // all before it is published
  EXPECT_EQ(Record(first), std::vector{RecordOutcome::kDuplicate});
  EXPECT_EQ(Record({second}), std::vector{RecordOutcome::kIssuedEarlier});
  EXPECT_EQ(Record({}, {{0, second.position + 1}}), std::vector<RecordOutcome>());
  EXPECT_EQ(Record({second}), std::vector{RecordOutcome::kDuplicate});
}

TEST_P(CouponStore, TellsApartWhatMayNotHaveBeenPublishedInALogThatWasMadeAnew) {
  position_ = 1000;
  Record({RecordOf(1)});
  const coupon::LogPositions announced = {{0, position_ + 1}};  // and so of the log before
  Record({}, announced);
  position_ = 0;
  const LogRecord first = RecordOf(2);
  EXPECT_EQ(Record({first}, announced), std::vector{RecordOutcome::kIssued});
  EXPECT_EQ(Record({first}), std::vector{RecordOutcome::kIssuedEarlier});
  EXPECT_EQ(Record({first}, announced), std::vector{RecordOutcome::kIssuedEarlier});
  EXPECT_EQ(Record({first}), std::vector{RecordOutcome::kIssuedEarlier})
      << "another recorder may remember for long what it announced in the log before";
  Record({}, {{0, first.position + 1}});
  EXPECT_EQ(Record({first}), std::vector{RecordOutcome::kDuplicate});
}

TEST_P(CouponStore, KeepsItsMarksWhenTheWholeLogIsReadAgain) {
  const std::vector<LogRecord> batch = {RecordOf(1), RecordOf(2), BarrierOf(2), RecordOf(3)};
  Record(batch);
  Record({}, {{0, position_ + 1}});
  Record({batch[0]});
  Record({batch[1], batch[2]});
  EXPECT_EQ(Record({batch[0], batch[1]}),
            (std::vector{RecordOutcome::kDuplicate, RecordOutcome::kDuplicate}));
}

TEST_P(CouponStore, KnowsARepeatedAppendFromADeliveryThatIsRepeated) {
  const RequestId request = RequestId::Random();
  Record({RecordOf(1, request)});
  EXPECT_EQ(Record({RecordOf(1, request)}), std::vector{RecordOutcome::kDuplicate});
}

TEST_P(CouponStore, TellsTheTimeOfARowAgain) {
  const std::vector<LogRecord> batch = {RecordOf(1)};
  const auto issued = backend_->store().Record(batch, {});
  backend_->clock().Advance(absl::Minutes(5));
  const auto again = backend_->store().Record(batch, {});
  ASSERT_TRUE(issued.ok() && again.ok());
  EXPECT_LT(absl::AbsDuration((*again)[0].issued_at - (*issued)[0].issued_at),
            absl::Microseconds(1));
}

TEST_P(CouponStore, KeepsMalformedRecordsOutOfTheTables) {
  const LogRecord malformed = {.position = ++position_,
                               .record = coupon::Malformed{.reason = "garbage"}};
  EXPECT_EQ(Record({malformed, RecordOf(1)}),
            (std::vector{RecordOutcome::kMalformed, RecordOutcome::kIssued}));
  EXPECT_EQ(backend_->CountRejections(coupon_.id), 0);
}

TEST_P(CouponStore, RecordsSeveralCouponsInOneBatch) {
  Coupon other = OpenCoupon(backend_->clock(), 2, 1);
  backend_->PutCoupon(other);
  LogRecord of_other = RecordOf(1);
  std::get<AdmittedClaim>(of_other.record).holder.coupon = other.id;
  std::get<AdmittedClaim>(of_other.record).incarnation = other.incarnation;
  EXPECT_EQ(Record({of_other, RecordOf(1)}),
            (std::vector{RecordOutcome::kIssued, RecordOutcome::kIssued}));
  EXPECT_EQ(Available(), 1);
  EXPECT_EQ(backend_->CountIssues(other.id), 1);
}

TEST_P(CouponStore, FindsTheCouponsToArmFromTheirStartTo24HoursPastTheirEnd) {
  const absl::Time now = backend_->clock().Now();
  auto armable = [&](absl::Time at) { return backend_->store().FindArmable(at)->size(); };
  EXPECT_EQ(armable(now), 1u);
  EXPECT_EQ(armable(coupon_.starts_at - absl::Seconds(1)), 0u);
  EXPECT_EQ(armable(coupon_.starts_at), 1u);
  EXPECT_EQ(armable(coupon_.ends_at + absl::Hours(24) - absl::Seconds(1)), 1u);
  EXPECT_EQ(armable(coupon_.ends_at + absl::Hours(24)), 0u);
}

TEST_P(CouponStore, AdvancesTheGenerationByOne) {
  EXPECT_EQ(backend_->authority().AdvanceGeneration(coupon_.id)->gate_generation,
            coupon::Generation{1});
  EXPECT_EQ(backend_->authority().AdvanceGeneration(coupon_.id)->gate_generation,
            coupon::Generation{2});
  EXPECT_TRUE(absl::IsNotFound(backend_->authority().AdvanceGeneration({99}).status()));
}

TEST_P(CouponStore, AdvancesBeyondTheBarriersOfAnEarlierCouponWithTheSameId) {
  Record({BarrierOf(7)});
  coupon_.incarnation = "a later one";
  coupon_.gate_generation = {0};
  backend_->PutCoupon(coupon_);
  EXPECT_EQ(backend_->authority().AdvanceGeneration(coupon_.id)->gate_generation,
            coupon::Generation{8});
}

TEST_P(CouponStore, KeepsTheHomeOfAGateUntilTheNextGeneration) {
  coupon::GateAuthority& authority = backend_->authority();
  const auto home = [&] {
    return (*backend_->store().FindCoupons(std::vector{coupon_.id}))[0]->gate_home;
  };
  ASSERT_TRUE(authority.AdvanceGeneration(coupon_.id).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(authority.SetHome(coupon_.id, {7}, "here")));
  EXPECT_EQ(home(), "");
  EXPECT_TRUE(authority.SetHome(coupon_.id, {1}, "here").ok());
  EXPECT_TRUE(authority.SetHome(coupon_.id, {1}, "here").ok());
  EXPECT_EQ(home(), "here");
  EXPECT_EQ(authority.AdvanceGeneration(coupon_.id)->gate_home, "");
}

TEST_P(CouponStore, GivesTheLockOfTheGatesAndTakesItBack) {
  auto lock = backend_->authority().LockGates(absl::ZeroDuration());
  ASSERT_TRUE(lock.ok()) << lock.status();
  ASSERT_NE(*lock, nullptr);
  EXPECT_TRUE((*lock)->Held());
  lock->reset();
  EXPECT_NE(*backend_->authority().LockGates(absl::ZeroDuration()), nullptr);
}

TEST_P(CouponStore, KnowsWhatAGateMustHold) {
  Record({RecordOf(7)});
  auto contents = backend_->authority().ReadContents(coupon_.id);
  ASSERT_TRUE(contents.ok());
  EXPECT_EQ(contents->stock, 1);
  EXPECT_EQ(contents->participants, std::vector{coupon::UserId{7}});
}

INSTANTIATE_TEST_SUITE_P(Backends, CouponStore, testing::ValuesIn(kCouponStoreBackends),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace ecom::tests
