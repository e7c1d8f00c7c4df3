#include "coupon/load_shedder.h"

#include <gtest/gtest.h>

#include <deque>
#include <vector>

#include "support/fake_clock.h"

namespace ecom::tests {
namespace {

constexpr absl::Duration kStep = absl::Milliseconds(1);
constexpr absl::Duration kTarget = absl::Milliseconds(200);
constexpr int64_t kBatch = 256;

/// Claims that come and go, on a clock of the test's: in each millisecond as many as they say, the
/// oldest first.
class LoadShedder : public testing::Test {
 protected:
  struct Seen {
    int64_t came = 0;
    int64_t shed = 0;
    int64_t left = 0;
    absl::Duration longest_wait;  // of those that left
  };

  /// Lets time pass. Rates are claims a second.
  Seen Pass(absl::Duration time, int64_t coming, int64_t leaving) {
    Seen seen;
    for (absl::Duration passed; passed < time; passed += kStep) {
      clock_.Advance(kStep);
      for (leaving_ += leaving; leaving_ >= 1000 && !waiting_.empty(); leaving_ -= 1000) {
        seen.longest_wait =
            std::max(seen.longest_wait, clock_.Monotonic() - waiting_.front().since);
        shedder_.Leave(waiting_.front().ticket);
        waiting_.pop_front();
        ++seen.left;
      }
      leaving_ = std::min<int64_t>(leaving_, 1000);  // nobody works ahead
      for (coming_ += coming; coming_ >= 1000; coming_ -= 1000) Come(seen);
    }
    return seen;
  }

  Seen Burst(int64_t claims) {
    Seen seen;
    for (int64_t i = 0; i < claims; ++i) Come(seen);
    return seen;
  }

  void Come(Seen& seen) {
    ++seen.came;
    const auto ticket = shedder_.TryEnter();
    if (!ticket) {
      ++seen.shed;
      return;
    }
    waiting_.push_back({*ticket, clock_.Monotonic()});
  }

  struct Waiting {
    coupon::LoadShedder::Ticket ticket;
    absl::Duration since;
  };

  FakeClock clock_;
  coupon::LoadShedder shedder_{{.wait_target = kTarget, .claims_always = kBatch}, clock_};
  std::deque<Waiting> waiting_;
  int64_t coming_ = 0;
  int64_t leaving_ = 0;
};

TEST_F(LoadShedder, LetsABurstIn) {
  EXPECT_EQ(Burst(2000).shed, 0);
  EXPECT_EQ(Pass(absl::Seconds(1), 10'000, 13'000).shed, 0);
  EXPECT_EQ(Burst(2000).shed, 0) << "on top of a load";
  EXPECT_EQ(Pass(absl::Seconds(1), 10'000, 13'000).shed, 0);
}

TEST_F(LoadShedder, LeavesABatchOfCallersAloneHoweverSlowTheGateIs) {
  Burst(kBatch);
  for (int second = 0; second < 10; ++second) {
    for (int i = 0; i < 100; ++i) {
      // Each comes again once it has its answer.
      const Seen seen = Pass(absl::Milliseconds(10), 0, 300);
      EXPECT_EQ(Burst(seen.left).shed, 0);
    }
  }
}

TEST_F(LoadShedder, KeepsTheWaitShortAndTheGateBusyUnderTenfoldLoad) {
  Pass(absl::Seconds(3), 1'500, 3'000);
  const Seen onset = Pass(absl::Seconds(3), 30'000, 3'000);
  EXPECT_GE(onset.left, 8'900);
  EXPECT_LT(onset.longest_wait, absl::Seconds(2.5)) << "those who came before it showed";
  const Seen later = Pass(absl::Seconds(20), 30'000, 3'000);
  EXPECT_GE(later.left, 59'500);
  EXPECT_LE(later.longest_wait, kTarget + absl::Milliseconds(30));
  EXPECT_EQ(later.came, later.shed + later.left);
  EXPECT_GE(shedder_.stats().on_their_way, 580) << "as many as come out in time may wait";
}

TEST_F(LoadShedder, HasNobodyWaitForMoreThanABatchOfASlowGate) {
  Pass(absl::Seconds(3), 3'000, 300);
  const Seen later = Pass(absl::Seconds(20), 3'000, 300);
  EXPECT_GE(later.left, 5'990);
  EXPECT_LE(later.longest_wait, absl::Milliseconds(1000) * kBatch / 300 + kStep);
}

TEST_F(LoadShedder, IsBackToNormalSoonAfterTheLoad) {
  Pass(absl::Seconds(5), 30'000, 3'000);
  Pass(absl::Seconds(1), 1'500, 3'000);
  const Seen after = Pass(absl::Seconds(1), 1'500, 3'000);
  EXPECT_EQ(after.shed, 0);
  EXPECT_LE(after.longest_wait, kStep);
  EXPECT_EQ(Burst(2000).shed, 0);
}

TEST_F(LoadShedder, FollowsAGateThatBecomesFast) {
  Pass(absl::Seconds(5), 10'000, 300);
  Pass(absl::Seconds(1), 10'000, 13'000);
  EXPECT_EQ(Pass(absl::Seconds(5), 10'000, 13'000).shed, 0);
}

TEST_F(LoadShedder, RefusesAllButABatchWhenNothingComesOut) {
  Pass(absl::Seconds(1), 1'000, 2'000);
  const Seen seen = Pass(absl::Seconds(3), 1'000, 0);
  EXPECT_EQ(seen.shed, seen.came - kBatch);
  EXPECT_EQ(shedder_.stats().shed_at_once, seen.shed);
  EXPECT_EQ(shedder_.stats().on_their_way, kBatch);
  EXPECT_GE(shedder_.stats().oldest_wait, absl::Milliseconds(2999));
  Pass(absl::Seconds(1), 0, 2'000);
  EXPECT_EQ(shedder_.stats().on_their_way, 0);
  EXPECT_EQ(shedder_.stats().oldest_wait, absl::ZeroDuration());
}

TEST_F(LoadShedder, ForgetsWithinASecondHowFastTheGateWas) {
  Pass(absl::Seconds(2), 5'000, 6'000);
  EXPECT_GT(Pass(absl::Seconds(3), 1'000, 0).shed, 2'400);
  EXPECT_LT(shedder_.stats().on_their_way, 600);
}

TEST_F(LoadShedder, DropsWhoHasWaitedForLongOnlyWhileMoreWaitThanTheLimit) {
  Burst(2 * kBatch);
  const absl::Duration deadline = clock_.Monotonic() + absl::Seconds(3);
  const auto oldest = waiting_.front().ticket;
  clock_.Advance(absl::Milliseconds(1600));
  EXPECT_FALSE(shedder_.ShouldDrop(oldest, deadline)) << "no overload was seen";
  EXPECT_EQ(Burst(1).shed, 1);
  EXPECT_TRUE(shedder_.ShouldDrop(oldest, deadline));
  EXPECT_FALSE(shedder_.ShouldDrop(oldest, absl::InfiniteDuration()));
  EXPECT_FALSE(shedder_.ShouldDrop(oldest, deadline + absl::Milliseconds(300)));
  EXPECT_EQ(shedder_.stats().shed_waiting, 1);
  for (int64_t i = 2 * kBatch - 1; i >= kBatch - 1; --i) {
    shedder_.Leave(waiting_.back().ticket);  // in any order
    waiting_.pop_back();
  }
  EXPECT_FALSE(shedder_.ShouldDrop(oldest, deadline));
}

}  // namespace
}  // namespace ecom::tests
