#include "product/view_counter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "adapters/embedded/view_totals.h"
#include "support/fake_clock.h"
#include "support/faulty_product_store.h"
#include "support/faulty_view_totals.h"
#include "support/memory_view_totals.h"
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
    return std::make_unique<ViewCounter>(
        options, ViewCounter::Deps{.store = backend_.store(), .totals = totals_, .clock = clock_},
        [this](ProductId id) { forgotten_.push_back(id); },
        [this](std::span<const product::ViewDelta> deltas) {
          ++tellings_;
          for (const product::ViewDelta& delta : deltas) told_[delta.id.value] += delta.views;
        });
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
  adapters::embedded::EmbeddedViewTotals embedded_{backend_.database()};
  FaultyViewTotals totals_{embedded_};
  FakeClock clock_;
  std::vector<ProductId> forgotten_;
  int tellings_ = 0;
  std::map<int64_t, int64_t> told_;
};

TEST_F(Views, TellsOfEachViewOnceThoughItsBatchIsSentAgain) {
  auto counter = Make();
  for (int i = 0; i < 5; ++i) counter->Count({1}, 0);
  counter->Count({2}, 0);
  totals_.AnswerWith(absl::UnavailableError("failed by the test"));
  EXPECT_FALSE(counter->Flush().ok());
  totals_.AnswerWith(absl::OkStatus());
  EXPECT_TRUE(counter->Flush().ok());
  counter->Count({2}, 0);
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(told_, (std::map<int64_t, int64_t>{{1, 5}, {2, 2}}));
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(tellings_, 4) << "of none, too";
}

TEST_F(Views, ShowsEachViewAtOnceAndWritesItWithTheFlush) {
  auto counter = Make();
  EXPECT_EQ(counter->Count({1}, 0), 1);
  EXPECT_EQ(counter->Count({1}, 0), 2);
  EXPECT_EQ(counter->Count({2}, 0), 1);
  EXPECT_EQ(Stored(1), 0);
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(Stored(1), 2);
  EXPECT_EQ(Stored(2), 1);
  EXPECT_EQ(totals_.adds(), 1);
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
  ASSERT_TRUE(embedded_.Add({"another", 1, {{{1}, 10}}}).ok());
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(counter->Count({1}, 0), 12);
  EXPECT_EQ(counter->Count({1}, 40), 42);
}

TEST_F(Views, CountsAFlushUnderWayOnceThoughTheStoreHoldsItAlready) {
  auto counter = Make();
  for (int i = 0; i < 5; ++i) counter->Count({1}, 0);
  totals_.Hold();
  std::thread flush([&] { EXPECT_TRUE(counter->Flush().ok()); });
  totals_.WaitUntilOneIsHeld();
  ASSERT_EQ(Stored(1), 5);  // committed, and the answer is still on its way
  EXPECT_EQ(counter->Count({1}, 5), 6);
  EXPECT_EQ(counter->Count({1}, 0), 7);
  totals_.Release();
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
  EXPECT_EQ(counter->Count({1}, 0), 103);
  EXPECT_EQ(Stored(1), 102) << "told what it had forgotten";
}

TEST_F(Views, AreKeptWhenAFlushFailsAndWrittenOnceByTheNext) {
  auto counter = Make();
  counter->Count({1}, 0);
  totals_.FailAdds(1);
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
  totals_.FailAdds(1);
  EXPECT_FALSE(counter->Flush().ok());
  EXPECT_EQ(StoredOfAll(), 0);
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(StoredOfAll(), 25);
  EXPECT_EQ(totals_.adds(), 1 + 3);
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
  totals_.WaitForAdds(1);
  counter->Count({1}, 0);
  totals_.WaitForAdds(2);
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

TEST_F(Views, SurviveTotalsThatFailDuringTheStop) {
  auto counter = Make();
  counter->Count({1}, 0);
  totals_.FailAdds(4);
  EXPECT_EQ(counter->Stop(), 0);
  EXPECT_EQ(totals_.adds(), 5);
  EXPECT_EQ(Stored(1), 1);
}

TEST_F(Views, AreReportedAsLostWhenTheTotalsFailToTheEnd) {
  auto counter = Make();
  for (int i = 0; i < 3; ++i) counter->Count({1}, 0);
  totals_.AnswerWith(absl::UnavailableError("failed by the test"));
  EXPECT_EQ(counter->Stop(), 3);
  EXPECT_EQ(totals_.adds(), 5);
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
  totals_.FailAdds(1);
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

TEST_F(Views, OfABatchWhoseAnswerWasLostCountOnce) {
  auto counter = Make();
  for (int i = 0; i < 3; ++i) counter->Count({1}, 0);
  totals_.LoseAnswersOfAdds(2);
  EXPECT_FALSE(counter->Flush().ok());
  ASSERT_EQ(Stored(1), 3);
  EXPECT_EQ(counter->Count({1}, 3), 4) << "what was read may hold the batch already";
  EXPECT_FALSE(counter->Flush().ok());
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_EQ(Stored(1), 4);
  EXPECT_EQ(counter->Count({1}, 4), 5);
}

TEST_F(Views, AreSentInTheSameBatchUntilItIsKnownThatTheyWereAdded) {
  auto counter = Make();
  counter->Count({1}, 0);
  totals_.LoseAnswersOfAdds(1);
  EXPECT_FALSE(counter->Flush().ok());
  counter->Count({1}, 0);
  counter->Count({2}, 0);
  EXPECT_TRUE(counter->Flush().ok());
  const std::vector<product::ViewBatch> sent = totals_.batches();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(sent[1].sequence, sent[0].sequence);
  ASSERT_EQ(sent[1].deltas.size(), 1u);
  EXPECT_EQ(sent[1].deltas[0].views, 1);
  EXPECT_EQ(sent[2].sequence, sent[1].sequence + 1);
  EXPECT_EQ(sent[2].deltas.size(), 2u);
  EXPECT_EQ(sent[2].server, sent[0].server);
  EXPECT_NE(sent[2].server, "");
}

TEST_F(Views, OfTwoRunsOfAServerHaveDifferentNames) {
  for (int run = 0; run < 2; ++run) {
    auto counter = Make();
    counter->Count({1}, 0);
    EXPECT_EQ(counter->Stop(), 0);
  }
  EXPECT_NE(totals_.batches()[0].server, totals_.batches()[1].server);
  EXPECT_EQ(Stored(1), 2);
}

TEST_F(Views, AreNotAskedForWhereNoOtherServerCounts) {
  auto counter = Make();
  counter->Count({1}, 0);
  const std::vector<ProductId> ids = {{1}};
  EXPECT_TRUE(counter->Learn(ids).ok());
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(counter->Flush().ok());
  EXPECT_TRUE(totals_.finds().empty());
}

/// Servers that share totals which are ahead of the store.
class SharedViews : public testing::Test {
 protected:
  SharedViews() {
    backend_.PutProducts(MakeProducts(100));
    Raise({{{1}, 10}, {{2}, 20}});
  }

  std::unique_ptr<ViewCounter> Make(ViewCounter::Options options = ByHand()) {
    return std::make_unique<ViewCounter>(
        options, ViewCounter::Deps{.store = store_, .totals = totals_, .clock = clock_},
        [](ProductId) {}, [](std::span<const product::ViewDelta>) {});
  }

  static ViewCounter::Options ByHand() {
    return {.flush_interval = absl::Hours(1),
            .shared_products_max = 4'096,
            .learned_lately = absl::ZeroDuration(),
            .stop_retry_delay = absl::ZeroDuration()};
  }

  void Raise(const std::vector<product::ViewTotal>& totals) {
    ASSERT_TRUE(backend_.store().RaiseViews(totals).ok());
  }

  /// Lets time pass, and the counter flush.
  void Flush(ViewCounter& counter) {
    clock_.Advance(absl::Milliseconds(500));
    const absl::Status flushed = counter.Flush();
    EXPECT_TRUE(flushed.ok()) << flushed;
  }

  std::optional<int64_t> Total(int64_t id) {
    const std::vector<ProductId> ids = {{id}};
    return (*memory_.Find(ids))[0];
  }

  EmbeddedProductBackend backend_{/*in_memory=*/true};
  FaultyProductStore store_{backend_.store()};
  MemoryViewTotals memory_;
  FaultyViewTotals totals_{memory_};
  FakeClock clock_;
};

TEST_F(SharedViews, BeginWithWhatTheStoreHasReadOnceForAll) {
  auto counter = Make();
  EXPECT_EQ(counter->Count({1}, 10), 11);
  EXPECT_EQ(counter->Count({2}, 15), 16) << "an older copy";
  EXPECT_EQ(counter->Count({3}, 0), 1);
  Flush(*counter);
  EXPECT_EQ(Total(1), 11);
  EXPECT_EQ(Total(2), 21);
  EXPECT_EQ(Total(3), 1);
  EXPECT_EQ(counter->Count({2}, 15), 22);
  EXPECT_EQ(store_.find_calls(), 1);
  EXPECT_EQ(counter->stats().seeds, 3);
}

TEST_F(SharedViews, BeginWithWhatWasJustReadOfTheStore) {
  ASSERT_TRUE(memory_.Seed(std::vector<product::ViewTotal>{{{1}, 10}}).ok());
  auto counter = Make();
  const std::vector<ProductId> ids = {{1}, {2}};
  const auto missing = counter->Learn(ids);
  ASSERT_TRUE(missing.ok()) << missing.status();
  ASSERT_EQ(*missing, std::vector<ProductId>{ProductId{2}});
  counter->Begin(std::vector<product::ViewTotal>{{{2}, 20}});
  EXPECT_EQ(Total(2), 20);
  counter->Count({2}, 20);
  Flush(*counter);
  EXPECT_EQ(Total(2), 21);
  EXPECT_EQ(store_.find_calls(), 0);
  EXPECT_EQ(counter->stats().seeds, 1);
}

TEST_F(SharedViews, BeginWithTheirFirstFlushWhenThatFailed) {
  auto counter = Make();
  totals_.AnswerWith(absl::UnavailableError("failed by the test"));
  counter->Begin(std::vector<product::ViewTotal>{{{2}, 20}});
  totals_.AnswerWith(absl::OkStatus());
  EXPECT_EQ(Total(2), std::nullopt);
  EXPECT_EQ(counter->stats().seeds, 0);
  counter->Count({2}, 20);
  Flush(*counter);
  EXPECT_EQ(Total(2), 21);
  EXPECT_EQ(store_.find_calls(), 1);
}

TEST_F(SharedViews, ThatWereShownElsewhereAreCountedWithTheOthers) {
  auto counter = Make();
  counter->Add({.id = {1}, .views = 5});
  EXPECT_EQ(counter->Count({1}, 10), 16);
  EXPECT_EQ(counter->stats().views, 6);
  Flush(*counter);
  EXPECT_EQ(Total(1), 16);
  counter->Add({.id = {1}, .views = 5});
  EXPECT_EQ(counter->Stop(), 0);
  EXPECT_EQ(Total(1), 21);
}

TEST_F(SharedViews, OfAllServersShowOnEach) {
  auto one = Make();
  auto other = Make();
  EXPECT_EQ(one->Count({1}, 10), 11);
  EXPECT_EQ(other->Count({1}, 10), 11);
  for (int i = 0; i < 5; ++i) one->Count({1}, 10);
  Flush(*one);
  Flush(*other);
  EXPECT_EQ(other->Count({1}, 10), 18);
  Flush(*other);
  Flush(*one);
  EXPECT_EQ(one->Count({1}, 10), 19) << "though it had none of its own to add";
}

TEST_F(SharedViews, AreAskedForWithoutCountingThemAgain) {
  auto counter = Make();
  counter->Count({1}, 10);
  Flush(*counter);
  EXPECT_TRUE(totals_.finds().empty()) << "the answer to the batch told";
  const int adds = totals_.adds();
  for (int i = 0; i < 3; ++i) Flush(*counter);
  EXPECT_EQ(totals_.adds(), adds);
  EXPECT_EQ(totals_.finds().size(), 3u);
  EXPECT_EQ(Total(1), 11);
}

TEST_F(SharedViews, AreAskedForOfTheLatestUsedProductsUpToABound) {
  ViewCounter::Options options = ByHand();
  options.shared_products_max = 10;
  options.flush_products_max = 4;
  auto counter = Make(options);
  for (int64_t id = 1; id <= 50; ++id) {
    counter->Count({id}, 0);
    clock_.Advance(absl::Milliseconds(1));
  }
  Flush(*counter);
  Flush(*counter);
  const auto finds = totals_.finds();
  ASSERT_EQ(finds.size(), 3u);
  size_t asked = 0;
  for (const auto& ids : finds) {
    asked += ids.size();
    for (const ProductId id : ids) EXPECT_GT(id.value, 40);
  }
  EXPECT_EQ(asked, 10u);
}

TEST_F(SharedViews, AreLearntOfAProductThatIsLoadedThoughTheStoreIsBehind) {
  auto other = Make();
  for (int i = 0; i < 7; ++i) other->Count({1}, 10);
  Flush(*other);
  auto counter = Make();
  const std::vector<ProductId> ids = {{1}, {2}, {4'242}};
  EXPECT_TRUE(counter->Learn(ids).ok());
  EXPECT_EQ(counter->Count({1}, 10), 18);
  EXPECT_EQ(counter->stats().views, 1);
  EXPECT_EQ(counter->stats().counters, 1) << "of the others nothing is known";
}

TEST_F(SharedViews, AreNotLearntForAMomentAfterThatFailed) {
  auto counter = Make();
  counter->Count({1}, 10);
  Flush(*counter);
  const std::vector<ProductId> ids = {{1}};
  totals_.AnswerWith(absl::UnavailableError("failed by the test"));
  EXPECT_TRUE(absl::IsUnavailable(counter->Learn(ids).status()));
  totals_.AnswerWith(absl::OkStatus());
  EXPECT_TRUE(absl::IsUnavailable(counter->Learn(ids).status()));
  EXPECT_EQ(totals_.finds().size(), 1u) << "readers wait for none while Redis is slow";
  clock_.Advance(ByHand().learn_pause);
  EXPECT_TRUE(counter->Learn(ids).ok());
  EXPECT_EQ(counter->stats().learn_errors, 1);
}

TEST_F(SharedViews, LearntWhileABatchIsOnItsWayCountItOnce) {
  auto counter = Make();
  for (int i = 0; i < 5; ++i) counter->Count({1}, 10);
  totals_.LoseAnswersOfAdds(1);
  counter->Count({2}, 20);
  EXPECT_TRUE(memory_.Seed(std::vector<product::ViewTotal>{{{1}, 10}, {{2}, 20}}).ok());
  EXPECT_FALSE(counter->Flush().ok());
  ASSERT_EQ(Total(1), 15);
  const std::vector<ProductId> ids = {{1}};
  EXPECT_TRUE(counter->Learn(ids).ok());
  EXPECT_EQ(counter->Count({1}, 10), 16);
  EXPECT_EQ(counter->Count({1}, 15), 17);
  Flush(*counter);
  EXPECT_EQ(Total(1), 17);
  EXPECT_EQ(counter->Count({1}, 15), 18);
}

TEST_F(SharedViews, GoOnFromWhatIsKnownWhenTheTotalsWereForgotten) {
  auto counter = Make();
  for (int i = 0; i < 5; ++i) counter->Count({1}, 10);
  Flush(*counter);
  memory_.Forget();
  EXPECT_EQ(counter->Count({1}, 10), 16);
  Flush(*counter);
  EXPECT_EQ(Total(1), 16) << "the store has only 10 of them";
  memory_.Forget();
  Raise({{{1}, 40}});
  EXPECT_EQ(counter->Count({1}, 10), 17);
  Flush(*counter);
  EXPECT_EQ(Total(1), 41);
}

TEST_F(SharedViews, AreRestoredWhereTheTotalsHaveLostTheLatest) {
  auto counter = Make();
  for (int i = 0; i < 5; ++i) counter->Count({1}, 10);
  Flush(*counter);
  memory_.SetBack({1}, 12);
  EXPECT_EQ(counter->Count({1}, 10), 16);
  Flush(*counter);
  EXPECT_EQ(Total(1), 16);
  EXPECT_EQ(counter->Count({1}, 10), 17);
}

TEST_F(SharedViews, AreKeptWhileTheStoreCannotTellWhereToBegin) {
  auto counter = Make();
  counter->Count({1}, 10);
  store_.AnswerWith(absl::UnavailableError("failed by the test"));
  EXPECT_TRUE(absl::IsUnavailable(counter->Flush()));
  EXPECT_EQ(Total(1), std::nullopt);
  EXPECT_EQ(counter->Count({1}, 10), 12);
  store_.AnswerWith(absl::OkStatus());
  Flush(*counter);
  EXPECT_EQ(Total(1), 12);
}

TEST_F(SharedViews, OfAProductThatIsGoneHoldUpNoOther) {
  auto counter = Make();
  counter->Count({4'242}, 3);
  counter->Count({1}, 10);
  Flush(*counter);
  EXPECT_EQ(Total(1), 11);
  EXPECT_EQ(Total(4'242), 4);
}

TEST_F(SharedViews, OfManyCallersOnTwoServersAddUpAndNeverGoDown) {
  ViewCounter::Options options = ByHand();
  options.flush_interval = absl::Microseconds(200);
  options.flush_products_max = 3;
  auto one = Make(options);
  auto other = Make(options);
  std::atomic<int64_t> went_down = 0;
  std::atomic<int64_t> above_truth = 0;
  std::vector<std::atomic<int64_t>> truth(11);
  truth[1] = 10;
  truth[2] = 20;
  std::vector<std::thread> threads;
  for (int64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      ViewCounter& counter = seed % 2 == 0 ? *one : *other;
      std::vector<int64_t> shown(11, 0);
      for (int64_t i = 0; i < 2'500; ++i) {
        const auto id = static_cast<size_t>(1 + (i * 7 + seed) % 10);
        if (i % 100 == 0) totals_.LoseAnswersOfAdds(1);
        ++truth[id];
        const int64_t count = counter.Count({static_cast<int64_t>(id)}, 0);
        if (count > truth[id]) ++above_truth;
        if (count <= shown[id]) ++went_down;
        shown[id] = count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(one->Stop(), 0);
  EXPECT_EQ(other->Stop(), 0);
  EXPECT_EQ(went_down, 0);
  EXPECT_EQ(above_truth, 0);
  int64_t sum = 0;
  for (int64_t id = 1; id <= 10; ++id) sum += *Total(id);
  EXPECT_EQ(sum, 10'000 + 10 + 20);
}

}  // namespace
}  // namespace ecom::tests
