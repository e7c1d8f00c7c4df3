// What every ViewTotals must do, whatever is behind it.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "product/views.h"
#include "support/view_totals_backend.h"

namespace ecom::tests {
namespace {

using product::ProductId;
using product::ViewBatch;
using product::ViewDelta;
using product::ViewTotal;

using Totals = std::vector<std::optional<int64_t>>;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

Totals AddTo(product::ViewTotals& totals, const ViewBatch& batch) {
  auto added = totals.Add(batch);
  EXPECT_TRUE(added.ok()) << added.status();
  return added.value_or(Totals{});
}

Totals FindIn(product::ViewTotals& totals, const std::vector<ProductId>& ids) {
  auto found = totals.Find(ids);
  EXPECT_TRUE(found.ok()) << found.status();
  return found.value_or(Totals{});
}

/// Products 1 to 100 have a total: 0.
class ViewTotals : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    backend_ = MakeViewTotalsBackend(GetParam());
    std::vector<ViewTotal> none;
    for (int64_t id = 1; id <= 100; ++id) none.push_back({.id = {id}, .views = 0});
    Seed(none);
  }

  product::ViewTotals& totals() { return backend_->totals(); }
  void Seed(const std::vector<ViewTotal>& known) {
    const absl::Status seeded = totals().Seed(known);
    ASSERT_TRUE(seeded.ok()) << seeded;
  }
  Totals Add(const ViewBatch& batch) { return AddTo(totals(), batch); }
  Totals Find(const std::vector<ProductId>& ids) { return FindIn(totals(), ids); }

  std::unique_ptr<ViewTotalsBackend> backend_;
};

TEST_P(ViewTotals, AddABatchAndAnswerTheTotalsInOrder) {
  EXPECT_EQ(Add({"a", 1, {{{2}, 5}, {{1}, 1}}}), (Totals{5, 1}));
  EXPECT_EQ(Add({"a", 2, {{{1}, 2}, {{2}, 5}, {{3}, 0}}}), (Totals{3, 10, 0}));
  EXPECT_EQ(Find({{3}, {2}, {1}}), (Totals{0, 10, 3}));
  EXPECT_EQ(Add({"a", 3, {}}), Totals{});
  EXPECT_EQ(Find({}), Totals{});
}

TEST_P(ViewTotals, AddABatchOnceHoweverOftenItIsSent) {
  const ViewBatch batch = {"a", 1, {{{1}, 5}}};
  EXPECT_EQ(Add(batch), Totals{5});
  EXPECT_EQ(Add(batch), Totals{5});
  EXPECT_EQ(Add({"a", 2, {{{1}, 2}}}), Totals{7});
  EXPECT_EQ(Add(batch), Totals{7}) << "an older one that comes late";
  EXPECT_EQ(Add({"a", 7, {{{1}, 1}}}), Totals{8}) << "one that was given up leaves a gap";
}

TEST_P(ViewTotals, CountTheBatchesOfEachServerApart) {
  EXPECT_EQ(Add({"a", 5, {{{1}, 1}}}), Totals{1});
  EXPECT_EQ(Add({"b", 1, {{{1}, 2}}}), Totals{3});
  EXPECT_EQ(Add({"b", 1, {{{1}, 2}}}), Totals{3});
  EXPECT_EQ(Add({"a", 5, {{{1}, 1}}}), Totals{3});
}

TEST_P(ViewTotals, AreRaisedBySeedsAndNeverLowered) {
  Seed({{{1}, 9}, {{2}, 100}});
  Seed({{{1}, 10}, {{2}, 99}});
  EXPECT_EQ(Find({{1}, {2}}), (Totals{10, 100}));
  Seed({{{1}, 9}});
  EXPECT_EQ(Add({"a", 1, {{{1}, 1}, {{2}, 1}}}), (Totals{11, 101}));
  Seed({});
}

TEST_P(ViewTotals, AreExactUpToTheHighestNumber) {
  constexpr int64_t kBig = (int64_t{1} << 53) + 1;  // no double holds it
  Seed({{{1}, kBig}, {{2}, kMax - 1}, {{3}, kMax}, {{4}, 999'999'999'999'999'999}});
  EXPECT_EQ(Find({{1}, {2}, {3}}), (Totals{kBig, kMax - 1, kMax}));
  EXPECT_EQ(Add({"a", 1, {{{1}, 2}, {{2}, 1}, {{3}, 1}, {{4}, 1}}}),
            (Totals{kBig + 2, kMax, kMax, 1'000'000'000'000'000'000}));
  Seed({{{1}, kBig + 1}, {{2}, kMax - 1}, {{4}, 999'999'999'999'999'999}});
  EXPECT_EQ(Add({"a", 2, {{{1}, 0}, {{2}, 5}, {{4}, 0}}}),
            (Totals{kBig + 2, kMax, 1'000'000'000'000'000'000}));
}

TEST_P(ViewTotals, HoldUpNobodyForAProductThatIsGone) {
  // Where a total is missing it can be seeded; else there is one.
  ViewBatch batch = {"a", 1, {{{4'242}, 3}, {{1}, 1}}};
  Totals added = Add(batch);
  if (!added[0]) {
    Seed({{{4'242}, 0}});
    added = Add(batch);
  }
  EXPECT_TRUE(added[0].has_value());
  EXPECT_EQ(added[1], 1);
}

TEST_P(ViewTotals, KnowWhatWasAddedThroughARestartInBetween) {
  const ViewBatch first = {"a", 1, {{{1}, 5}}};
  Add(first);
  backend_->Restart();
  EXPECT_EQ(Add(first), Totals{5}) << "its answer was lost, as far as the sender knows";
  const ViewBatch second = {"a", 2, {{{1}, 2}}};
  EXPECT_EQ(Add(second), Totals{7});
}

TEST_P(ViewTotals, AddUpWhatThreadsOfThreeServersSendOnceOrMore) {
  constexpr int kThreads = 8;
  constexpr int kBatches = 60;
  struct Server {
    std::mutex mutex;  // a server has one batch on its way, then the next
    int64_t sequence = 0;
  };
  std::array<Server, 3> servers;
  std::array<std::atomic<int64_t>, 11> sent{};
  std::atomic<int> errors = 0;
  const auto send = [&](const ViewBatch& batch) {
    const auto added = totals().Add(batch);
    if (!added.ok() || !(*added)[0]) ++errors;
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kBatches; ++i) {
        Server& server = servers[static_cast<size_t>((thread + i) % 3)];
        ViewBatch batch;
        batch.server = std::to_string((thread + i) % 3);
        for (int64_t id = 1 + i % 5; id <= 10; id += 2) {
          const int64_t views = 1 + (thread + id) % 4;
          batch.deltas.push_back({.id = {id}, .views = views});
          sent[static_cast<size_t>(id)] += views;
        }
        {
          std::lock_guard lock(server.mutex);
          batch.sequence = ++server.sequence;
          send(batch);
        }
        // Late, and beside those that follow it.
        for (int again = 0; again < (thread * kBatches + i) % 3; ++again) send(batch);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0);
  for (int64_t id = 1; id <= 10; ++id) {
    EXPECT_EQ(Find({{id}}), Totals{sent[static_cast<size_t>(id)]}) << "product " << id;
  }
}

INSTANTIATE_TEST_SUITE_P(Products, ViewTotals, testing::ValuesIn(kViewTotalsBackends),
                         [](const auto& test) { return std::string(test.param); });

/// Totals that are ahead of the store. No product has one yet.
class SharedViewTotals : public testing::TestWithParam<const char*> {
 protected:
  product::ViewTotals& totals() { return backend_->totals(); }
  Totals Add(const ViewBatch& batch) { return AddTo(totals(), batch); }
  Totals Find(const std::vector<ProductId>& ids) { return FindIn(totals(), ids); }
  void Seed(const std::vector<ViewTotal>& known) { ASSERT_TRUE(totals().Seed(known).ok()); }
  void NoteStored(const std::vector<ViewTotal>& stored) {
    ASSERT_TRUE(totals().NoteStored(stored).ok());
  }
  /// "id=views", in order.
  std::vector<std::string> Unstored(int limit = 1'000) {
    const auto unstored = totals().Unstored(limit);
    EXPECT_TRUE(unstored.ok()) << unstored.status();
    std::vector<std::string> texts;
    for (const ViewTotal& total : *unstored) {
      texts.push_back(std::to_string(total.id.value) + "=" + std::to_string(total.views));
    }
    return texts;
  }
  /// Seeds what the store has already.
  void SeedFromStore(const std::vector<ViewTotal>& known) {
    Seed(known);
    NoteStored(known);
  }

  std::unique_ptr<ViewTotalsBackend> backend_ = MakeViewTotalsBackend(GetParam());
};

using Texts = std::vector<std::string>;

TEST_P(SharedViewTotals, AddNothingWhenOneProductHasNoTotalAndSayWhich) {
  SeedFromStore({{{1}, 10}});
  const ViewBatch batch = {"a", 1, {{{1}, 5}, {{2}, 7}}};
  EXPECT_EQ(Add(batch), (Totals{10, std::nullopt}));
  EXPECT_EQ(Find({{1}, {2}}), (Totals{10, std::nullopt}));
  EXPECT_EQ(Unstored(), Texts{});
  Seed({{{2}, 0}});
  EXPECT_EQ(Add(batch), (Totals{15, 7}));
  EXPECT_EQ(Add(batch), (Totals{15, 7}));
}

TEST_P(SharedViewTotals, AnswerTheTotalsToABatchOfNoViewsAndKeepNothingOfIt) {
  SeedFromStore({{{1}, 10}});
  EXPECT_EQ(Add({"a", 1, {{{1}, 0}, {{2}, 0}}}), (Totals{10, std::nullopt}));
  EXPECT_EQ(Unstored(), Texts{});
  EXPECT_EQ(Add({"a", 1, {{{1}, 1}}}), Totals{11});
  EXPECT_EQ(Unstored(), Texts{"1=11"});
}

TEST_P(SharedViewTotals, NameWhatIsNotStoredYetTheLongestWaitingFirst) {
  SeedFromStore({{{1}, 0}, {{2}, 0}, {{3}, 0}});
  Add({"a", 1, {{{3}, 1}}});
  Add({"a", 2, {{{1}, 1}}});
  Add({"a", 3, {{{3}, 1}, {{2}, 0}}});
  EXPECT_EQ(Unstored(), (Texts{"3=2", "1=1"}));
  EXPECT_EQ(Unstored(1), Texts{"3=2"});
  EXPECT_EQ(Unstored(0), Texts{});
  Seed({{{4}, 9}});
  EXPECT_EQ(Unstored(), (Texts{"3=2", "1=1", "4=9"}))
      << "whoever seeds may know more than the store";
}

TEST_P(SharedViewTotals, NoteAsStoredOnlyATotalThatHasNotGrownSince) {
  SeedFromStore({{{1}, 0}, {{2}, 0}});
  Add({"a", 1, {{{1}, 5}}});
  Add({"a", 2, {{{2}, 5}}});
  Add({"a", 3, {{{1}, 1}}});  // between Unstored and NoteStored of some server
  NoteStored({{{1}, 5}});
  EXPECT_EQ(Unstored(), (Texts{"2=5", "1=6"})) << "it waits behind the other now";
  NoteStored({{{2}, 5}, {{1}, 6}, {{3}, 1}});
  EXPECT_EQ(Unstored(), Texts{});
  NoteStored({{{1}, 5}});  // of another server, late
  EXPECT_EQ(Unstored(), Texts{});
}

TEST_P(SharedViewTotals, LoseNoViewToWritersThatNoteWhileOthersAdd) {
  constexpr int64_t kProducts = 20;
  for (int64_t id = 1; id <= kProducts; ++id) SeedFromStore({{{id}, 0}});
  std::array<std::atomic<int64_t>, kProducts + 1> stored{};
  std::atomic<int> adding = 2;
  std::atomic<int> errors = 0;
  // Brings what it is told to a store that keeps the highest.
  const auto write = [&] {
    const auto unstored = totals().Unstored(7);
    if (!unstored.ok()) return ++errors, false;
    for (const ViewTotal& total : *unstored) {
      std::atomic<int64_t>& views = stored[static_cast<size_t>(total.id.value)];
      int64_t before = views;
      while (before < total.views && !views.compare_exchange_weak(before, total.views)) {
      }
    }
    if (!totals().NoteStored(*unstored).ok()) ++errors;
    return !unstored->empty();
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 2; ++thread) {
    threads.emplace_back([&, thread] {
      for (int64_t i = 1; i <= 300; ++i) {
        const ViewBatch batch = {
            std::to_string(thread), i, {{{1 + i % kProducts}, 1}, {{1 + i * 7 % kProducts}, 2}}};
        if (!totals().Add(batch).ok()) ++errors;
      }
      --adding;
    });
    threads.emplace_back([&] {
      while (adding > 0) write();
    });
  }
  for (std::thread& thread : threads) thread.join();
  while (write()) {
  }
  EXPECT_EQ(errors, 0);
  int64_t sum = 0;
  for (int64_t id = 1; id <= kProducts; ++id) {
    const int64_t views = stored[static_cast<size_t>(id)];
    EXPECT_EQ(Find({{id}}), Totals{views});
    sum += views;
  }
  EXPECT_EQ(sum, 2 * 300 * 3);
}

TEST_P(SharedViewTotals, AskToBeSeededAgainWhenTheyWereForgotten) {
  SeedFromStore({{{1}, 10}});
  EXPECT_EQ(Add({"a", 1, {{{1}, 5}}}), Totals{15});
  backend_->Forget();
  const ViewBatch batch = {"a", 2, {{{1}, 1}}};
  EXPECT_EQ(Add(batch), Totals{std::nullopt});
  Seed({{{1}, 15}});
  EXPECT_EQ(Add(batch), Totals{16});
  EXPECT_EQ(Unstored(), Texts{"1=16"});
}

INSTANTIATE_TEST_SUITE_P(Products, SharedViewTotals, testing::ValuesIn(kSharedViewTotalsBackends),
                         [](const auto& test) { return std::string(test.param); });

/// What only people and a slow Redis do.
class RedisViewTotals : public SharedViewTotals {
 protected:
  RedisServer& server() { return dynamic_cast<RedisViewTotalsBackend&>(*backend_).server(); }
};

TEST_P(RedisViewTotals, CountABatchOnceWhenRedisAddsItAfterItsSenderGaveUp) {
  RedisViewTotalsBackend impatient(absl::Milliseconds(200));
  ASSERT_TRUE(impatient.totals().Seed(std::vector<ViewTotal>{{{1}, 0}}).ok());
  const ViewBatch batch = {"a", 1, {{{1}, 5}}};
  // So that the script is known, and the connection open.
  ASSERT_TRUE(impatient.totals().Add({"b", 1, {{{1}, 1}}}).ok());
  impatient.server().Freeze();
  EXPECT_TRUE(absl::IsUnavailable(impatient.totals().Add(batch).status()));
  EXPECT_TRUE(absl::IsUnavailable(impatient.totals().Add(batch).status()));
  EXPECT_TRUE(absl::IsUnavailable(impatient.totals().Find(std::vector<ProductId>{{1}}).status()));
  impatient.server().Thaw();
  EXPECT_EQ(Add(batch), Totals{6});
  EXPECT_EQ(Add({"a", 2, {{{1}, 1}}}), Totals{7});
}

TEST_P(RedisViewTotals, TakeWhatIsNoCountForMissing) {
  SeedFromStore({{{1}, 10}});
  for (const char* const wrong : {"many", "-5", "1e+16", "1.5", "", "007", "9223372036854775808"}) {
    server().Do({"HSET", "product:views:totals", "1", wrong});
    server().Do({"ZADD", "product:views:unstored", "0", "1", "0", "nobody"});
    EXPECT_EQ(Add({"a", 1, {{{1}, 5}}}), Totals{std::nullopt}) << wrong;
    EXPECT_EQ(Unstored(), Texts{}) << wrong;
    Seed({{{1}, 10}});
    EXPECT_EQ(Find({{1}}), Totals{10}) << wrong;
    NoteStored({{{1}, 10}});
  }
  EXPECT_EQ(Add({"a", 1, {{{1}, 5}}}), Totals{15});
}

TEST_P(RedisViewTotals, SayUnavailableWhereSomebodyTookTheirPlace) {
  server().Do({"SET", "product:views:totals", "x"});
  EXPECT_TRUE(absl::IsUnavailable(totals().Add({"a", 1, {{{1}, 5}}}).status()));
  EXPECT_TRUE(absl::IsUnavailable(totals().Find(std::vector<ProductId>{{1}}).status()));
  EXPECT_TRUE(absl::IsUnavailable(totals().Seed(std::vector<ViewTotal>{{{1}, 5}})));
  server().Do({"DEL", "product:views:totals"});
  Seed({{{1}, 0}});
  server().Do({"SET", "product:views:unstored", "x"});
  EXPECT_TRUE(absl::IsUnavailable(totals().Add({"a", 1, {{{1}, 5}}}).status()));
  EXPECT_EQ(Find({{1}}), Totals{0}) << "nothing was added";
}

TEST_P(RedisViewTotals, TakeOneRoundTripForAsManyProductsAsTheyAllow) {
  constexpr size_t kMost = adapters::redis::RedisViewTotals::kProductsMax;
  std::vector<ViewTotal> known;
  std::vector<ProductId> ids;
  ViewBatch batch = {"a", 1, {}};
  for (int64_t id = 1; id <= static_cast<int64_t>(kMost); ++id) {
    known.push_back({.id = {id}, .views = id});
    ids.push_back({id});
    batch.deltas.push_back({.id = {id}, .views = 1});
  }
  SeedFromStore(known);
  EXPECT_EQ(Add(batch).back(), static_cast<int64_t>(kMost) + 1);
  const int64_t scripts = server().CallsOf("evalsha");
  batch.sequence = 2;
  EXPECT_EQ(Add(batch).back(), static_cast<int64_t>(kMost) + 2);
  EXPECT_EQ(server().CallsOf("evalsha"), scripts + 1);
  EXPECT_EQ(Find(ids).back(), static_cast<int64_t>(kMost) + 2);
  EXPECT_EQ(Unstored(100'000).size(), kMost);

  batch.deltas.push_back({.id = {1'000'000}, .views = 1});
  ids.push_back({1'000'000});
  known.push_back({.id = {1'000'000}, .views = 1});
  EXPECT_TRUE(absl::IsInvalidArgument(totals().Add(batch).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(totals().Find(ids).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(totals().Seed(known)));
  EXPECT_TRUE(absl::IsInvalidArgument(totals().NoteStored(known)));
}

TEST_P(RedisViewTotals, RememberTheLastBatchOfAServerForADay) {
  SeedFromStore({{{1}, 0}});
  Add({"a", 3, {{{1}, 5}}});
  EXPECT_EQ(server().Do({"GET", "product:views:sequence:a"}), "3");
  EXPECT_EQ(server().Do({"TTL", "product:views:sequence:a"}), "86400");
  EXPECT_EQ(server().Do({"HGET", "product:views:totals", "1"}), "5");
  EXPECT_EQ(server().Do({"ZCARD", "product:views:unstored"}), "1");
}

INSTANTIATE_TEST_SUITE_P(Products, RedisViewTotals, testing::Values("redis"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace ecom::tests
