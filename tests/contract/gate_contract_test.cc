// What every CouponGate and GateControl must do, whatever is behind it.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "coupon/gate.h"
#include "support/coupon_backend.h"
#include "support/redis_backend.h"

namespace ecom::tests {
namespace {

using coupon::Admission;
using coupon::Claim;
using coupon::Coupon;
using coupon::RequestId;
using coupon::UserId;
using coupon::Verdict;

class CouponGate : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    backend_ = MakeGateBackend(GetParam());
    coupon_ = OpenCoupon(backend_->Now(), 1, 2);
    coupon_.gate_home = HomeOf(backend_->control(), coupon_);
    coupon_.gate_generation = {1};
  }

  void Arm(coupon::GateContents contents) {
    ASSERT_TRUE(backend_->control().Arm(coupon_, std::move(contents)).ok());
  }

  Claim ClaimOf(int64_t user) {
    return {.holder = {.coupon = coupon_.id, .user = {user}}, .request = RequestId::Random()};
  }

  std::vector<Verdict> Admit(const std::vector<Claim>& claims) {
    auto admissions = backend_->gate().Admit(coupon_, claims);
    EXPECT_TRUE(admissions.ok()) << admissions.status();
    std::vector<Verdict> verdicts;
    for (const Admission& admission : *admissions) verdicts.push_back(admission.verdict);
    return verdicts;
  }

  std::unique_ptr<GateBackend> backend_;
  Coupon coupon_;
};

TEST_P(CouponGate, AdmitsUpToTheStockInOrder) {
  Arm({.stock = 2});
  EXPECT_EQ(Admit({ClaimOf(1), ClaimOf(2), ClaimOf(3)}),
            (std::vector{Verdict::kAdmitted, Verdict::kAdmitted, Verdict::kSoldOut}));
}

TEST_P(CouponGate, AnswersTheSameRequestAsReplayAndAnotherOneAsDuplicate) {
  Arm({.stock = 2});
  const Claim first = ClaimOf(1);
  EXPECT_EQ(Admit({first, first, ClaimOf(1)}),
            (std::vector{Verdict::kAdmitted, Verdict::kReplay, Verdict::kDuplicate}));
  EXPECT_EQ(Admit({first}), std::vector{Verdict::kReplay});
}

TEST_P(CouponGate, SaysDuplicateToAHolderEvenWhenSoldOutOrClosed) {
  Arm({.stock = 1});
  EXPECT_EQ(Admit({ClaimOf(1), ClaimOf(1), ClaimOf(2)}),
            (std::vector{Verdict::kAdmitted, Verdict::kDuplicate, Verdict::kSoldOut}));
  coupon_.ends_at = backend_->Now();
  EXPECT_EQ(Admit({ClaimOf(1), ClaimOf(2)}), (std::vector{Verdict::kDuplicate, Verdict::kNotOpen}));
}

TEST_P(CouponGate, TakesNothingOutsideTheWindow) {
  Arm({.stock = 2});
  coupon_.ends_at = backend_->Now();  // which is exclusive
  EXPECT_EQ(Admit({ClaimOf(1)}), std::vector{Verdict::kNotOpen});
  EXPECT_EQ((*backend_->control().Inspect(coupon_))->stock, 2);
}

TEST_P(CouponGate, FollowsAWindowThatIsMovedWhileItIsOpen) {
  Arm({.stock = 2});
  const absl::Time starts_at = coupon_.starts_at;
  coupon_.starts_at = backend_->Now() + absl::Minutes(1);
  EXPECT_EQ(Admit({ClaimOf(1)}), std::vector{Verdict::kNotOpen});
  coupon_.starts_at = starts_at;
  EXPECT_EQ(Admit({ClaimOf(1)}), std::vector{Verdict::kAdmitted});
}

TEST_P(CouponGate, KnowsTheParticipantsThatItWasArmedWith) {
  Arm({.stock = 1, .participants = {UserId{7}}});
  auto admissions = backend_->gate().Admit(coupon_, std::vector{ClaimOf(7)});
  ASSERT_TRUE(admissions.ok());
  EXPECT_EQ((*admissions)[0].verdict, Verdict::kDuplicate);
  EXPECT_TRUE((*admissions)[0].recorded);
}

TEST_P(CouponGate, RefusesAllUnlessArmedAtTheGenerationOfTheCoupon) {
  const std::vector claims = {ClaimOf(1)};
  EXPECT_TRUE(absl::IsFailedPrecondition(backend_->gate().Admit(coupon_, claims).status()));
  Arm({.stock = 2});
  coupon_.gate_generation = {2};
  EXPECT_TRUE(absl::IsFailedPrecondition(backend_->gate().Admit(coupon_, claims).status()));
  coupon_.gate_generation = {1};
  EXPECT_EQ(Admit(claims), std::vector{Verdict::kAdmitted});
  ++coupon_.gate_generation.value;
  EXPECT_TRUE(backend_->control().Close(coupon_)->may_have_admitted);
  EXPECT_TRUE(absl::IsFailedPrecondition(backend_->gate().Admit(coupon_, claims).status()));
  coupon_.gate_generation = {1};
  EXPECT_TRUE(absl::IsFailedPrecondition(backend_->gate().Admit(coupon_, claims).status()));
}

TEST_P(CouponGate, StaysClosedAgainstWhoeverWouldArmItAtAnEarlierGeneration) {
  Arm({.stock = 2});
  Coupon next = coupon_;
  next.gate_generation = {2};
  ASSERT_TRUE(backend_->control().Close(next).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(backend_->control().Arm(coupon_, {.stock = 2})));
  EXPECT_FALSE((*backend_->control().Inspect(coupon_))->open);
  ASSERT_TRUE(backend_->control().Close(coupon_).ok());  // comes late, and lowers nothing
  ASSERT_TRUE(backend_->control().Arm(next, {.stock = 2}).ok());
  EXPECT_TRUE((*backend_->control().Inspect(next))->open);
}

TEST_P(CouponGate, IsNotReadyForWhoeverKnowsItElsewhere) {
  Arm({.stock = 2});
  Coupon elsewhere = coupon_;
  elsewhere.gate_home = "another place";
  const std::vector claims = {ClaimOf(1)};
  EXPECT_TRUE(absl::IsFailedPrecondition(backend_->gate().Admit(elsewhere, claims).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      backend_->gate().FindReservations(elsewhere, std::vector{UserId{1}}).status()));
  EXPECT_FALSE((*backend_->control().Inspect(elsewhere))->open);
  elsewhere.gate_generation = {2};
  EXPECT_TRUE(absl::IsFailedPrecondition(backend_->control().Arm(elsewhere, {.stock = 2})));
}

TEST_P(CouponGate, ArmsANewCouponOfTheSameIdAtAnEarlierGeneration) {
  coupon_.gate_generation = {7};
  Arm({.stock = 2});
  coupon_.incarnation = "another";
  coupon_.gate_generation = {1};
  ASSERT_TRUE(backend_->control().Close(coupon_).ok());
  Arm({.stock = 2});
  EXPECT_EQ(Admit({ClaimOf(1)}), std::vector{Verdict::kAdmitted});
}

TEST_P(CouponGate, RemembersAReservationUntilItIsRecorded) {
  Arm({.stock = 2});
  const Claim claim = ClaimOf(1);
  const std::vector users = {UserId{1}, UserId{2}};
  Admit({claim});
  auto reservations = backend_->gate().FindReservations(coupon_, users);
  ASSERT_TRUE(reservations.ok());
  EXPECT_EQ((*reservations)[0], claim.request);
  EXPECT_EQ((*reservations)[1], std::nullopt);
  EXPECT_EQ((*backend_->control().Inspect(coupon_))->reservations, 1);

  ASSERT_TRUE(backend_->gate().Recorded(std::vector{claim, claim, ClaimOf(2)}).ok());
  EXPECT_EQ((*backend_->gate().FindReservations(coupon_, users))[0], std::nullopt);
  auto admissions = backend_->gate().Admit(coupon_, std::vector{claim});
  EXPECT_EQ((*admissions)[0].verdict, Verdict::kDuplicate);
  EXPECT_TRUE((*admissions)[0].recorded);
}

TEST_P(CouponGate, KeepsAReservationWhenAnotherRequestOfTheUserIsRecorded) {
  Arm({.stock = 2});
  const Claim claim = ClaimOf(1);
  Admit({claim});
  ASSERT_TRUE(backend_->gate().Recorded(std::vector{ClaimOf(1)}).ok());
  EXPECT_EQ(Admit({claim}), std::vector{Verdict::kReplay});
}

TEST_P(CouponGate, ListsReservationsByAgeUpToABound) {
  Arm({.stock = 2});
  const Claim old = ClaimOf(1);
  Admit({old});
  backend_->PassTime(absl::Seconds(10));
  const absl::Time now = backend_->Now();
  Admit({ClaimOf(2)});
  const auto find = [this](absl::Duration age, int max) {
    auto found = backend_->control().FindReservationsOlderThan(coupon_.id, age, max);
    EXPECT_TRUE(found.ok()) << found.status();
    return *std::move(found);
  };
  const auto old_ones = find(absl::Seconds(9), 10);
  ASSERT_EQ(old_ones.size(), 1u);
  EXPECT_EQ(old_ones[0].claim.request, old.request);
  EXPECT_LE(old_ones[0].claimed_at, now - absl::Seconds(10));
  EXPECT_GE(old_ones[0].claimed_at, now - absl::Seconds(10) - backend_->clock_tolerance());
  EXPECT_TRUE(find(absl::Seconds(10) + backend_->clock_tolerance(), 10).empty());
  backend_->PassTime(absl::Milliseconds(1));
  EXPECT_EQ(find(absl::ZeroDuration(), 10).size(), 2u);
  EXPECT_EQ(find(absl::ZeroDuration(), 1).size(), 1u);
}

TEST_P(CouponGate, ForgetsEverythingWhenArmedAgain) {
  Arm({.stock = 2});
  Admit({ClaimOf(1), ClaimOf(2)});
  coupon_.gate_generation = {2};
  Arm({.stock = 1, .participants = {UserId{2}}});
  const auto state = **backend_->control().Inspect(coupon_);
  EXPECT_TRUE(state.open);
  EXPECT_EQ(state.generation, coupon_.gate_generation);
  EXPECT_EQ(state.total, 2);
  EXPECT_EQ(state.stock, 1);
  EXPECT_EQ(state.participants, 1);
  EXPECT_EQ(state.reservations, 0);
  EXPECT_EQ(Admit({ClaimOf(1), ClaimOf(2)}),
            (std::vector{Verdict::kAdmitted, Verdict::kDuplicate}));
}

TEST_P(CouponGate, IsGoneAfterDisarm) {
  Arm({.stock = 2});
  ASSERT_TRUE(backend_->control().Disarm(coupon_.id).ok());
  EXPECT_EQ(*backend_->control().Inspect(coupon_), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(Backends, CouponGate, testing::ValuesIn(kGateBackends),
                         [](const auto& param) { return std::string(param.param); });

// Own to the embedded gate, which takes its cap from the configuration.
TEST(EmbeddedGate, RefusesAsBusyBeyondTheCapOnReservations) {
  EmbeddedCouponBackend backend(/*in_memory=*/true, {.reservations_max = 1});
  Coupon coupon = OpenCoupon(backend.clock(), 1, 5);
  coupon.gate_home = HomeOf(backend.control(), coupon);
  ASSERT_TRUE(backend.control().Arm(coupon, {.stock = 5}).ok());
  const std::vector<Claim> claims = {{{coupon.id, {1}}, RequestId::Random()},
                                     {{coupon.id, {2}}, RequestId::Random()}};
  auto admissions = backend.gate().Admit(coupon, claims);
  EXPECT_EQ((*admissions)[1].verdict, Verdict::kBusy);
  ASSERT_TRUE(backend.gate().Recorded(std::vector{claims[0]}).ok());
  EXPECT_EQ((*backend.gate().Admit(coupon, claims))[1].verdict, Verdict::kAdmitted);
}

}  // namespace
}  // namespace ecom::tests
