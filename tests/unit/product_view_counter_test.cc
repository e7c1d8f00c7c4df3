#include "product/view_counter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "support/fake_clock.h"
#include "support/faulty_product_store.h"
#include "support/product_backend.h"

namespace ecom::tests {
namespace {

using product::ProductId;
using product::ViewCounter;

class Views : public testing::Test {
 protected:
  Views() { backend_.PutProducts(MakeProducts(100)); }

  /// A counter whose own flusher does nothing within a test.
  std::unique_ptr<ViewCounter> Make(ViewCounter::Options options = ByHand()) {
    return std::make_unique<ViewCounter>(options, store_, clock_,
                                         [this](ProductId id) { forgotten_.push_back(id); });
  }

  static ViewCounter::Options ByHand() {
    return {.flush_interval = absl::Hours(1), .stop_retry_delay = absl::ZeroDuration()};
  }

  int64_t Stored(int64_t id) {
    const std::vector<ProductId> ids = {{id}};
    return (*backend_.store().FindProducts(ids))[0]->view_count;
  }

  int64_t StoredOfAll() {
    int64_t views = 0;
    for (int64_t id = 1; id <= 100; ++id) views += Stored(id);
    return views;
  }

  EmbeddedProductBackend backend_{/*in_memory=*/true};
  FaultyProductStore store_{backend_.store()};
  FakeClock clock_;
  std::vector<ProductId> forgotten_;
};

TEST_F(Views, ShowsEachViewAtOnceAndWritesItWithTheFlush) {
  auto counter = Make();
  EXPECT_EQ(counter->Count({1}, 0), 1);
  EXPECT_EQ(counter->Count({1}, 0), 2);
  EXPECT_EQ(counter->Count({2}, 0), 1);
  EXPECT_EQ(Stored(1), 0);
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(Stored(1), 2);
  EXPECT_EQ(Stored(2), 1);
  EXPECT_EQ(store_.add_views_calls(), 1);
}

TEST_F(Views, GoesOnFromTheFlushedTotalThoughTheCacheStillHoldsTheOldCount) {
  auto counter = Make();
  counter->Count({1}, 0);
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(counter->Count({1}, 0), 2);
  EXPECT_EQ(counter->Count({1}, 1), 3);
}

TEST_F(Views, TakesOverViewsThatOthersCounted) {
  auto counter = Make();
  EXPECT_EQ(counter->Count({1}, 0), 1);
  const std::vector<product::ViewDelta> others = {{.id = {1}, .views = 10}};
  ASSERT_TRUE(backend_.store().AddViews(others).ok());
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(counter->Count({1}, 0), 12);
  EXPECT_EQ(counter->Count({1}, 40), 42);
}

TEST_F(Views, CountsAFlushUnderWayOnceThoughTheStoreHoldsItAlready) {
  auto counter = Make();
  for (int i = 0; i < 5; ++i) counter->Count({1}, 0);
  store_.Hold();
  std::thread flush([&] { EXPECT_TRUE(counter->Flush().ok()); });
  store_.WaitUntilOneIsHeld();
  ASSERT_EQ(Stored(1), 5);  // committed, and the answer is still on its way
  EXPECT_EQ(counter->Count({1}, 5), 6);
  EXPECT_EQ(counter->Count({1}, 0), 7);
  store_.Release();
  flush.join();
  EXPECT_EQ(counter->Count({1}, 5), 8);
  EXPECT_EQ(counter->Stop(), 0);
  EXPECT_EQ(Stored(1), 8);
}

TEST_F(Views, NeverGoDownThoughTheStoresCountIsSetBack) {
  auto counter = Make();
  EXPECT_EQ(counter->Count({1}, 100), 101);
  EXPECT_EQ(counter->Count({1}, 100), 102);
  EXPECT_TRUE(counter->Flush().ok());  // the store had 0, and answers 2
  EXPECT_GE(counter->Count({1}, 0), 102);
}

TEST_F(Views, AreKeptWhenAFlushFailsAndWrittenOnceByTheNext) {
  auto counter = Make();
  counter->Count({1}, 0);
  store_.FailAddViews(1);
  EXPECT_EQ(counter->Flush().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(counter->Count({1}, 0), 2);
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(Stored(1), 2);
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(Stored(1), 2);
  const ViewCounter::Stats stats = counter->stats();
  EXPECT_EQ(stats.views, 2);
  EXPECT_EQ(stats.views_flushed, 2);
  EXPECT_EQ(stats.flush_errors, 1);
}

TEST_F(Views, AreKeptWhenALaterPartOfAFlushFails) {
  ViewCounter::Options options = ByHand();
  options.flush_products_max = 10;
  auto counter = Make(options);
  for (int64_t id = 1; id <= 25; ++id) counter->Count({id}, 0);
  store_.FailAddViews(1);
  EXPECT_FALSE(counter->Flush().ok());
  EXPECT_EQ(StoredOfAll(), 0);
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(StoredOfAll(), 25);
  EXPECT_EQ(store_.add_views_calls(), 1 + 3);
}

TEST_F(Views, OfAProductThatIsGoneHoldUpNoOther) {
  auto counter = Make();
  counter->Count({4'242}, 3);
  counter->Count({1}, 0);
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(Stored(1), 1);
  EXPECT_EQ(counter->Stop(), 0);
}

TEST_F(Views, AreWrittenByTheFlusherWithoutBeingAsked) {
  ViewCounter::Options options = ByHand();
  options.flush_interval = absl::Milliseconds(1);
  auto counter = Make(options);
  counter->Count({1}, 0);
  store_.WaitForAddViews(1);
  counter->Count({1}, 0);
  store_.WaitForAddViews(2);
  EXPECT_EQ(counter->Stop(), 0);
  EXPECT_EQ(Stored(1), 2);
}

TEST_F(Views, AreAllWrittenByACleanStop) {
  ViewCounter::Options options = ByHand();
  options.flush_interval = absl::Microseconds(100);  // many flushes among the views
  auto counter = Make(options);
  std::atomic<int64_t> went_down = 0;
  std::vector<std::thread> threads;
  for (int64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::vector<int64_t> shown(101, 0);
      for (int64_t i = 0; i < 2'500; ++i) {
        const int64_t id = 1 + (i * 7 + seed) % 100;
        const int64_t count = counter->Count({id}, 0);
        if (count <= shown[static_cast<size_t>(id)]) ++went_down;
        shown[static_cast<size_t>(id)] = count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter->Stop(), 0);
  EXPECT_EQ(counter->Stop(), 0);
  EXPECT_EQ(went_down, 0);
  EXPECT_EQ(StoredOfAll(), 10'000);
}

TEST_F(Views, SurviveAStoreThatFailsDuringTheStop) {
  auto counter = Make();
  counter->Count({1}, 0);
  store_.FailAddViews(4);
  EXPECT_EQ(counter->Stop(), 0);
  EXPECT_EQ(store_.add_views_calls(), 5);
  EXPECT_EQ(Stored(1), 1);
}

TEST_F(Views, AreReportedAsLostWhenTheStoreFailsToTheEnd) {
  auto counter = Make();
  for (int i = 0; i < 3; ++i) counter->Count({1}, 0);
  store_.AnswerWith(absl::UnavailableError("failed by the test"));
  EXPECT_EQ(counter->Stop(), 3);
  EXPECT_EQ(store_.add_views_calls(), 5);
  EXPECT_EQ(counter->Stop(), 3);
  EXPECT_EQ(Stored(1), 0);
}

TEST_F(Views, DropACounterThatWasIdleForLong) {
  const ViewCounter::Options options = ByHand();
  auto counter = Make(options);
  counter->Count({1}, 0);
  EXPECT_TRUE(counter->Flush().ok());
  clock_.Advance(options.idle_max);
  counter->Count({2}, 0);
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(counter->stats().counters, 2);
  clock_.Advance(options.idle_max / 2);
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(counter->stats().counters, 1);
  EXPECT_TRUE(forgotten_.empty());
}

TEST_F(Views, DropNoCounterThatHasSomethingToWrite) {
  const ViewCounter::Options options = ByHand();
  auto counter = Make(options);
  counter->Count({1}, 0);
  store_.FailAddViews(1);
  clock_.Advance(options.idle_max * 2);
  EXPECT_FALSE(counter->Flush().ok());
  EXPECT_EQ(counter->stats().counters, 1);
  EXPECT_EQ(counter->Stop(), 0);
  EXPECT_EQ(Stored(1), 1);
}

TEST_F(Views, KeepABoundedNumberOfCountersAndTellWhichTheyForgot) {
  ViewCounter::Options options = ByHand();
  options.counters_max = 40;
  auto counter = Make(options);
  for (int64_t id = 1; id <= 100; ++id) {
    counter->Count({id}, 0);
    clock_.Advance(absl::Milliseconds(1));
  }
  EXPECT_TRUE(counter->Flush().ok());
  const ViewCounter::Stats stats = counter->stats();
  EXPECT_LE(stats.counters, 40);
  EXPECT_GE(stats.counters, 30);
  EXPECT_EQ(stats.counters_forgotten, 100 - stats.counters);
  ASSERT_EQ(static_cast<int64_t>(forgotten_.size()), stats.counters_forgotten);
  for (const ProductId id : forgotten_) EXPECT_LE(id.value, 70) << "was used lately";
}

}  // namespace
}  // namespace ecom::tests
