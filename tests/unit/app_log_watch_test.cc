#include "app/log_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "coupon/claim_log.h"

namespace ecom::app {
namespace {

/// A log whose length the test sets.
class Length final : public coupon::LogProgress {
 public:
  absl::StatusOr<coupon::LogPositions> Ends() override {
    if (down) return absl::UnavailableError("down");
    return coupon::LogPositions{{0, end.load()}};
  }
  absl::StatusOr<coupon::LogPositions> Committed() override {
    if (down) return absl::UnavailableError("down");
    return coupon::LogPositions{{0, 1}};
  }

  std::atomic<int64_t> end = 1;
  std::atomic<bool> down = false;
};

bool Eventually(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (absl::Now() < deadline) {
    if (condition()) return true;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return false;
}

class LogWatchTest : public ::testing::Test {
 protected:
  Length length_;
  std::atomic<bool> letters_known_ = true;
  LogWatch watch_{{.interval = absl::Milliseconds(1)},
                  {.progress = length_, .count_dead_letters = [this]() -> absl::StatusOr<int64_t> {
                     if (!letters_known_) return absl::UnavailableError("down");
                     return 7;
                   }}};
};

TEST_F(LogWatchTest, LooksAgainAndAgain) {
  EXPECT_TRUE(Eventually([&] { return watch_.sight().dead_letters == 7; }));
  length_.end = 5;
  EXPECT_TRUE(Eventually([&] { return watch_.sight().ends == coupon::LogPositions{{0, 5}}; }));
  EXPECT_EQ(watch_.sight().committed, (coupon::LogPositions{{0, 1}}));
}

TEST_F(LogWatchTest, KeepsNothingThatItCannotSeeAnyMore) {
  EXPECT_TRUE(Eventually([&] { return watch_.sight().dead_letters.has_value(); }));
  letters_known_ = false;
  EXPECT_TRUE(Eventually([&] { return !watch_.sight().dead_letters.has_value(); }));
  EXPECT_TRUE(watch_.sight().ends.has_value()) << "the log can still be seen";
  length_.down = true;
  EXPECT_TRUE(Eventually([&] { return !watch_.sight().ends && !watch_.sight().committed; }));
  length_.down = false;
  EXPECT_TRUE(Eventually([&] { return watch_.sight().ends && watch_.sight().committed; }));
}

TEST_F(LogWatchTest, StopsAtOnceAndTwice) {
  watch_.Stop();
  watch_.Stop();
}

}  // namespace
}  // namespace ecom::app
