#include "product/catalog.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <limits>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/clock.h"
#include "adapters/embedded/view_totals.h"
#include "support/fake_clock.h"
#include "support/fake_product_cache.h"
#include "support/faulty_product_store.h"
#include "support/memory_view_totals.h"
#include "support/product_backend.h"

namespace ecom::tests {
namespace {

using product::Catalog;
using product::ListRequest;
using product::Product;
using product::ProductId;
using product::ProductPage;
using product::ProductView;
using product::Sort;

/// Collects the answers of many calls. Thread-safe.
template <typename Value>
class Answers {
 public:
  absl::AnyInvocable<void(absl::StatusOr<Value>)> Next() {
    return [this](absl::StatusOr<Value> answer) {
      std::lock_guard lock(mutex_);
      answers_.push_back(std::move(answer));
      changed_.notify_all();
    };
  }
  std::vector<absl::StatusOr<Value>> WaitFor(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return answers_.size() >= count; });
    return answers_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<absl::StatusOr<Value>> answers_;
};

using Views = Answers<ProductView>;
using Pages = Answers<ProductPage>;

class CatalogOf100 : public testing::Test {
 protected:
  CatalogOf100() {
    backend_.PutProducts(MakeProducts(100));
    Make({});
  }
  ~CatalogOf100() override { store_.Release(); }

  void Make(Catalog::Options options) { Make(options, &cache_); }

  void Make(Catalog::Options options, product::ProductCache* cache) {
    options_ = options;
    options_.views.stop_retry_delay = absl::ZeroDuration();
    // A flush in between would read ahead of the clock that a test turns.
    const absl::Duration by_default = product::ViewCounter::Options{}.flush_interval;
    if (options_.views.flush_interval == by_default) {
      options_.views.flush_interval = absl::Hours(1);
    }
    catalog_.reset();
    catalog_ = std::make_unique<Catalog>(
        options_,
        Catalog::Deps{.store = store_, .cache = cache, .totals = views_, .clock = clock_});
  }

  absl::StatusOr<ProductView> Get(int64_t id) {
    Views answers;
    catalog_->Get({id}, answers.Next());
    return answers.WaitFor(1)[0];
  }

  absl::StatusOr<ProductPage> List(const ListRequest& request) {
    Pages pages;
    catalog_->List(request, pages.Next());
    return pages.WaitFor(1)[0];
  }

  absl::StatusOr<ProductPage> ListPopular(int page_size) {
    Pages pages;
    catalog_->ListPopular(page_size, pages.Next());
    return pages.WaitFor(1)[0];
  }

  /// Waits until the read that is under way has left its result in L1.
  void WaitForRefresh(int64_t id, int64_t price_minor) {
    const absl::Time give_up = absl::Now() + absl::Seconds(30);
    for (;;) {
      auto answer = catalog_->TryGet({id});
      if (answer && (*answer)->product->price_minor == price_minor) return;
      ASSERT_LT(absl::Now(), give_up);
      std::this_thread::yield();
    }
  }

  void SetPrice(int64_t id, int64_t price_minor) {
    const absl::Status set =
        backend_.database().Write([&](adapters::embedded::Connection& connection) {
          auto update = connection.Prepare("UPDATE products SET price_minor = ? WHERE id = ?");
          return update->Bind(price_minor, id).Run();
        });
    ASSERT_TRUE(set.ok()) << set;
  }

  void Delete(int64_t id) {
    const absl::Status deleted =
        backend_.database().Write([&](adapters::embedded::Connection& connection) {
          return connection.Prepare("DELETE FROM products WHERE id = ?")->Bind(id).Run();
        });
    ASSERT_TRUE(deleted.ok()) << deleted;
  }

  int64_t StoredViews(int64_t id) {
    const std::vector<ProductId> ids = {{id}};
    return (*backend_.store().FindProducts(ids))[0]->view_count;
  }

  EmbeddedProductBackend backend_{/*in_memory=*/true};
  FaultyProductStore store_{backend_.store()};
  FakeProductCache cache_;
  adapters::embedded::EmbeddedViewTotals views_{backend_.database()};
  FakeClock clock_;
  Catalog::Options options_;
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(CatalogOf100, ReadsAProductFromTheStoreOnceAndThenFromMemory) {
  EXPECT_FALSE(catalog_->TryGet({1}).has_value());
  const auto first = Get(1);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->product->name, MakeProduct(1).name);
  EXPECT_EQ(first->view_count, 1);
  const auto second = catalog_->TryGet({1});
  ASSERT_TRUE(second.has_value());
  ASSERT_TRUE(second->ok());
  EXPECT_EQ((*second)->view_count, 2);
  EXPECT_EQ(store_.find_calls(), 1);
}

TEST_F(CatalogOf100, AnswersAHitOnTheCallersThread) {
  ASSERT_TRUE(Get(1).ok());
  store_.Hold();
  bool answered = false;
  catalog_->Get({1}, [&](const absl::StatusOr<ProductView>& answer) { answered = answer.ok(); });
  EXPECT_TRUE(answered);
}

TEST_F(CatalogOf100, AsksTheStoreOnceForAThousandConcurrentFirstReadsOfOneProduct) {
  store_.Hold();
  Views answers;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 125; ++i) catalog_->Get({42}, answers.Next());
    });
  }
  for (std::thread& thread : threads) thread.join();
  store_.Release();
  std::set<int64_t> counts;
  for (const auto& answer : answers.WaitFor(1'000)) {
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->product->id, ProductId{42});
    counts.insert(answer->view_count);
  }
  EXPECT_EQ(store_.find_calls(), 1);
  EXPECT_EQ(store_.ids_asked(), 1);
  EXPECT_EQ(counts.size(), 1'000u);
  EXPECT_EQ(*counts.rbegin(), 1'000);
  EXPECT_EQ(catalog_->stats().joins, 999);
  EXPECT_EQ(catalog_->Stop(), 0);
  EXPECT_EQ(StoredViews(42), 1'000);
}

TEST_F(CatalogOf100, AsksTheStoreOnceThoughReadersComeJustAsTheReadEnds) {
  constexpr int64_t kLast = 3'000;
  std::vector<Product> more = MakeProducts(kLast);
  backend_.PutProducts({more.begin() + 100, more.end()});
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int64_t id = 1; id <= kLast; ++id) EXPECT_TRUE(Get(id).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store_.ids_asked(), kLast);
}

TEST_F(CatalogOf100, ReadsAllThatWaitInOneBatch) {
  Make({}, /*cache=*/nullptr);  // its stage hands on what it misses in parts
  store_.Hold();
  Views answers;
  catalog_->Get({1}, answers.Next());
  store_.WaitUntilOneIsHeld();
  for (int64_t id = 2; id <= 60; ++id) catalog_->Get({id}, answers.Next());
  catalog_->Get({4'242}, answers.Next());
  store_.Release();
  int found = 0;
  for (const auto& answer : answers.WaitFor(61)) found += answer.ok();
  EXPECT_EQ(found, 60);
  EXPECT_EQ(store_.find_calls(), 2);
}

TEST_F(CatalogOf100, AnswersNotFoundFromMemoryForTheNegativeTtlAndCountsNoView) {
  for (int i = 0; i < 1'000; ++i) {
    EXPECT_EQ(Get(4'242).status().code(), absl::StatusCode::kNotFound);
  }
  EXPECT_EQ(store_.find_calls(), 1);
  EXPECT_EQ(catalog_->stats().l1_negative_hits, 999);
  EXPECT_EQ(catalog_->stats().views.views, 0);
  backend_.PutProducts({MakeProduct(4'242)});
  clock_.Advance(options_.l1.negative_ttl);
  EXPECT_TRUE(Get(4'242).ok());
}

TEST_F(CatalogOf100, RefusesIdsBelowOne) {
  for (const int64_t id : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::min()}) {
    EXPECT_EQ(Get(id).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(store_.find_calls(), 0);
}

TEST_F(CatalogOf100, ServesAStaleProductAndRefreshesItOnceInTheBackground) {
  ASSERT_TRUE(Get(1).ok());
  SetPrice(1, 777);
  clock_.Advance(options_.l1.refresh_after());
  store_.Hold();
  for (int i = 0; i < 10; ++i) {
    const auto answer = catalog_->TryGet({1});
    ASSERT_TRUE(answer && answer->ok());
    EXPECT_EQ((*answer)->product->price_minor, MakeProduct(1).price_minor);
  }
  store_.Release();
  WaitForRefresh(1, 777);
  EXPECT_EQ(store_.find_calls(), 2);
  EXPECT_EQ(catalog_->stats().refreshes, 1);
  EXPECT_GE(catalog_->stats().l1_stale_hits, 10);
}

TEST_F(CatalogOf100, ShowsAChangeOfTheStoreAfterTheSoftTtlThoughNobodyReadMeanwhile) {
  ASSERT_TRUE(Get(1).ok());
  SetPrice(1, 777);
  clock_.Advance(options_.l1.soft_ttl);
  EXPECT_EQ(Get(1)->product->price_minor, 777);
}

TEST_F(CatalogOf100, AsksTheStoreOnlyForWhatTheSecondLevelDoesNotHave) {
  options_.cached_checks_per_second = 0;
  Make(options_);
  ASSERT_TRUE(Get(1).ok());
  Make(options_);  // another server
  ASSERT_TRUE(Get(1).ok());
  EXPECT_EQ(store_.find_calls(), 1);
  EXPECT_EQ(catalog_->stats().reader.l2_hits, 1);
  cache_.AnswerWith(absl::UnavailableError("failed by the test"));
  Make(options_);
  ASSERT_TRUE(Get(1).ok()) << "from the store";
  EXPECT_EQ(store_.find_calls(), 2);
}

TEST_F(CatalogOf100, RefreshesFromTheStoreThoughTheSecondLevelHasTheProduct) {
  options_.cached_checks_per_second = 0;
  ASSERT_TRUE(Get(1).ok());
  SetPrice(1, 777);  // by hand: no version, and the second level does not know
  Make(options_);
  EXPECT_EQ(Get(1)->product->price_minor, MakeProduct(1).price_minor);
  clock_.Advance(options_.l1.refresh_after());
  ASSERT_TRUE(catalog_->TryGet({1}).has_value());
  WaitForRefresh(1, 777);

  SetPrice(1, 778);
  clock_.Advance(options_.l1.soft_ttl);
  EXPECT_EQ(Get(1)->product->price_minor, 778) << "of an expired one, too";
}

TEST_F(CatalogOf100, ShowsAChangeAsSoonAsItIsToldOfIt) {
  ASSERT_TRUE(Get(1).ok());
  ASSERT_TRUE(Get(2).ok());
  const auto changed = store_.UpdateProduct({1}, {.price_minor = 777});
  ASSERT_TRUE(changed.ok());
  const product::ProductVersion change{changed->id, changed->version};
  ASSERT_TRUE(cache_.Drop(change).ok());
  catalog_->Invalidate({&change, 1});
  EXPECT_EQ(Get(1)->product->price_minor, 777);
  EXPECT_EQ(store_.ids_asked(), 3) << "the other one is kept";
  catalog_->Invalidate({&change, 1});
  EXPECT_TRUE(catalog_->TryGet({1}).has_value()) << "it is of the new version already";
}

TEST_F(CatalogOf100, KeepsNoOldProductThatWasBeingReadWhenItChanged) {
  store_.Hold();
  Views answers;
  catalog_->Get({1}, answers.Next());
  store_.WaitUntilOneIsHeld();  // it has read the old price
  SetPrice(1, 777);
  const product::ProductVersion change{{1}, 1};
  ASSERT_TRUE(cache_.Drop(change).ok());
  catalog_->Invalidate({&change, 1});
  store_.Release();
  ASSERT_TRUE(answers.WaitFor(1)[0].ok());
  EXPECT_FALSE(catalog_->TryGet({1}).has_value()) << "neither here";
  EXPECT_EQ(Get(1)->product->price_minor, 777) << "nor in the second level";
}

TEST_F(CatalogOf100, ReadsAgainForThoseWhoWaitWhenTheProductIsChangedMeanwhile) {
  store_.Hold();
  Views answers;
  catalog_->Get({1}, answers.Next());
  store_.WaitUntilOneIsHeld();  // it has read the old price
  const auto changed = store_.UpdateProduct({1}, {.price_minor = 777});
  ASSERT_TRUE(changed.ok());
  const product::ProductVersion change{changed->id, changed->version};
  catalog_->Invalidate({&change, 1});
  catalog_->Get({1}, answers.Next());  // may have been shown the new price elsewhere
  store_.Release();
  for (const auto& answer : answers.WaitFor(2)) EXPECT_EQ(answer->product->price_minor, 777);
  EXPECT_EQ(store_.find_calls(), 2);
  EXPECT_TRUE(catalog_->TryGet({1}).has_value());
}

TEST_F(CatalogOf100, ReadsAgainForThoseWhoWaitWhenItStoodStillForLongerThanTheSoftTtl) {
  store_.Hold();
  Views answers;
  catalog_->Get({1}, answers.Next());
  store_.WaitUntilOneIsHeld();  // it has read the old price
  SetPrice(1, 777);
  clock_.Advance(options_.l1.soft_ttl);
  catalog_->Get({1}, answers.Next());
  store_.Release();
  for (const auto& answer : answers.WaitFor(2)) EXPECT_EQ(answer->product->price_minor, 777);
  EXPECT_EQ(store_.find_calls(), 2);
}

TEST_F(CatalogOf100, ReadsAgainOnceThoughTheProductIsChangedAgain) {
  store_.Hold();
  Views answers;
  catalog_->Get({1}, answers.Next());
  store_.WaitUntilOneIsHeld();
  const product::ProductVersion change{{1}, 1'000};  // of which no read knows
  catalog_->Invalidate({&change, 1});
  store_.Release();
  EXPECT_TRUE(answers.WaitFor(1)[0].ok());
  EXPECT_EQ(store_.find_calls(), 2);
}

TEST_F(CatalogOf100, PutsNothingOldIntoASecondLevelThatHasForgottenTheChange) {
  store_.Hold();
  Views answers;
  catalog_->Get({1}, answers.Next());
  store_.WaitUntilOneIsHeld();  // it has read the old price
  ASSERT_TRUE(store_.UpdateProduct({1}, {.price_minor = 777}).ok());
  catalog_->InvalidateAll();  // the second level was away, and knows nothing
  store_.Release();
  ASSERT_TRUE(answers.WaitFor(1)[0].ok());
  EXPECT_EQ(Get(1)->product->price_minor, 777);
}

TEST_F(CatalogOf100, KeepsNothingFromBeforeChangesMayHaveBeenMissed) {
  ASSERT_TRUE(Get(1).ok());
  store_.Hold();
  Views answers;
  catalog_->Get({2}, answers.Next());
  catalog_->Get({4'242}, answers.Next());
  store_.WaitUntilOneIsHeld();
  catalog_->InvalidateAll();
  store_.Release();
  answers.WaitFor(2);
  for (const int64_t id : {1, 2, 4'242}) {
    EXPECT_FALSE(catalog_->TryGet({id}).has_value()) << id;
  }
}

TEST_F(CatalogOf100, KeepsAndRefreshesHotProductsThoughOthersNeedTheirRoom) {
  Make({.l1 = {.entries_max = 8, .shards = 1, .refresh_retry = absl::Hours(1)},
        .views = {.flush_interval = absl::Milliseconds(1)},
        .hot = {.views_min = 50}});
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(Get(7).ok());
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  const auto wait_until = [&](const auto& condition) {
    while (!condition()) {
      ASSERT_LT(absl::Now(), give_up);
      std::this_thread::yield();
    }
  };
  wait_until([&] { return catalog_->stats().l1_pinned == 1; });
  ASSERT_EQ(catalog_->Hot().size(), 1u);
  EXPECT_EQ(catalog_->Hot()[0].id, ProductId{7});
  EXPECT_EQ(catalog_->Hot()[0].views, 50);
  for (int64_t id = 10; id <= 100; ++id) ASSERT_TRUE(Get(id).ok());
  EXPECT_TRUE(catalog_->TryGet({7}).has_value());

  SetPrice(7, 777);
  clock_.Advance(options_.l1.refresh_after());
  wait_until([&] { return catalog_->stats().refreshes >= 1; });  // though nobody asks
  WaitForRefresh(7, 777);
}

TEST_F(CatalogOf100, ReadsAheadWhatWasAskedForLately) {
  Make({.views = {.flush_interval = absl::Milliseconds(1)}});
  ASSERT_TRUE(Get(7).ok());
  SetPrice(7, 777);
  clock_.Advance(options_.l1.refresh_after());
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  while (catalog_->stats().refreshes < 1) {  // though nobody asks
    ASSERT_LT(absl::Now(), give_up);
    std::this_thread::yield();
  }
  WaitForRefresh(7, 777);
}

TEST_F(CatalogOf100, ReadsTheStoreOnceForAProductAndTheTotalOfItsViews) {
  MemoryViewTotals totals;
  options_.views.shared_products_max = 10;
  Catalog catalog(options_, {.store = store_, .cache = &cache_, .totals = totals, .clock = clock_});
  const int64_t reads = store_.find_calls();
  Views answers;
  catalog.Get({7}, answers.Next());
  ASSERT_TRUE(answers.WaitFor(1)[0].ok());
  EXPECT_EQ(catalog.Stop(), 0);
  const std::vector<ProductId> ids = {{7}};
  EXPECT_EQ((*totals.Find(ids))[0], answers.WaitFor(1)[0]->product->view_count + 1);
  EXPECT_EQ(store_.find_calls() - reads, 1);
}

TEST_F(CatalogOf100, IsWarmedInBothLevels) {
  const std::vector<ProductId> ids = {{1}, {2}, {3}};
  catalog_->Warm(ids);
  catalog_->Stop();  // does what was begun
  for (const ProductId id : ids) EXPECT_TRUE(catalog_->TryGet(id).has_value()) << id.value;
  EXPECT_EQ(cache_.size(), 3);
  EXPECT_EQ(catalog_->stats().reader.l2_hits + catalog_->stats().reader.l2_misses, 0);
}

TEST_F(CatalogOf100, ShowsWhatTheSecondLevelHasWhileTheStoreStandsStill) {
  ASSERT_TRUE(Get(2).ok());
  Make(options_);
  store_.Hold();
  Views answers;
  catalog_->Get({1}, answers.Next());
  store_.WaitUntilOneIsHeld();
  EXPECT_TRUE(Get(2).ok());
  store_.Release();
  EXPECT_TRUE(answers.WaitFor(1)[0].ok());
}

TEST_F(CatalogOf100, ShowsAnExpiredProductToThoseWhoWaitForAStoreThatStandsStill) {
  ASSERT_TRUE(Get(1).ok());
  clock_.Advance(options_.l1.soft_ttl);
  store_.Hold();
  Views answers;
  catalog_->Get({1}, answers.Next());
  store_.WaitUntilOneIsHeld();
  clock_.Advance(options_.expired_wait);
  EXPECT_TRUE(answers.WaitFor(1)[0].ok()) << "who came first";
  EXPECT_TRUE(Get(1).ok()) << "who comes later";
  EXPECT_EQ(catalog_->stats().expired_serves, 2);
  store_.Release();
}

TEST_F(CatalogOf100, LooksAtTheStoreForWhatTheSecondLevelHadButNotForAllOfIt) {
  options_.cached_checks_per_second = 1;
  for (const int64_t id : {1, 2}) ASSERT_TRUE(Get(id).ok());
  Make(options_);
  SetPrice(1, 777);
  EXPECT_EQ(Get(1)->product->price_minor, MakeProduct(1).price_minor) << "once more";
  WaitForRefresh(1, 777);
  EXPECT_TRUE(Get(2).ok());
  catalog_->Stop();
  EXPECT_EQ(catalog_->stats().refreshes, 1);
}

TEST_F(CatalogOf100, HasTheSecondLevelForgetAProductThatIsGone) {
  ASSERT_TRUE(Get(1).ok());
  Delete(1);
  clock_.Advance(options_.l1.soft_ttl);
  EXPECT_EQ(Get(1).status().code(), absl::StatusCode::kNotFound);
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  while (cache_.size() > 0) {  // once everybody is answered
    ASSERT_LT(absl::Now(), give_up);
    std::this_thread::yield();
  }
  for (int i = 0; i < 3; ++i) {
    clock_.Advance(options_.l1.negative_ttl);
    EXPECT_EQ(Get(1).status().code(), absl::StatusCode::kNotFound) << "and does not come back";
  }
}

TEST_F(CatalogOf100, ListsPopularProductsHoweverLongTheReadTook) {
  store_.Hold();
  Pages pages;
  catalog_->ListPopular(20, pages.Next());
  store_.WaitUntilOneIsHeld();
  clock_.Advance(options_.l1.hard_ttl);
  store_.Release();
  const auto page = pages.WaitFor(1)[0];
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->products.size(), 20u);
}

TEST_F(CatalogOf100, ForgetsAProductThatIsGone) {
  ASSERT_TRUE(Get(1).ok());
  Delete(1);
  clock_.Advance(options_.l1.soft_ttl);
  EXPECT_EQ(Get(1).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(CatalogOf100, ServesAnExpiredProductWithinTheHardTtlWhenTheStoreFails) {
  ASSERT_TRUE(Get(1).ok());
  store_.AnswerWith(absl::UnavailableError("failed by the test"));
  cache_.AnswerWith(absl::UnavailableError("failed by the test"));
  clock_.Advance(options_.l1.hard_ttl - absl::Milliseconds(1));
  const auto answer = Get(1);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->view_count, 2);
  EXPECT_EQ(catalog_->stats().expired_serves, 1);
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(Get(1).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Get(2).status().code(), absl::StatusCode::kUnavailable);
  store_.AnswerWith(absl::OkStatus());
  clock_.Advance(absl::Seconds(1));  // it was left alone meanwhile
  EXPECT_EQ(Get(1)->view_count, 3);
}

TEST_F(CatalogOf100, TellsOurOwnBugsFromAStoreThatIsDown) {
  store_.AnswerWith(absl::DataLossError("failed by the test"));
  EXPECT_EQ(Get(1).status().code(), absl::StatusCode::kUnavailable);
  store_.AnswerWith(absl::InternalError("failed by the test"));
  EXPECT_EQ(Get(1).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(List({}).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(catalog_->stats().reader.store_errors, 2);
  EXPECT_EQ(catalog_->stats().list_errors, 1);
}

TEST_F(CatalogOf100, RefusesCallersBeyondItsBoundsAndAnswersTheOthers) {
  Make({.loads_waiting_max = 2, .callers_waiting_max = 5});
  store_.Hold();
  Views answers;
  catalog_->Get({1}, answers.Next());
  store_.WaitUntilOneIsHeld();
  catalog_->Get({2}, answers.Next());
  catalog_->Get({3}, answers.Next());
  EXPECT_EQ(Get(4).status().code(), absl::StatusCode::kUnavailable) << "ids wait up to the bound";
  catalog_->Get({1}, answers.Next());
  catalog_->Get({1}, answers.Next());
  EXPECT_EQ(Get(1).status().code(), absl::StatusCode::kUnavailable) << "callers, too";
  EXPECT_EQ(catalog_->stats().refused, 2);
  store_.Release();
  for (const auto& answer : answers.WaitFor(5)) EXPECT_TRUE(answer.ok()) << answer.status();
  EXPECT_TRUE(Get(4).ok());
}

TEST_F(CatalogOf100, CompletesWhatWaitsBeforeItStopsAndThenRefuses) {
  store_.Hold();
  Views answers;
  catalog_->Get({1}, answers.Next());
  store_.WaitUntilOneIsHeld();
  catalog_->Get({2}, answers.Next());
  store_.Release();
  EXPECT_EQ(catalog_->Stop(), 0);
  for (const auto& answer : answers.WaitFor(2)) EXPECT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(StoredViews(1), 1);
  EXPECT_EQ(StoredViews(2), 1);
  EXPECT_EQ(Get(3).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(List({}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ListPopular(1).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(CatalogOf100, NeverShowsACountThatGoesDownNorAboveTheTruthUnderFlushesAndRefreshes) {
  Make({.views = {.flush_interval = absl::Microseconds(200)}});
  std::atomic<int64_t> started = 0;
  std::atomic<int64_t> wrong = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      int64_t shown = 0;
      for (int i = 0; i < 1'000; ++i) {
        ++started;
        const auto answer = Get(1);
        if (!answer.ok() || answer->view_count <= shown || answer->view_count > started) ++wrong;
        if (answer.ok()) shown = answer->view_count;
        if (i % 10 == 0) clock_.Advance(options_.l1.refresh_after());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(catalog_->Stop(), 0);
  EXPECT_EQ(StoredViews(1), 4'000);
}

TEST_F(CatalogOf100, PagesThroughEveryListWithoutRepeatOrGap) {
  for (const Sort sort : {Sort::kPrice, Sort::kViews, Sort::kNewest}) {
    for (const int64_t category : {0, 2}) {
      for (const int page_size : {1, 7, 20, 100}) {
        ListRequest request{.sort = sort, .page_size = page_size};
        if (category != 0) request.category = {category};
        std::vector<int64_t> ids;
        for (;;) {
          const auto page = List(request);
          ASSERT_TRUE(page.ok()) << page.status();
          for (const Product& product : page->products) ids.push_back(product.id.value);
          ASSERT_LE(ids.size(), 100u);
          if (page->next_cursor.empty()) break;
          ASSERT_EQ(page->products.size(), static_cast<size_t>(page_size));
          request.cursor = page->next_cursor;
        }
        std::vector<int64_t> expected;
        for (int64_t id = 1; id <= 100; ++id) {
          if (category == 0 || MakeProduct(id).category.value == category) expected.push_back(id);
        }
        EXPECT_EQ(ids, expected) << static_cast<int>(sort) << " " << category << " " << page_size;
      }
    }
  }
}

TEST_F(CatalogOf100, RefusesListsThatMakeNoSense) {
  const std::string cursor = List({.page_size = 5}).value().next_cursor;
  const int before = store_.list_calls();
  for (const ListRequest& request : {
           ListRequest{.page_size = 0},
           ListRequest{.page_size = -1},
           ListRequest{.page_size = 101},
           ListRequest{.category = product::CategoryId{0}},
           ListRequest{.category = product::CategoryId{-5}},
           ListRequest{.cursor = ""},
           ListRequest{.cursor = "x"},
           ListRequest{.sort = Sort::kPrice, .cursor = cursor},
           ListRequest{.is_active = true, .cursor = cursor},
           ListRequest{.category = product::CategoryId{1}, .cursor = cursor},
       }) {
    EXPECT_EQ(List(request).status().code(), absl::StatusCode::kInvalidArgument);
  }
  for (const int page_size : {0, -1, 101}) {
    EXPECT_EQ(ListPopular(page_size).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(store_.list_calls(), before);
}

TEST_F(CatalogOf100, RefusesListsBeyondItsBound) {
  Make({.lists_waiting_max = 1});
  store_.Hold();
  Pages pages;
  catalog_->List({}, pages.Next());
  store_.WaitUntilOneIsHeld();
  catalog_->List({}, pages.Next());
  EXPECT_EQ(List({}).status().code(), absl::StatusCode::kUnavailable);
  store_.Release();
  for (const auto& page : pages.WaitFor(2)) EXPECT_TRUE(page.ok()) << page.status();
}

TEST_F(CatalogOf100, ListsThePopularProductsFromACopyForOneSecond) {
  const std::vector<product::ViewTotal> views = {{{7}, 3}, {{5}, 9}, {{9}, 3}};
  ASSERT_TRUE(backend_.store().RaiseViews(views).ok());
  const auto ids = [&](int page_size) {
    const ProductPage page = ListPopular(page_size).value();
    std::vector<int64_t> listed;
    for (const Product& product : page.products) listed.push_back(product.id.value);
    return listed;
  };
  EXPECT_EQ(ids(4), (std::vector<int64_t>{5, 7, 9, 1}));
  EXPECT_EQ(ids(100).size(), 100u);
  EXPECT_EQ(store_.list_calls(), 1);
  const std::vector<product::ViewTotal> more = {{{8}, 100}};
  ASSERT_TRUE(backend_.store().RaiseViews(more).ok());
  EXPECT_EQ(ids(1), std::vector<int64_t>{5});
  clock_.Advance(options_.popular_age_max);
  EXPECT_EQ(ids(1), std::vector<int64_t>{8});
  EXPECT_EQ(store_.list_calls(), 2);
  EXPECT_TRUE(ListPopular(3)->next_cursor.empty());
}

TEST_F(CatalogOf100, ReadsThePopularProductsOnceForAllWhoWait) {
  store_.Hold();
  Pages pages;
  for (int i = 0; i < 50; ++i) catalog_->ListPopular(20, pages.Next());
  store_.Release();
  for (const auto& page : pages.WaitFor(50)) EXPECT_EQ(page.value().products.size(), 20u);
  EXPECT_EQ(store_.list_calls(), 1);
}

TEST_F(CatalogOf100, ListsAnOldCopyOfThePopularProductsWhenTheStoreFails) {
  store_.AnswerWith(absl::UnavailableError("failed by the test"));
  EXPECT_EQ(ListPopular(1).status().code(), absl::StatusCode::kUnavailable);
  store_.AnswerWith(absl::OkStatus());
  EXPECT_TRUE(ListPopular(1).ok());
  store_.AnswerWith(absl::UnavailableError("failed by the test"));
  clock_.Advance(options_.popular_age_max);
  EXPECT_TRUE(ListPopular(1).ok());
  clock_.Advance(options_.l1.hard_ttl);
  EXPECT_EQ(ListPopular(1).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace ecom::tests
