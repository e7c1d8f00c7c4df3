#include "product/hot_products.h"

#include <gtest/gtest.h>

#include <vector>

#include "support/fake_clock.h"

namespace ecom::tests {
namespace {

using product::HotProduct;
using product::HotProducts;
using product::ViewDelta;

class Hot : public testing::Test {
 protected:
  void Count(std::vector<ViewDelta> deltas) { hot_.Count(deltas); }

  std::vector<int64_t> Ids() {
    std::vector<int64_t> ids;
    for (const HotProduct& product : hot_.Top()) ids.push_back(product.id.value);
    return ids;
  }

  const HotProducts::Options options_{.products_max = 5, .views_min = 10};
  FakeClock clock_;
  HotProducts hot_{options_, clock_};
};

TEST_F(Hot, ShowsTheMostViewedFirstAndTiesById) {
  EXPECT_TRUE(Ids().empty());
  Count({{{7}, 20}, {{3}, 10}, {{9}, 20}, {{1}, 9}});
  Count({{{3}, 15}, {{2}, 0}});
  EXPECT_EQ(Ids(), (std::vector<int64_t>{3, 7, 9}));
  EXPECT_EQ(hot_.Top()[0].views, 25);
}

TEST_F(Hot, ForgetsWhatLeftTheWindowASliceAtATime) {
  const absl::Duration slice = options_.window / 6;
  Count({{{1}, 30}});
  clock_.Advance(options_.window - slice);
  Count({{{2}, 20}});
  EXPECT_EQ(Ids(), (std::vector<int64_t>{1, 2}));
  clock_.Advance(slice);
  Count({{{2}, 1}});
  EXPECT_EQ(Ids(), (std::vector<int64_t>{2}));
  clock_.Advance(options_.window * 2);
  EXPECT_TRUE(Ids().empty()) << "though nothing was counted since";
}

TEST_F(Hot, FindsAProductThatBecomesHotAmongManyThatDoNot) {
  for (int64_t round = 0; round < 50; ++round) {
    std::vector<ViewDelta> deltas;
    for (int64_t i = 0; i < 200; ++i) deltas.push_back({{1'000 + round * 200 + i}, 1});
    deltas.push_back({{42}, 20});
    deltas.push_back({{43}, round < 25 ? 0 : 10});
    Count(deltas);
  }
  const std::vector<int64_t> ids = Ids();
  ASSERT_GE(ids.size(), 2u);
  EXPECT_EQ(ids[0], 42);
  EXPECT_EQ(ids[1], 43);
  EXPECT_GE(hot_.Top()[0].views, 50 * 20);
  EXPECT_LE(hot_.Top()[0].views, 50 * 20 + 50) << "10,000 others share the sketch's 2,048 columns";
}

TEST_F(Hot, ShowsNoMoreThanItMay) {
  std::vector<ViewDelta> deltas;
  for (int64_t id = 1; id <= 100; ++id) deltas.push_back({{id}, 100 + id});
  Count(deltas);
  EXPECT_EQ(Ids(), (std::vector<int64_t>{100, 99, 98, 97, 96}));
}

TEST_F(Hot, StopsCountingWhereItsCountersEnd) {
  for (int i = 0; i < 3; ++i) Count({{{1}, int64_t{3'000'000'000}}});
  EXPECT_EQ(hot_.Top()[0].views, int64_t{4'294'967'295});
}

}  // namespace
}  // namespace ecom::tests
