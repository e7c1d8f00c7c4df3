#include "product/view_writer.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "support/fake_clock.h"
#include "support/faulty_product_store.h"
#include "support/faulty_view_totals.h"
#include "support/memory_view_totals.h"
#include "support/product_backend.h"

namespace ecom::tests {
namespace {

using product::ProductId;
using product::ViewBatch;
using product::ViewTotal;
using product::ViewWriter;

class TotalsToStore : public testing::Test {
 protected:
  TotalsToStore() {
    backend_.PutProducts(MakeProducts(100));
    std::vector<ViewTotal> none;
    for (int64_t id = 1; id <= 100; ++id) none.push_back({.id = {id}, .views = 0});
    EXPECT_TRUE(memory_.Seed(none).ok());
    EXPECT_TRUE(memory_.NoteStored(none).ok());
  }

  /// A writer whose own thread does nothing within a test.
  std::unique_ptr<ViewWriter> Make(ViewWriter::Options options = ByHand()) {
    return std::make_unique<ViewWriter>(
        options, ViewWriter::Deps{.totals = totals_, .store = store_, .clock = clock_});
  }

  static ViewWriter::Options ByHand() {
    return {.interval = absl::Hours(1), .stop_retry_delay = absl::ZeroDuration()};
  }

  void Add(int64_t id, int64_t views) {
    ASSERT_TRUE(memory_.Add({"a", ++sequence_, {{{id}, views}}}).ok());
  }

  int64_t Stored(int64_t id) {
    const std::vector<ProductId> ids = {{id}};
    return (*backend_.store().FindProducts(ids))[0]->view_count;
  }

  size_t Unstored() { return memory_.Unstored(1'000)->size(); }

  EmbeddedProductBackend backend_{/*in_memory=*/true};
  FaultyProductStore store_{backend_.store()};
  MemoryViewTotals memory_;
  FaultyViewTotals totals_{memory_};
  FakeClock clock_;
  int64_t sequence_ = 0;
};

TEST_F(TotalsToStore, BringsEachTotalOnceInBoundedBatches) {
  ViewWriter::Options options = ByHand();
  options.batch_products_max = 30;
  auto writer = Make(options);
  for (int64_t id = 1; id <= 100; ++id) Add(id, id);
  EXPECT_TRUE(writer->WriteAll().ok());
  for (int64_t id = 1; id <= 100; ++id) EXPECT_EQ(Stored(id), id);
  EXPECT_EQ(store_.raise_calls(), 4);
  EXPECT_EQ(Unstored(), 0u);
  EXPECT_TRUE(writer->WriteAll().ok());
  EXPECT_EQ(store_.raise_calls(), 4) << "nothing has changed";
  const ViewWriter::Stats stats = writer->stats();
  EXPECT_EQ(stats.written, 100);
  EXPECT_EQ(stats.rounds, 2);
  EXPECT_EQ(stats.errors, 0);
  EXPECT_EQ(stats.last_success, clock_.Now());
}

TEST_F(TotalsToStore, TriesAgainWithTheNextRoundWhereverItFailed) {
  auto writer = Make();
  Add(1, 5);
  store_.FailRaises(1);
  EXPECT_TRUE(absl::IsUnavailable(writer->WriteAll()));
  EXPECT_EQ(Unstored(), 1u);
  totals_.AnswerWith(absl::UnavailableError("failed by the test"));
  EXPECT_TRUE(absl::IsUnavailable(writer->WriteAll()));
  EXPECT_EQ(Stored(1), 0);
  EXPECT_EQ(writer->stats().last_success, std::nullopt);
  totals_.AnswerWith(absl::OkStatus());
  EXPECT_TRUE(writer->WriteAll().ok());
  EXPECT_EQ(Stored(1), 5);
  EXPECT_EQ(writer->stats().errors, 2);
}

/// Totals of which one is viewed again whenever somebody has just read it.
class Restless final : public product::ViewTotals {
 public:
  explicit Restless(product::ViewTotals& totals) : totals_(totals) {}
  absl::StatusOr<std::vector<std::optional<int64_t>>> Add(const ViewBatch& batch) override {
    return totals_.Add(batch);
  }
  absl::StatusOr<std::vector<std::optional<int64_t>>> Find(
      std::span<const ProductId> ids) override {
    return totals_.Find(ids);
  }
  absl::Status Seed(std::span<const ViewTotal> totals) override { return totals_.Seed(totals); }
  absl::StatusOr<std::vector<ViewTotal>> Unstored(int limit) override {
    auto unstored = totals_.Unstored(limit);
    for (int64_t id = 1; id <= 3; ++id) {
      if (!totals_.Add({"restless", ++sequence_, {{{id}, 1}}}).ok()) std::abort();
    }
    return unstored;
  }
  absl::Status NoteStored(std::span<const ViewTotal> totals) override {
    return totals_.NoteStored(totals);
  }

 private:
  product::ViewTotals& totals_;
  int64_t sequence_ = 0;
};

TEST_F(TotalsToStore, EndsARoundThoughProductsAreViewedAllTheTime) {
  Restless restless(memory_);
  ViewWriter::Options options = ByHand();
  options.batch_products_max = 2;
  ViewWriter writer(options, {.totals = restless, .store = store_, .clock = clock_});
  for (int64_t id = 1; id <= 7; ++id) Add(id, 1);
  EXPECT_TRUE(writer.WriteAll().ok());
  for (int64_t id = 1; id <= 7; ++id) EXPECT_GE(Stored(id), 1);
  EXPECT_LE(store_.raise_calls(), 6);
}

TEST_F(TotalsToStore, NeverLowersWhatTheStoreHas) {
  auto writer = Make();
  const std::vector<ViewTotal> more = {{{1}, 50}};
  ASSERT_TRUE(backend_.store().RaiseViews(more).ok());
  Add(1, 5);
  EXPECT_TRUE(writer->WriteAll().ok());
  EXPECT_EQ(Stored(1), 50);
  EXPECT_EQ(Unstored(), 0u);
}

TEST_F(TotalsToStore, IsNotHeldUpByAProductThatIsGone) {
  auto writer = Make();
  ASSERT_TRUE(memory_.Seed(std::vector<ViewTotal>{{{4'242}, 9}}).ok());
  Add(1, 5);
  EXPECT_TRUE(writer->WriteAll().ok());
  EXPECT_EQ(Stored(1), 5);
  EXPECT_EQ(Unstored(), 0u);
}

TEST_F(TotalsToStore, HappensByItselfWithoutBeingAsked) {
  ViewWriter::Options options = ByHand();
  options.interval = absl::Milliseconds(1);
  auto writer = Make(options);
  Add(1, 5);
  store_.WaitForRaises(1);
  Add(1, 5);
  store_.WaitForRaises(2);
  EXPECT_TRUE(writer->Stop().ok());
  EXPECT_EQ(Stored(1), 10);
}

TEST_F(TotalsToStore, LeavesNothingBehindAtACleanStop) {
  auto writer = Make();
  for (int64_t id = 1; id <= 100; ++id) Add(id, id);
  store_.FailRaises(4);
  EXPECT_TRUE(writer->Stop().ok());
  EXPECT_TRUE(writer->Stop().ok());
  EXPECT_EQ(store_.raise_calls(), 5);
  for (int64_t id = 1; id <= 100; ++id) EXPECT_EQ(Stored(id), id);
}

TEST_F(TotalsToStore, GivesUpAtAStopWhenTheStoreFailsToTheEnd) {
  auto writer = Make();
  Add(1, 5);
  store_.FailRaises(100);
  EXPECT_TRUE(absl::IsUnavailable(writer->Stop()));
  EXPECT_EQ(store_.raise_calls(), 5);
  EXPECT_EQ(Unstored(), 1u) << "for another server, or the next start";
}

TEST_F(TotalsToStore, LosesNothingWhenTwoWritersRunWhileViewsAreAdded) {
  ViewWriter::Options options = ByHand();
  options.interval = absl::Microseconds(100);
  options.batch_products_max = 3;
  auto one = Make(options);
  auto other = Make(options);
  std::thread adding([&] {
    for (int64_t i = 0; i < 2'000; ++i) Add(1 + i % 10, 1);
  });
  adding.join();
  EXPECT_TRUE(one->Stop().ok());
  EXPECT_TRUE(other->Stop().ok());
  for (int64_t id = 1; id <= 10; ++id) EXPECT_EQ(Stored(id), 200);
}

}  // namespace
}  // namespace ecom::tests
