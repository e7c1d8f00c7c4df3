#include "base/call_stats.h"

#include <gtest/gtest.h>

#include <limits>
#include <thread>
#include <vector>

namespace ecom::base {
namespace {

int64_t EndedWith(const CallStats& stats, absl::StatusCode code) {
  return stats.snapshot().by_code[static_cast<size_t>(code)];
}

TEST(CallStats, CountCallsByCodeAndDuration) {
  CallStats stats;
  for (int i = 0; i < 4; ++i) stats.Started();
  stats.Ended(0, absl::Microseconds(100));
  stats.Ended(0, absl::Microseconds(101));
  stats.Ended(static_cast<int>(absl::StatusCode::kUnavailable), absl::Seconds(2));
  const CallStats::Snapshot seen = stats.snapshot();
  EXPECT_EQ(seen.started, 4);
  EXPECT_EQ(EndedWith(stats, absl::StatusCode::kOk), 2);
  EXPECT_EQ(EndedWith(stats, absl::StatusCode::kUnavailable), 1);
  EXPECT_EQ(seen.by_duration[0], 1) << "a bound belongs to the bucket below it";
  EXPECT_EQ(seen.by_duration[1], 1);
  EXPECT_EQ(seen.by_duration.back(), 1);
  EXPECT_EQ(seen.total, absl::Seconds(2) + absl::Microseconds(201));
}

TEST(CallStats, TakeACodeThatNobodyKnowsForUnknown) {
  CallStats stats;
  for (const int code : {-1, 17, std::numeric_limits<int>::max()}) {
    stats.Ended(code, absl::ZeroDuration());
  }
  EXPECT_EQ(EndedWith(stats, absl::StatusCode::kUnknown), 3);
}

TEST(CallStats, LoseNothingThatThreadsCountAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 10'000;
  CallStats stats;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int call = 0; call < kCalls; ++call) {
        stats.Started();
        stats.Ended(0, absl::Microseconds(1));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const CallStats::Snapshot seen = stats.snapshot();
  EXPECT_EQ(seen.started, kThreads * kCalls);
  EXPECT_EQ(seen.by_code[0], kThreads * kCalls);
  EXPECT_EQ(seen.by_duration[0], kThreads * kCalls);
  EXPECT_EQ(seen.total, kThreads * kCalls * absl::Microseconds(1));
}

TEST(CallStats, AddUp) {
  CallStats stats;
  stats.Started();
  stats.Ended(0, absl::Seconds(1));
  CallStats::Snapshot sum = stats.snapshot();
  sum += stats.snapshot();
  EXPECT_EQ(sum.started, 2);
  EXPECT_EQ(sum.by_code[0], 2);
  EXPECT_EQ(sum.by_duration[CallStats::kBounds.size() - 1], 2);
  EXPECT_EQ(sum.total, absl::Seconds(2));
}

TEST(Counted, CountsWhatTheCallReturns) {
  CallStats stats;
  EXPECT_TRUE(Counted(stats, [] { return absl::OkStatus(); }).ok());
  EXPECT_EQ(*Counted(stats, []() -> absl::StatusOr<int> { return 7; }), 7);
  const auto failed =
      Counted(stats, []() -> absl::StatusOr<int> { return absl::UnavailableError("down"); });
  EXPECT_EQ(failed.status().message(), "down");
  EXPECT_EQ(stats.snapshot().started, 3);
  EXPECT_EQ(EndedWith(stats, absl::StatusCode::kOk), 2);
  EXPECT_EQ(EndedWith(stats, absl::StatusCode::kUnavailable), 1);
}

}  // namespace
}  // namespace ecom::base
