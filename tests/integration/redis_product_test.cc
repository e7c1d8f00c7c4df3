// The product cache and its changes on a real Redis: what the contract suites cannot ask of every
// adapter.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "support/product_cache_backend.h"

namespace ecom::tests {
namespace {

using adapters::redis::RedisProductCache;
using adapters::redis::RedisProductChanges;
using product::Product;
using product::ProductId;
using product::ProductVersion;

constexpr char kKey[] = "product:detail:1";

Product Version(int64_t version) {
  Product product = MakeProduct(1);
  product.version = version;
  return product;
}

class RedisProduct : public testing::Test {
 protected:
  absl::Status Put(const Product& product) { return cache_->Put({&product, 1}); }
  absl::Status Drop(int64_t version) { return cache_->Drop({.id = {1}, .version = version}); }
  absl::StatusOr<std::optional<Product>> Find(ProductId id = {1}) {
    auto found = cache_->Find({&id, 1});
    if (!found.ok()) return found.status();
    return (*found)[0];
  }
  bool Has(ProductId id = {1}) {
    const auto found = Find(id);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() && found->has_value();
  }
  int64_t TtlMillis(const std::string& key) {
    int64_t ttl = 0;
    EXPECT_TRUE(absl::SimpleAtoi(server_.Do({"PTTL", key}), &ttl));
    return ttl;
  }

  RedisServer& server_ = EmptyRedisServer();
  std::unique_ptr<RedisProductCache> cache_ = MakeRedisProductCache(server_);
};

TEST_F(RedisProduct, NamesItsKeysAsPeopleLookThemUpAndBeginsWithTheVersion) {
  ASSERT_TRUE(Put(Version(7)).ok());
  EXPECT_EQ(server_.Do({"KEYS", "*"}), kKey);
  EXPECT_EQ(server_.Do({"GETRANGE", kKey, "0", "1"}), "7:");
}

TEST_F(RedisProduct, KeepsProductsForAnHourGiveOrTakeATenth) {
  ASSERT_TRUE(cache_->Put(MakeProducts(200)).ok());
  std::set<int64_t> minutes;
  for (int id = 1; id <= 200; ++id) {
    const int64_t ttl = TtlMillis("product:detail:" + std::to_string(id));
    EXPECT_GT(ttl, 53 * 60'000);
    EXPECT_LE(ttl, 66 * 60'000);
    minutes.insert(ttl / 60'000);
  }
  EXPECT_GT(minutes.size(), 8u) << "what came together goes together";
}

TEST_F(RedisProduct, KeepsOlderVersionsOutForAnHour) {
  ASSERT_TRUE(Put(Version(1)).ok());
  ASSERT_TRUE(Drop(2).ok());
  EXPECT_EQ(server_.Do({"GET", kKey}), "2:");
  EXPECT_GT(TtlMillis(kKey), 59 * 60'000);
}

TEST_F(RedisProduct, TakesOneCommandForEachCall) {
  ASSERT_TRUE(cache_->Put(MakeProducts(1)).ok());  // Redis has the script now
  const int64_t scripts = server_.CallsOf("evalsha");
  ASSERT_TRUE(cache_->Put(MakeProducts(1'000)).ok());
  EXPECT_EQ(server_.CallsOf("evalsha"), scripts + 1);
  const int64_t reads = server_.CallsOf("mget");
  std::vector<ProductId> ids;
  for (int64_t id = 1; id <= 1'000; ++id) ids.push_back({id});
  ASSERT_TRUE(cache_->Find(ids).ok());
  EXPECT_EQ(server_.CallsOf("mget"), reads + 1);
}

TEST_F(RedisProduct, TakesAsManyAsItSaysAndRefusesMore) {
  std::vector<Product> products = MakeProducts(RedisProductCache::kProductsMax + 1);
  std::vector<ProductId> ids;
  for (const Product& product : products) ids.push_back(product.id);
  EXPECT_TRUE(absl::IsInvalidArgument(cache_->Put(products)));
  EXPECT_TRUE(absl::IsInvalidArgument(cache_->Find(ids).status()));
  EXPECT_EQ(server_.Do({"DBSIZE"}), "0");
  products.pop_back();
  ids.pop_back();
  ASSERT_TRUE(cache_->Put(products).ok());
  const auto found = cache_->Find(ids);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(std::all_of(found->begin(), found->end(), [](const auto& one) { return one; }));
}

TEST_F(RedisProduct, CountsAnyPartOfAValueAsAbsent) {
  ASSERT_TRUE(Put(Version(7)).ok());
  const std::string value = server_.Do({"GET", kKey});
  for (size_t size = 0; size < value.size(); ++size) {
    server_.Do({"SET", kKey, value.substr(0, size)});
    EXPECT_FALSE(Has()) << size << " bytes of " << value.size();
  }
  server_.Do({"SET", kKey, value});
  EXPECT_TRUE(Has());
}

TEST_F(RedisProduct, CountsTheValueOfAnotherProductAsAbsent) {
  ASSERT_TRUE(Put(Version(7)).ok());
  server_.Do({"COPY", kKey, "product:detail:2"});
  EXPECT_FALSE(Has({2}));
}

struct Garbage {
  const char* name;
  std::vector<std::string> command;
};

class RedisProductGarbage : public RedisProduct, public testing::WithParamInterface<Garbage> {};

TEST_P(RedisProductGarbage, CountsAsAbsentAndGivesWay) {
  for (const bool by_drop : {false, true}) {
    server_.Do({"DEL", kKey});
    const std::string reply = server_.Do(GetParam().command);
    ASSERT_NE(reply.substr(0, 5), "ERROR") << reply;
    EXPECT_FALSE(Has());
    if (by_drop) {
      ASSERT_TRUE(Drop(3).ok());
      ASSERT_TRUE(Put(Version(2)).ok());
      EXPECT_FALSE(Has());
    }
    ASSERT_TRUE(Put(Version(3)).ok());
    EXPECT_TRUE(Has());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Values, RedisProductGarbage,
    testing::Values(
        Garbage{"nothing", {"SET", kKey, ""}}, Garbage{"text", {"SET", kKey, "some text"}},
        Garbage{"no_version", {"SET", kKey, ":"}},
        Garbage{"negative_version", {"SET", kKey, "-9:x"}},
        Garbage{"hexadecimal_version", {"SET", kKey, "0xff:x"}},
        Garbage{"fractional_version", {"SET", kKey, "9e9:x"}},
        Garbage{"version_beyond_a_double", {"SET", kKey, "9007199254740992:x"}},
        Garbage{"version_beyond_everything", {"SET", kKey, std::string(400, '9') + ":"}},
        Garbage{"no_protobuf", {"SET", kKey, "1:\xff\xff\xff\xff\xff"}},
        Garbage{"large", {"SET", kKey, "1:" + std::string(1 << 20, 'x')}},
        Garbage{"list", {"RPUSH", kKey, "1:"}}, Garbage{"hash", {"HSET", kKey, "1:", "1:"}}),
    [](const auto& param) { return std::string(param.param.name); });

TEST_F(RedisProduct, KeepsNoVersionThatLuaCannotCountWith) {
  for (const int64_t version : {int64_t{-1}, RedisProductCache::kVersionEnd}) {
    EXPECT_TRUE(Put(Version(version)).ok());
    EXPECT_FALSE(Has());
    EXPECT_TRUE(absl::IsInvalidArgument(Drop(version)));
  }
}

TEST_F(RedisProduct, IsUnavailableWhileRedisIsGoneAndThenWorks) {
  RedisServer server;
  cache_ = MakeRedisProductCache(server);
  ASSERT_TRUE(Put(Version(1)).ok());
  server.Kill();
  EXPECT_TRUE(absl::IsUnavailable(Find().status()));
  EXPECT_TRUE(absl::IsUnavailable(Put(Version(1))));
  EXPECT_TRUE(absl::IsUnavailable(Drop(2)));
  server.Start();
  EXPECT_FALSE(Has());
  EXPECT_TRUE(Put(Version(1)).ok());
  EXPECT_TRUE(Has());
}

TEST_F(RedisProduct, EndsWithinItsDeadlineWhileRedisIsFrozen) {
  const auto cache = MakeRedisProductCache(server_, absl::Milliseconds(50));
  const ProductId id = {1};
  const Product product = Version(1);
  server_.Freeze();
  // At first on no connection, then on one that was made before, then on none again.
  for (int round = 0; round < 3; ++round) {
    const absl::Time begin = absl::Now();
    EXPECT_TRUE(absl::IsUnavailable(cache->Find({&id, 1}).status()));
    EXPECT_TRUE(absl::IsUnavailable(cache->Put({&product, 1})));
    EXPECT_TRUE(absl::IsUnavailable(cache->Drop({.id = id, .version = 1})));
    EXPECT_LT(absl::Now() - begin, absl::Seconds(1)) << "of 300 ms at most";
    if (round > 0) continue;
    server_.Thaw();
    while (!cache->Find({&id, 1}).ok() || !cache->Put({&product, 1}).ok()) {
    }
    server_.Freeze();
  }
  server_.Thaw();
}

TEST_F(RedisProduct, IsUnavailableWhenRedisIsFullAndDropsAllTheSame) {
  ASSERT_TRUE(Put(Version(1)).ok());
  server_.Do({"CONFIG", "SET", "maxmemory", "1"});
  const absl::Status put = Put(Version(2));
  EXPECT_TRUE(absl::IsUnavailable(put)) << put;
  EXPECT_TRUE(absl::StrContains(put.message(), "OOM")) << put;
  EXPECT_TRUE(Has());
  EXPECT_TRUE(Drop(3).ok());
  EXPECT_FALSE(Has());
  server_.Do({"CONFIG", "SET", "maxmemory", "0"});
  EXPECT_TRUE(Put(Version(3)).ok());
}

TEST_F(RedisProduct, IsUnavailableWhenRedisMayNotBeWrittenTo) {
  ASSERT_TRUE(Put(Version(1)).ok());
  server_.Do({"REPLICAOF", "127.0.0.1", "1"});
  const absl::Status put = Put(Version(2));
  EXPECT_TRUE(absl::IsUnavailable(put)) << put;
  EXPECT_TRUE(absl::StrContains(put.message(), "READONLY")) << put;
  EXPECT_TRUE(absl::IsUnavailable(Drop(3)));
  server_.Do({"REPLICAOF", "NO", "ONE"});
  EXPECT_TRUE(Drop(3).ok());
  EXPECT_FALSE(Has());
}

TEST_F(RedisProduct, IsUnavailableWhileRedisIsLoading) {
  RedisServer server;
  cache_ = MakeRedisProductCache(server);
  ASSERT_TRUE(cache_->Put(MakeProducts(2'000)).ok());
  ASSERT_EQ(server.Do({"CONFIG", "SET", "loading-process-events-interval-bytes", "1024",
                       "key-load-delay", "500"}),
            "OK");
  std::atomic<bool> loaded = false;
  std::thread reload([&] {
    server.Do({"DEBUG", "RELOAD"});
    loaded = true;
  });
  absl::Status found;
  while (!loaded && found.ok()) found = Find().status();
  reload.join();
  EXPECT_TRUE(absl::IsUnavailable(found)) << found;
  EXPECT_TRUE(absl::StrContains(found.message(), "LOADING")) << found;
  EXPECT_TRUE(Has());
}

TEST_F(RedisProduct, SendsItsScriptsToARedisThatHasForgottenThem) {
  ASSERT_TRUE(Put(Version(1)).ok());
  server_.Do({"SCRIPT", "FLUSH"});
  EXPECT_TRUE(Put(Version(2)).ok());
  server_.Do({"SCRIPT", "FLUSH"});
  EXPECT_TRUE(Drop(3).ok());
}

class RedisChanges : public RedisProduct {
 protected:
  static bool IsUnavailable(const absl::StatusOr<std::vector<ProductVersion>>& next) {
    return absl::IsUnavailable(next.status());
  }

  void ExpectDelivers(int64_t version) {
    ASSERT_TRUE(Drop(version).ok());
    const auto next = Collect(*changes_, 1, absl::Seconds(1));
    ASSERT_TRUE(next.ok()) << next.status();
    ASSERT_EQ(next->size(), 1u);
    EXPECT_EQ((*next)[0].id, ProductId{1});
    EXPECT_EQ((*next)[0].version, version);
  }

  /// Waits until the subscription has found out; fails unless that takes less than `timeout`.
  void ExpectCutOffWithin(absl::Duration timeout) {
    const absl::Time begin = absl::Now();
    while (changes_->stats().connected && absl::Now() - begin < kPatience) {
      const auto next = changes_->Next(absl::Milliseconds(10));
      ASSERT_TRUE(next.ok()) << next.status();
      ASSERT_TRUE(next->empty());
    }
    EXPECT_LT(absl::Now() - begin, timeout);
  }

  std::unique_ptr<RedisProductChanges> changes_ = MakeRedisProductChanges(server_);
};

TEST_F(RedisChanges, HearsOfTheSameDropAgain) {
  ASSERT_TRUE(IsUnavailable(changes_->Next(kPatience)));
  ExpectDelivers(5);
  ExpectDelivers(5);
}

TEST_F(RedisChanges, SaysOnceThatItWasCutOffWhenRedisIsBackAndThenDelivers) {
  RedisServer server;
  cache_ = MakeRedisProductCache(server);
  changes_ = MakeRedisProductChanges(server);
  ASSERT_TRUE(IsUnavailable(changes_->Next(kPatience)));
  ExpectDelivers(1);
  server.Kill();
  ExpectCutOffWithin(absl::Seconds(1));
  server.Start();
  EXPECT_TRUE(IsUnavailable(changes_->Next(kPatience)));
  ExpectDelivers(2);
  EXPECT_EQ(changes_->stats().connects, 2);
}

TEST_F(RedisChanges, WaitsWithoutAnErrorForARedisThatIsNotThereYet) {
  RedisServer server;
  server.Kill();
  cache_ = MakeRedisProductCache(server);
  changes_ = MakeRedisProductChanges(server);
  const absl::Time begin = absl::Now();
  const auto none = changes_->Next(absl::Milliseconds(250));
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_TRUE(none->empty());
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(250)) << "the caller would spin";
  server.Start();
  EXPECT_TRUE(IsUnavailable(changes_->Next(kPatience)));
  ExpectDelivers(1);
}

TEST_F(RedisChanges, FindsOutWithinASecondThatRedisIsFrozen) {
  ASSERT_TRUE(IsUnavailable(changes_->Next(kPatience)));
  server_.Freeze();
  ExpectCutOffWithin(absl::Seconds(1.5));
  server_.Thaw();
  EXPECT_TRUE(IsUnavailable(changes_->Next(kPatience)));
  ExpectDelivers(1);
}

TEST_F(RedisChanges, SaysOnceThatItWasCutOffWhenRedisThrowsItOut) {
  ASSERT_TRUE(IsUnavailable(changes_->Next(kPatience)));
  server_.Do({"CLIENT", "KILL", "TYPE", "pubsub"});
  EXPECT_TRUE(IsUnavailable(changes_->Next(kPatience)));
  ExpectDelivers(1);
}

TEST_F(RedisChanges, StaysConnectedWhileNothingHappens) {
  ASSERT_TRUE(IsUnavailable(changes_->Next(kPatience)));
  const int64_t pings = server_.CallsOf("ping");
  const auto none = changes_->Next(absl::Seconds(1.5));
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_TRUE(none->empty());
  EXPECT_GE(server_.CallsOf("ping"), pings + 2);
  ExpectDelivers(1);
  EXPECT_EQ(changes_->stats().connects, 1);
  EXPECT_EQ(changes_->stats().malformed, 0) << "an answer to a ping is no message";
}

TEST_F(RedisChanges, IsNotCutOffByACallerWhoStaysAway) {
  ASSERT_TRUE(IsUnavailable(changes_->Next(kPatience)));
  ASSERT_TRUE(changes_->Next(absl::Milliseconds(500))->empty());  // asks at 400 ms
  const absl::Time begin = absl::Now();
  while (absl::Now() - begin < absl::Seconds(1)) {
    ASSERT_TRUE(Find().ok());  // busy with something else
  }
  ExpectDelivers(1);
  EXPECT_EQ(changes_->stats().connects, 1);
}

TEST_F(RedisChanges, PassesOverMessagesThatAreNoChanges) {
  ASSERT_TRUE(IsUnavailable(changes_->Next(kPatience)));
  const std::vector<std::string> messages = {"",
                                             ":",
                                             "1",
                                             "1:",
                                             "1:x",
                                             ":1",
                                             "0:1",
                                             "-1:1",
                                             "1:-1",
                                             "1: 1",
                                             "1:1:1",
                                             "+1:1",
                                             "\xff",
                                             "1:1\n",
                                             "99999999999999999999:1",
                                             std::string(100'000, '1')};
  for (const std::string& message : messages) {
    ASSERT_EQ(server_.Do({"PUBLISH", "product:changed", message}), "1");
  }
  ExpectDelivers(1);
  EXPECT_EQ(changes_->stats().malformed, static_cast<int64_t>(messages.size()));
}

TEST_F(RedisChanges, KnowsThePasswordAsTheCacheDoes) {
  RedisServer server;
  server.Do({"CONFIG", "SET", "requirepass", "secret"});
  cache_ = MakeRedisProductCache(server);
  changes_ = MakeRedisProductChanges(server);
  EXPECT_TRUE(absl::IsUnavailable(Put(Version(1))));
  EXPECT_TRUE(changes_->Next(absl::ZeroDuration())->empty());
  EXPECT_FALSE(changes_->stats().connected);

  const adapters::redis::Address address = {.socket_path = server.socket_path(),
                                            .password = "secret"};
  cache_ = std::make_unique<RedisProductCache>(RedisProductCache::Options{
      .address = address, .connect_timeout = kPatience, .command_timeout = kPatience});
  changes_ = std::make_unique<RedisProductChanges>(
      RedisProductChanges::Options{.address = address, .connect_timeout = kPatience});
  ASSERT_TRUE(IsUnavailable(changes_->Next(kPatience)));
  ExpectDelivers(1);
}

}  // namespace
}  // namespace ecom::tests
