#include "product/tiered_reader.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/fake_clock.h"
#include "support/fake_product_cache.h"
#include "support/faulty_product_store.h"
#include "support/product_backend.h"

namespace ecom::product {
namespace {

using tests::EmbeddedProductBackend;
using tests::FakeClock;
using tests::FakeProductCache;
using tests::FaultyProductStore;
using tests::MakeProduct;
using tests::MakeProducts;

const absl::Status kFailure = absl::UnavailableError("failed by the test");

class Reader : public testing::Test {
 protected:
  Reader() { backend_.PutProducts(MakeProducts(5)); }

  /// What is read of both levels, and what the store was asked for.
  struct Both {
    std::vector<std::shared_ptr<const Product>> products;
    TieredReader::Result stored;
  };

  Both Find(const std::vector<ProductId>& ids) { return FindOf(reader_, ids); }

  static Both FindOf(TieredReader& reader, const std::vector<ProductId>& ids) {
    Both both{.products = reader.FindCached(ids), .stored = {}};
    std::vector<ProductId> missing;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (both.products[i] == nullptr) missing.push_back(ids[i]);
    }
    both.stored = reader.FindStored(missing);
    size_t next = 0;
    for (auto& product : both.products) {
      if (product == nullptr) product = both.stored.products[next++];
    }
    return both;
  }

  void FindAndFill(const std::vector<ProductId>& ids) { reader_.Fill(Find(ids).stored); }

  /// The ids of what was read; 0 where there is none.
  static std::vector<int64_t> IdsOf(const Both& result) {
    EXPECT_TRUE(result.stored.status.ok()) << result.stored.status;
    std::vector<int64_t> ids;
    for (const auto& product : result.products) ids.push_back(product ? product->id.value : 0);
    return ids;
  }

  int64_t PriceInCache(ProductId id) {
    const auto found = cache_.Find({&id, 1});
    return found.ok() && (*found)[0] ? (*found)[0]->price_minor : -1;
  }

  /// A read of the store that takes so long.
  TieredReader::Result FindDuring(absl::Duration duration, const std::vector<ProductId>& ids) {
    TieredReader::Result result;
    store_.Hold();
    std::thread caller([&] { result = reader_.FindStored(ids); });
    store_.WaitUntilOneIsHeld();
    clock_.Advance(duration);
    store_.Release();
    caller.join();
    return result;
  }

  FakeClock clock_;
  EmbeddedProductBackend backend_{/*in_memory=*/true};
  FaultyProductStore store_{backend_.store()};
  FakeProductCache cache_;
  TieredReader reader_{
      {.breaker = {.failures_max = 2, .backoff_min = absl::Seconds(1), .jitter = 0}},
      &cache_,
      store_,
      clock_};
};

TEST_F(Reader, AsksTheStoreForWhatTheCacheDoesNotHaveAndKeepsTheOrder) {
  FindAndFill({{2}, {4}});
  const int64_t asked = store_.ids_asked();
  EXPECT_EQ(IdsOf(Find({{1}, {2}, {99}, {4}, {5}, {2}})), (std::vector<int64_t>{1, 2, 0, 4, 5, 2}));
  EXPECT_EQ(store_.find_calls(), 2);
  EXPECT_EQ(store_.ids_asked(), asked + 3);
  EXPECT_EQ(reader_.stats().l2_hits, 3);
  EXPECT_EQ(reader_.stats().l2_misses, 2 + 3);
  EXPECT_EQ(reader_.stats().store_reads, 2);
  EXPECT_EQ(reader_.stats().store_ids, 2 + 3);
}

TEST_F(Reader, LeavesTheStoreAloneWhenTheCacheHasAll) {
  FindAndFill({{1}, {2}});
  EXPECT_EQ(IdsOf(Find({{2}, {1}})), (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(store_.find_calls(), 1);
}

TEST_F(Reader, AsksNobodyForNothing) {
  FindAndFill({});
  EXPECT_EQ(store_.find_calls() + cache_.find_calls() + cache_.put_calls(), 0);
}

TEST_F(Reader, FillsTheCacheOnlyWhenToldTo) {
  const TieredReader::Result result = Find({{1}, {2}}).stored;
  EXPECT_EQ(cache_.put_calls(), 0) << "a caller would wait for it";
  reader_.Fill(result);
  EXPECT_EQ(cache_.put_calls(), 1);
  EXPECT_EQ(cache_.size(), 2);
  EXPECT_EQ(reader_.stats().fills, 1);
  EXPECT_EQ(reader_.stats().fill_products, 2);
}

TEST_F(Reader, FillsNothingThatCameFromTheCache) {
  FindAndFill({{1}});
  FindAndFill({{1}});
  EXPECT_EQ(cache_.put_calls(), 1);
}

TEST_F(Reader, FillsNothingThatDoesNotExist) {
  FindAndFill({{99}});
  EXPECT_EQ(cache_.put_calls(), 0);
  FindAndFill({{99}, {1}});
  EXPECT_EQ(cache_.size(), 1);
}

TEST_F(Reader, HasTheCacheForgetWhatIsGoneFromTheStore) {
  const Product gone = MakeProduct(99);
  ASSERT_TRUE(cache_.Put({&gone, 1}).ok());
  reader_.Fill(reader_.FindStored({{99}}));
  EXPECT_EQ(PriceInCache({99}), -1);
  ASSERT_TRUE(cache_.Put({&gone, 1}).ok());
  store_.AnswerWith(kFailure);
  reader_.Fill(reader_.FindStored({{99}}));
  EXPECT_NE(PriceInCache({99}), -1) << "nobody knows";
}

TEST_F(Reader, GoesPastTheCacheToTheStoreAndRefreshesWhatIsThere) {
  Product stale = MakeProduct(1);
  stale.price_minor = 1;  // as before a person changed it by SQL, which leaves the version alone
  ASSERT_TRUE(cache_.Put({&stale, 1}).ok());
  EXPECT_EQ(Find({{1}}).products[0]->price_minor, 1);
  const TieredReader::Result fresh = reader_.FindStored({{1}});
  EXPECT_EQ(fresh.products[0]->price_minor, MakeProduct(1).price_minor);
  reader_.Fill(fresh);
  EXPECT_EQ(PriceInCache({1}), MakeProduct(1).price_minor);
  EXPECT_EQ(reader_.stats().l2_hits, 1) << "it was asked once";
}

TEST_F(Reader, DoesWithoutASecondLevel) {
  TieredReader reader({}, nullptr, store_, clock_);
  const Both result = FindOf(reader, {{1}});
  EXPECT_EQ(IdsOf(result), std::vector<int64_t>{1});
  reader.Fill(result.stored);
  EXPECT_EQ(reader.stats().l2_misses + reader.stats().l2_skipped + reader.stats().fills, 0);
}

TEST_F(Reader, ReadsFromTheStoreWhileTheCacheFails) {
  cache_.AnswerWith(kFailure);
  EXPECT_EQ(IdsOf(Find({{1}, {99}})), (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(reader_.stats().l2_errors, 1);
  EXPECT_EQ(reader_.stats().l2_misses, 0) << "nobody knows";
}

TEST_F(Reader, CountsAFillThatFails) {
  const TieredReader::Result result = reader_.FindStored({{1}});
  cache_.AnswerWith(kFailure);
  reader_.Fill(result);
  EXPECT_EQ(reader_.stats().fills, 1);
  EXPECT_EQ(reader_.stats().fill_errors, 1);
}

TEST_F(Reader, SkipsACacheThatKeepsFailingUntilItAnswersAgain) {
  cache_.AnswerWith(kFailure);
  for (int i = 0; i < 2; ++i) Find({{1}});
  EXPECT_EQ(reader_.stats().breaker, CircuitBreaker::State::kOpen);
  for (int i = 0; i < 10; ++i) FindAndFill({{1}});
  EXPECT_EQ(cache_.find_calls(), 2);
  EXPECT_EQ(cache_.put_calls(), 2) << "judged apart: reads may work while writes do not";
  EXPECT_EQ(reader_.stats().l2_skipped, 10 + 8);
  EXPECT_EQ(store_.find_calls(), 12);

  cache_.AnswerWith(absl::OkStatus());
  clock_.Advance(absl::Seconds(1));
  FindAndFill({{1}});
  EXPECT_EQ(reader_.stats().breaker, CircuitBreaker::State::kClosed);
  EXPECT_EQ(cache_.size(), 1);
}

TEST_F(Reader, AnswersWithWhatTheCacheHasWhenTheStoreFails) {
  FindAndFill({{1}});
  store_.AnswerWith(kFailure);
  const Both result = Find({{1}, {2}});
  EXPECT_EQ(result.stored.status, kFailure);
  ASSERT_NE(result.products[0], nullptr);
  EXPECT_EQ(result.products[1], nullptr);
  EXPECT_EQ(reader_.stats().store_errors, 1);
  EXPECT_TRUE(Find({{1}}).stored.status.ok()) << "the store was not needed";
  reader_.Fill(result.stored);
  EXPECT_EQ(cache_.put_calls(), 1) << "that of the beginning";
}

TEST_F(Reader, FillsWhatTookTwoSecondsToReadAndNothingOlder) {
  reader_.Fill(FindDuring(absl::Seconds(2), {{1}}));
  EXPECT_EQ(cache_.size(), 1);
  reader_.Fill(FindDuring(absl::Seconds(2) + absl::Microseconds(1), {{2}}));
  EXPECT_EQ(cache_.size(), 1);
  EXPECT_EQ(reader_.stats().fills_too_old, 1);
  EXPECT_EQ(reader_.stats().store_read_time, absl::Seconds(4) + absl::Microseconds(1));
}

TEST_F(Reader, LeavesAStoreAloneThatKeepsFailingUntilItAnswersAgain) {
  store_.AnswerWith(kFailure);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(reader_.FindStored({{1}}).status, kFailure);
  EXPECT_EQ(reader_.stats().store_breaker, CircuitBreaker::State::kOpen);
  EXPECT_TRUE(absl::IsUnavailable(reader_.FindStored({{1}}).status));
  EXPECT_EQ(store_.find_calls(), 3);
  EXPECT_EQ(reader_.stats().store_skipped, 1);
  store_.AnswerWith(absl::OkStatus());
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(reader_.FindStored({{1}}).status.ok());
  EXPECT_EQ(reader_.stats().store_breaker, CircuitBreaker::State::kClosed);
}

TEST_F(Reader, FillsNothingThatItIsToldToTooLate) {
  const TieredReader::Result result = reader_.FindStored({{1}});
  clock_.Advance(absl::Seconds(3));
  reader_.Fill(result);
  EXPECT_EQ(cache_.put_calls(), 0);
}

TEST_F(Reader, CannotUndoAChangeByAFillThatWasReadBeforeIt) {
  const TieredReader::Result before = reader_.FindStored({{1}});
  const auto changed = backend_.store().UpdateProduct({1}, {.price_minor = 42});
  ASSERT_TRUE(changed.ok());
  ASSERT_TRUE(cache_.Drop({.id = {1}, .version = changed->version}).ok());
  reader_.Fill(before);
  EXPECT_EQ(PriceInCache({1}), -1);
  FindAndFill({{1}});
  EXPECT_EQ(PriceInCache({1}), 42);
}

TEST_F(Reader, MeasuresHowLongAFillTakes) {
  const TieredReader::Result result = reader_.FindStored({{1}});
  cache_.OnCall([&] { clock_.Advance(absl::Milliseconds(7)); });
  reader_.Fill(result);
  EXPECT_EQ(reader_.stats().fill_time, absl::Milliseconds(7));
}

TEST_F(Reader, ServesManyThreadsAtOnce) {
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int k = 0; k < 100; ++k) {
        if (k % 10 == i) cache_.ForgetAll();
        const std::vector<ProductId> ids = {{1 + k % 5}, {99}};
        const Both result = FindOf(reader_, ids);
        if (!result.stored.status.ok() || result.products[0] == nullptr ||
            result.products[0]->id != ids[0] || result.products[1] != nullptr) {
          ++wrong;
        }
        reader_.Fill(result.stored);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace ecom::product
