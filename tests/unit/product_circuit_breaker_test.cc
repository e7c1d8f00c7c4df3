#include "product/circuit_breaker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "support/fake_clock.h"

namespace ecom::product {
namespace {

using State = CircuitBreaker::State;

class Breaker : public testing::Test {
 protected:
  void Fail(int times) {
    for (int i = 0; i < times; ++i) {
      ASSERT_TRUE(breaker_.Allow());
      breaker_.Failed();
    }
  }

  /// Fails a pause, which must be `backoff`, give or take a fifth.
  void FailAfterAPauseOf(absl::Duration backoff) {
    const absl::Duration shortest = backoff * 0.8 - absl::Microseconds(1);
    clock_.Advance(shortest);
    EXPECT_FALSE(breaker_.Allow()) << backoff;
    clock_.Advance(backoff * 1.2 + absl::Microseconds(1) - shortest);
    ASSERT_TRUE(breaker_.Allow()) << backoff;
    breaker_.Failed();
  }

  tests::FakeClock clock_;
  CircuitBreaker breaker_{
      {.failures_max = 3, .backoff_min = absl::Milliseconds(100), .backoff_max = absl::Seconds(1)},
      clock_};
};

TEST_F(Breaker, LetsEverybodyAskAtFirst) {
  EXPECT_EQ(breaker_.state(), State::kClosed);
  EXPECT_TRUE(breaker_.Allow());
  EXPECT_TRUE(breaker_.Allow());
}

TEST_F(Breaker, OpensAfterSomeFailuresInARow) {
  Fail(2);
  EXPECT_EQ(breaker_.state(), State::kClosed);
  Fail(1);
  EXPECT_EQ(breaker_.state(), State::kOpen);
  EXPECT_FALSE(breaker_.Allow());
}

TEST_F(Breaker, StaysClosedWhileOneSucceedsInBetween) {
  for (int i = 0; i < 10; ++i) {
    Fail(2);
    ASSERT_TRUE(breaker_.Allow());
    breaker_.Succeeded();
  }
  EXPECT_EQ(breaker_.state(), State::kClosed);
}

TEST_F(Breaker, LetsOneTryAfterThePause) {
  Fail(3);
  clock_.Advance(absl::Milliseconds(121));
  EXPECT_TRUE(breaker_.Allow());
  EXPECT_EQ(breaker_.state(), State::kHalfOpen);
  EXPECT_FALSE(breaker_.Allow());
  clock_.Advance(absl::Hours(1));
  EXPECT_FALSE(breaker_.Allow()) << "while the first one is trying";
}

TEST_F(Breaker, ClosesWhenTheTrySucceeds) {
  Fail(3);
  clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(breaker_.Allow());
  breaker_.Succeeded();
  EXPECT_EQ(breaker_.state(), State::kClosed);
  Fail(2);
  EXPECT_EQ(breaker_.state(), State::kClosed) << "earlier failures count no more";
}

TEST_F(Breaker, DoublesThePauseUpToABoundAndBeginsAnewOnceItClosed) {
  Fail(3);
  for (const int64_t milliseconds : {100, 200, 400, 800, 1'000, 1'000}) {
    FailAfterAPauseOf(absl::Milliseconds(milliseconds));
  }
  clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(breaker_.Allow());
  breaker_.Succeeded();
  Fail(3);
  FailAfterAPauseOf(absl::Milliseconds(100));
}

TEST_F(Breaker, SpreadsThePauses) {
  // One that tried at the same time each time would make all servers try at once.
  int early = 0;
  constexpr int kBreakers = 200;
  for (int i = 0; i < kBreakers; ++i) {
    CircuitBreaker breaker({.failures_max = 1, .backoff_min = absl::Milliseconds(100)}, clock_);
    ASSERT_TRUE(breaker.Allow());
    breaker.Failed();
    clock_.Advance(absl::Milliseconds(100));
    if (breaker.Allow()) ++early;
  }
  EXPECT_GT(early, kBreakers / 5);
  EXPECT_LT(early, kBreakers * 4 / 5);
}

TEST_F(Breaker, IsNotToldAnythingByThoseWhoAskedBeforeItOpened) {
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(breaker_.Allow());
  for (int i = 0; i < 4; ++i) breaker_.Failed();
  breaker_.Succeeded();
  EXPECT_EQ(breaker_.state(), State::kOpen);
  FailAfterAPauseOf(absl::Milliseconds(100));
}

TEST_F(Breaker, LetsOneOfManyThreadsTry) {
  Fail(3);
  clock_.Advance(absl::Seconds(1));
  std::atomic<int> allowed = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 1'000; ++k) allowed += breaker_.Allow() ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(allowed, 1);
}

}  // namespace
}  // namespace ecom::product
