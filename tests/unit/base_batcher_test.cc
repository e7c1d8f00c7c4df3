#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/batcher.h"

namespace ecom::tests {
namespace {

/// A stage that collects batches, and waits while it is held.
class Collector {
 public:
  void Run(std::vector<int>& batch) {
    std::unique_lock lock(mutex_);
    ++running_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !held_; });
    batches_.push_back(batch);
    changed_.notify_all();
  }
  void Hold(bool held) {
    std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }
  void WaitUntilRunning() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return running_ > 0; });
  }
  std::vector<std::vector<int>> WaitForItems(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      size_t items = 0;
      for (const auto& batch : batches_) items += batch.size();
      return items >= count;
    });
    return batches_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  int running_ = 0;
  std::vector<std::vector<int>> batches_;
};

using Batcher = base::Batcher<int>;

TEST(Batcher, PassesALoneItemOnAtOnce) {
  Collector collector;
  Batcher batcher({.name = "test"}, [&](std::vector<int>& batch) { collector.Run(batch); });
  ASSERT_TRUE(batcher.Add(1));
  EXPECT_EQ(collector.WaitForItems(1), (std::vector<std::vector<int>>{{1}}));
}

TEST(Batcher, TakesAllThatWaitsInOrderUpToTheBound) {
  Collector collector;
  Batcher batcher({.name = "test", .batch_items_max = 3},
                  [&](std::vector<int>& batch) { collector.Run(batch); });
  collector.Hold(true);
  ASSERT_TRUE(batcher.Add(0));
  collector.WaitUntilRunning();
  for (int i = 1; i <= 5; ++i) ASSERT_TRUE(batcher.Add(int{i}));
  collector.Hold(false);
  EXPECT_EQ(collector.WaitForItems(6), (std::vector<std::vector<int>>{{0}, {1, 2, 3}, {4, 5}}));
}

TEST(Batcher, RefusesWhatDoesNotFitAndLeavesItWithTheCaller) {
  Collector collector;
  Batcher batcher({.name = "test", .batch_items_max = 8, .queue_items_max = 2},
                  [&](std::vector<int>& batch) { collector.Run(batch); });
  collector.Hold(true);
  ASSERT_TRUE(batcher.Add(0));
  collector.WaitUntilRunning();
  std::vector<int> three = {1, 2, 3};
  EXPECT_FALSE(batcher.AddAll(three));
  EXPECT_EQ(three.size(), 3u);
  std::vector<int> two = {1, 2};
  EXPECT_TRUE(batcher.AddAll(two));
  EXPECT_TRUE(two.empty());
  EXPECT_FALSE(batcher.Add(3));
  collector.Hold(false);
  EXPECT_EQ(collector.WaitForItems(3), (std::vector<std::vector<int>>{{0}, {1, 2}}));
}

TEST(Batcher, FinishesWhatWaitsBeforeItStopsAndRefusesAfterwards) {
  std::atomic<int> done = 0;
  Batcher batcher({.name = "test"},
                  [&](std::vector<int>& batch) { done += static_cast<int>(batch.size()); });
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(batcher.Add(int{i}));
  batcher.Stop();
  EXPECT_EQ(done, 1000);
  EXPECT_FALSE(batcher.Add(1));
  batcher.Stop();
}

TEST(Batcher, LosesAndRepeatsNothingUnderManyCallers) {
  std::vector<int> seen(40000);
  base::Batcher<std::unique_ptr<int>> batcher({.name = "test", .queue_items_max = 100000},
                                              [&](std::vector<std::unique_ptr<int>>& batch) {
                                                for (const auto& item : batch)
                                                  ++seen[static_cast<size_t>(*item)];
                                              });
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int i = 0; i < 10000; ++i) {
        ASSERT_TRUE(batcher.Add(std::make_unique<int>(caller * 10000 + i)));
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  batcher.Stop();
  for (const int times : seen) ASSERT_EQ(times, 1);
}

}  // namespace
}  // namespace ecom::tests
