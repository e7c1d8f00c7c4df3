#include "product/l1_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "support/fake_clock.h"
#include "support/product_backend.h"

namespace ecom::tests {
namespace {

using product::L1Cache;
using product::Product;
using product::ProductId;
using State = product::L1Cache::State;

class L1 : public testing::Test {
 protected:
  /// One shard, so that the bounds are exact.
  static L1Cache::Options Small(size_t entries_max) {
    return {.entries_max = entries_max,
            .bytes_max = 1 << 20,
            .negative_entries_max = entries_max,
            .shards = 1};
  }

  void Put(L1Cache& cache, int64_t id) {
    cache.Put(std::make_shared<const Product>(MakeProduct(id)), clock_.Monotonic());
  }

  static State StateOf(L1Cache& cache, int64_t id) { return cache.Find({id}).state; }

  FakeClock clock_;
  const L1Cache::Options defaults_;
};

TEST_F(L1, FindsWhatWasPut) {
  L1Cache cache(defaults_, clock_);
  EXPECT_EQ(StateOf(cache, 1), State::kMiss);
  Put(cache, 1);
  const L1Cache::Found found = cache.Find({1});
  EXPECT_EQ(found.state, State::kFresh);
  EXPECT_FALSE(found.refresh);
  ASSERT_NE(found.product, nullptr);
  EXPECT_EQ(found.product->name, MakeProduct(1).name);
  EXPECT_EQ(StateOf(cache, 2), State::kMiss);
}

TEST_F(L1, AgesFromFreshToStaleToExpiredToGone) {
  struct Row {
    absl::Duration age;
    State state;
  };
  const absl::Duration moment = absl::Milliseconds(1);
  for (const Row& row : {
           Row{defaults_.refresh_after() - moment, State::kFresh},
           Row{defaults_.refresh_after(), State::kStale},
           Row{defaults_.soft_ttl - moment, State::kStale},
           Row{defaults_.soft_ttl, State::kExpired},
           Row{defaults_.hard_ttl - moment, State::kExpired},
           Row{defaults_.hard_ttl, State::kMiss},
       }) {
    L1Cache cache(defaults_, clock_);
    Put(cache, 1);
    clock_.Advance(row.age);
    const L1Cache::Found found = cache.Find({1});
    EXPECT_EQ(found.state, row.state) << row.age;
    EXPECT_EQ(found.product != nullptr, row.state != State::kMiss) << row.age;
  }
}

TEST_F(L1, CountsAgeFromTheBeginningOfTheRead) {
  L1Cache cache(defaults_, clock_);
  const absl::Duration read_at = clock_.Monotonic();
  clock_.Advance(defaults_.soft_ttl);
  cache.Put(std::make_shared<const Product>(MakeProduct(1)), read_at);
  EXPECT_EQ(StateOf(cache, 1), State::kExpired);
}

TEST_F(L1, TellsOneCallerToRefreshAndAnotherWhenThatCameToNothing) {
  L1Cache cache(defaults_, clock_);
  Put(cache, 1);
  clock_.Advance(defaults_.refresh_after());
  EXPECT_TRUE(cache.Find({1}).refresh);
  EXPECT_FALSE(cache.Find({1}).refresh);
  EXPECT_EQ(StateOf(cache, 1), State::kStale);
  clock_.Advance(defaults_.refresh_retry);
  EXPECT_TRUE(cache.Find({1}).refresh);
  EXPECT_FALSE(cache.Find({1}).refresh);
  Put(cache, 1);
  EXPECT_EQ(StateOf(cache, 1), State::kFresh);
}

TEST_F(L1, KeepsWhatWasReadLater) {
  L1Cache cache(defaults_, clock_);
  const absl::Duration earlier = clock_.Monotonic();
  clock_.Advance(absl::Milliseconds(10));
  Product newer = MakeProduct(1);
  newer.price_minor = 2;
  cache.Put(std::make_shared<const Product>(newer), clock_.Monotonic());
  cache.Put(std::make_shared<const Product>(MakeProduct(1)), earlier);
  EXPECT_EQ(cache.Find({1}).product->price_minor, 2);
  cache.PutNegative({1}, earlier);
  EXPECT_EQ(StateOf(cache, 1), State::kFresh);
}

TEST_F(L1, KeepsTheLaterVersionWhicheverWasReadLater) {
  L1Cache cache(defaults_, clock_);
  Product changed = MakeProduct(1);
  changed.version = 3;
  changed.price_minor = 2;
  cache.Put(std::make_shared<const Product>(changed), clock_.Monotonic());
  clock_.Advance(absl::Milliseconds(10));
  Put(cache, 1);
  EXPECT_EQ(cache.Find({1}).product->price_minor, 2);
  EXPECT_FALSE(cache.EraseOlder({{1}, 3}));
  EXPECT_EQ(StateOf(cache, 1), State::kFresh);
  EXPECT_TRUE(cache.EraseOlder({{1}, 4}));
  EXPECT_EQ(StateOf(cache, 1), State::kMiss);
  cache.PutNegative({7}, clock_.Monotonic());
  EXPECT_FALSE(cache.EraseOlder({{7}, 1}));
  EXPECT_EQ(StateOf(cache, 7), State::kMiss) << "it was changed, so there is one";
}

TEST_F(L1, IsEmptyOnceCleared) {
  L1Cache cache(defaults_, clock_);
  for (int64_t id = 1; id <= 100; ++id) Put(cache, id);
  cache.PutNegative({500}, clock_.Monotonic());
  cache.Pin(std::vector<ProductId>{{1}, {2}});
  cache.Clear();
  EXPECT_EQ(cache.usage().entries + cache.usage().negative_entries, 0u);
  EXPECT_EQ(cache.usage().bytes, 0u);
  for (int64_t id = 1; id <= 100; ++id) Put(cache, id);
  EXPECT_EQ(cache.usage().entries, 100u);
  EXPECT_EQ(cache.usage().pinned, 2u);
}

TEST_F(L1, NeverEvictsWhatIsPinned) {
  L1Cache cache(Small(8), clock_);
  Put(cache, 1);
  cache.Pin(std::vector<ProductId>{{1}, {2}, {3}});  // 2 is not kept yet, 3 is beyond a quarter
  for (int64_t id = 2; id <= 50; ++id) Put(cache, id);
  EXPECT_EQ(StateOf(cache, 1), State::kFresh);
  EXPECT_EQ(StateOf(cache, 2), State::kFresh);
  EXPECT_EQ(StateOf(cache, 3), State::kMiss);
  EXPECT_EQ(cache.usage().entries, 8u);
  EXPECT_EQ(cache.usage().pinned, 2u);

  cache.Pin({});
  EXPECT_EQ(cache.usage().pinned, 0u);
  for (int64_t id = 51; id <= 100; ++id) {
    Put(cache, id);
    for (int64_t asked = 51; asked <= id; ++asked) StateOf(cache, asked);  // unlike 1 and 2
  }
  EXPECT_EQ(StateOf(cache, 1), State::kMiss);
  EXPECT_EQ(cache.usage().entries, 8u);
}

TEST_F(L1, TellsOfPinnedProductsThatAreDueThoughNobodyAsksForThem) {
  L1Cache cache(defaults_, clock_);
  Put(cache, 1);
  Put(cache, 2);
  cache.Pin(std::vector<ProductId>{{1}, {3}});
  EXPECT_TRUE(cache.TakeDue(0).empty());
  clock_.Advance(defaults_.refresh_after());
  EXPECT_EQ(cache.TakeDue(0), std::vector<ProductId>{ProductId{1}});
  EXPECT_TRUE(cache.TakeDue(0).empty()) << "somebody was told";
  clock_.Advance(defaults_.refresh_retry);
  EXPECT_EQ(cache.TakeDue(0), std::vector<ProductId>{ProductId{1}}) << "it came to nothing";
  Put(cache, 1);
  EXPECT_TRUE(cache.TakeDue(0).empty());
}

TEST_F(L1, TellsOfProductsThatAreDueForAWhileAfterTheyWereAskedFor) {
  L1Cache cache(defaults_, clock_);
  Put(cache, 1);
  EXPECT_TRUE(cache.TakeDue(10).empty());
  clock_.Advance(defaults_.refresh_after());
  EXPECT_EQ(cache.TakeDue(10), std::vector<ProductId>{ProductId{1}});
  EXPECT_TRUE(cache.TakeDue(10).empty()) << "somebody was told";
  Put(cache, 1);
  clock_.Advance(defaults_.refresh_after());
  EXPECT_EQ(StateOf(cache, 1), State::kStale) << "and asked for";
  clock_.Advance(defaults_.asked_lately - absl::Nanoseconds(1));
  EXPECT_EQ(cache.TakeDue(10), std::vector<ProductId>{ProductId{1}});
  Put(cache, 1);
  clock_.Advance(defaults_.refresh_after());
  EXPECT_TRUE(cache.TakeDue(10).empty()) << "nobody has asked for it lately";
}

TEST_F(L1, TellsOfAsManyThatAreDueAsItIsAskedForAndOfTheOthersNextTime) {
  L1Cache cache(defaults_, clock_);
  for (int64_t id = 1; id <= 100; ++id) Put(cache, id);
  clock_.Advance(defaults_.refresh_after());
  absl::flat_hash_set<ProductId> told;
  for (int i = 0; i < 20 && told.size() < 100; ++i) {
    const std::vector<ProductId> due = cache.TakeDue(10);
    EXPECT_LE(due.size(), 10u);
    told.insert(due.begin(), due.end());
  }
  EXPECT_EQ(told.size(), 100u);
}

TEST_F(L1, KeepsItsBoundOfBytesBesideWhatIsPinned) {
  L1Cache::Options options = Small(8);
  L1Cache probe(options, clock_);
  Put(probe, 1);
  options.bytes_max = probe.usage().bytes * 2;
  L1Cache cache(options, clock_);
  cache.Pin(std::vector<ProductId>{{1}, {2}});
  for (int64_t id = 1; id <= 9; ++id) Put(cache, id);
  EXPECT_EQ(StateOf(cache, 1), State::kFresh);
  EXPECT_EQ(StateOf(cache, 2), State::kFresh);
  EXPECT_EQ(StateOf(cache, 9), State::kMiss) << "there is no room beside them";
  EXPECT_LE(cache.usage().bytes, options.bytes_max);
}

TEST_F(L1, RemembersForAShortTimeThatThereIsNoProduct) {
  L1Cache cache(defaults_, clock_);
  cache.PutNegative({7}, clock_.Monotonic());
  EXPECT_EQ(StateOf(cache, 7), State::kNegative);
  clock_.Advance(defaults_.negative_ttl - absl::Milliseconds(1));
  EXPECT_EQ(StateOf(cache, 7), State::kNegative);
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(StateOf(cache, 7), State::kMiss);
}

TEST_F(L1, ReplacesANegativeEntryByTheProductAndBack) {
  L1Cache cache(defaults_, clock_);
  cache.PutNegative({7}, clock_.Monotonic());
  Put(cache, 7);
  EXPECT_EQ(StateOf(cache, 7), State::kFresh);
  cache.PutNegative({7}, clock_.Monotonic());
  EXPECT_EQ(StateOf(cache, 7), State::kNegative);
  EXPECT_EQ(cache.usage().entries, 0u);
  EXPECT_EQ(cache.usage().bytes, 0u);
  cache.Erase({7});
  EXPECT_EQ(StateOf(cache, 7), State::kMiss);
}

TEST_F(L1, KeepsNoMoreEntriesThanItsBoundOverAllShards) {
  L1Cache cache({.entries_max = 160}, clock_);
  for (int64_t id = 1; id <= 10'000; ++id) Put(cache, id);
  const L1Cache::Usage usage = cache.usage();
  EXPECT_LE(usage.entries, 160u);
  EXPECT_GE(usage.entries, 150u);
  EXPECT_EQ(usage.evictions, 10'000 - static_cast<int64_t>(usage.entries));
}

TEST_F(L1, KeepsNoMoreBytesThanItsBound) {
  L1Cache cache({.entries_max = 1000, .bytes_max = 100'000, .shards = 1}, clock_);
  std::mt19937_64 random(3);
  for (int64_t id = 1; id <= 2'000; ++id) {
    Product product = MakeProduct(1 + id % 300);
    product.name = std::string(random() % 5'000, 'x');
    cache.Put(std::make_shared<const Product>(product), clock_.Monotonic());
    ASSERT_LE(cache.usage().bytes, 100'000u);
  }
  EXPECT_GT(cache.usage().bytes, 50'000u);
  Product huge = MakeProduct(1'000);
  huge.name = std::string(200'000, 'x');
  cache.Put(std::make_shared<const Product>(huge), clock_.Monotonic());
  EXPECT_EQ(StateOf(cache, 1'000), State::kMiss);
  EXPECT_GT(cache.usage().entries, 0u);
}

TEST_F(L1, LetsAScanPushOutOnlyTheScan) {
  L1Cache cache(Small(100), clock_);
  for (int64_t id = 1; id <= 50; ++id) {
    Put(cache, id);
    cache.Find({id});
  }
  for (int64_t id = 1'000; id < 11'000; ++id) {
    Put(cache, id);
    if (id % 100 == 0) {
      for (int64_t hot = 1; hot <= 50; ++hot) cache.Find({hot});
    }
  }
  for (int64_t id = 1; id <= 50; ++id) EXPECT_EQ(StateOf(cache, id), State::kFresh) << id;
}

TEST_F(L1, EvictsTheOldestThatNobodyAskedFor) {
  L1Cache cache(Small(3), clock_);
  for (const int64_t id : {1, 2, 3}) Put(cache, id);
  cache.Find({1});
  Put(cache, 4);
  EXPECT_EQ(StateOf(cache, 2), State::kMiss);
  for (const int64_t id : {1, 3, 4}) EXPECT_EQ(StateOf(cache, id), State::kFresh) << id;
}

TEST_F(L1, LetsUnknownIdsPushOutNoProduct) {
  L1Cache cache(Small(100), clock_);
  for (int64_t id = 1; id <= 100; ++id) Put(cache, id);
  for (int64_t id = 1'000; id < 51'000; ++id) {
    cache.PutNegative({id}, clock_.Monotonic());
    clock_.Advance(absl::Microseconds(10));
  }
  EXPECT_EQ(cache.usage().entries, 100u);
  EXPECT_LE(cache.usage().negative_entries, 100u);
  EXPECT_EQ(StateOf(cache, 50'999), State::kNegative);
  EXPECT_EQ(StateOf(cache, 1'000), State::kMiss);
}

TEST_F(L1, StaysWithinItsBoundsUnderThreads) {
  L1Cache cache({.entries_max = 64, .bytes_max = 1 << 20, .negative_entries_max = 32}, clock_);
  std::atomic<int64_t> wrong = 0;
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937_64 random(seed);
      for (int i = 0; i < 5'000; ++i) {
        const ProductId id{1 + static_cast<int64_t>(random() % 200)};
        switch (random() % 8) {
          case 0: cache.PutNegative(id, clock_.Monotonic()); break;
          case 1: cache.Erase(id); break;
          case 2: clock_.Advance(absl::Milliseconds(1)); [[fallthrough]];
          case 3:
            cache.Put(std::make_shared<const Product>(MakeProduct(id.value)), clock_.Monotonic());
            break;
          default:
            if (const auto found = cache.Find(id); found.product && found.product->id != id)
              ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(cache.usage().entries, 64u);
  EXPECT_LE(cache.usage().negative_entries, 32u);
}

}  // namespace
}  // namespace ecom::tests
