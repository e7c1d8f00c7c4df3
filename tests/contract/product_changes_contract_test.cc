// What every ProductChanges must do, whatever is behind it.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "product/changes.h"
#include "support/product_cache_backend.h"

namespace ecom::tests {
namespace {

using product::ProductVersion;

class ProductChanges : public testing::TestWithParam<const char*> {
 protected:
  ProductChanges() : backend_(MakeProductChangesBackend(GetParam())) {}

  /// One that is over its beginning.
  std::unique_ptr<product::ProductChanges> Subscribed() {
    auto changes = backend_->Subscribe();
    const auto begun = changes->Next(kPatience);
    EXPECT_TRUE(absl::IsUnavailable(begun.status())) << begun.status();
    return changes;
  }

  static void ExpectNext(product::ProductChanges& changes,
                         const std::vector<ProductVersion>& expected,
                         absl::Duration timeout = kPatience) {
    const auto actual = Collect(changes, expected.size(), timeout);
    ASSERT_TRUE(actual.ok()) << actual.status();
    ASSERT_EQ(actual->size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ((*actual)[i].id, expected[i].id);
      EXPECT_EQ((*actual)[i].version, expected[i].version);
    }
  }

  std::unique_ptr<ProductChangesBackend> backend_;
};

TEST_P(ProductChanges, BeginsBySayingThatSomeMayHaveBeenMissed) {
  backend_->Change({1});
  auto changes = Subscribed();
  const ProductVersion change = backend_->Change({2});
  ExpectNext(*changes, {change});
}

TEST_P(ProductChanges, TellsOfAChangeWithinASecond) {
  auto changes = Subscribed();
  ExpectNext(*changes, {backend_->Change({7})}, absl::Seconds(1));
}

TEST_P(ProductChanges, TellsOfThemInTheirOrderEachOnce) {
  auto changes = Subscribed();
  std::vector<ProductVersion> expected;
  for (const int64_t id : {3, 1, 2}) expected.push_back(backend_->Change({id}));
  ExpectNext(*changes, expected);
  const auto more = changes->Next(absl::Milliseconds(300));
  ASSERT_TRUE(more.ok()) << more.status();
  EXPECT_TRUE(more->empty());
}

TEST_P(ProductChanges, TellsEachServer) {
  auto first = Subscribed();
  auto second = Subscribed();
  const ProductVersion change = backend_->Change({1});
  ExpectNext(*first, {change});
  ExpectNext(*second, {change});
}

TEST_P(ProductChanges, LosesNoneOfMoreThanAThousand) {
  auto changes = Subscribed();
  std::vector<ProductVersion> expected;
  for (int64_t id = 1; id <= ProductChangesBackend::kProducts; ++id) {
    expected.push_back(backend_->Change({id}));
  }
  const auto first = changes->Next(kPatience);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_FALSE(first->empty());
  EXPECT_LE(first->size(), 1'000u);
  expected.erase(expected.begin(), expected.begin() + static_cast<int64_t>(first->size()));
  ExpectNext(*changes, expected);
}

TEST_P(ProductChanges, WaitsNoLongerThanItMay) {
  auto changes = Subscribed();
  for (const auto timeout : {absl::ZeroDuration(), absl::Milliseconds(50)}) {
    const absl::Time begin = absl::Now();
    const auto none = changes->Next(timeout);
    const absl::Duration waited = absl::Now() - begin;
    ASSERT_TRUE(none.ok()) << none.status();
    EXPECT_TRUE(none->empty());
    EXPECT_GE(waited, timeout);
    EXPECT_LT(waited, kPatience);
  }
}

INSTANTIATE_TEST_SUITE_P(Adapters, ProductChanges, testing::ValuesIn(kProductChangesBackends),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace ecom::tests
