// What every ProductCache must do, whatever is behind it.
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "product/cache.h"
#include "support/product_backend.h"
#include "support/product_cache_backend.h"

namespace ecom::tests {
namespace {

using product::Product;
using product::ProductId;

void ExpectSame(const Product& actual, const Product& expected) {
  EXPECT_EQ(actual.id, expected.id);
  EXPECT_EQ(actual.category, expected.category);
  EXPECT_EQ(actual.name, expected.name);
  EXPECT_EQ(actual.price_minor, expected.price_minor);
  EXPECT_EQ(actual.stock_quantity, expected.stock_quantity);
  EXPECT_EQ(actual.is_active, expected.is_active);
  EXPECT_EQ(actual.view_count, expected.view_count);
  EXPECT_EQ(actual.created_at, expected.created_at);
  EXPECT_EQ(actual.updated_at, expected.updated_at);
  EXPECT_EQ(actual.version, expected.version);
}

class ProductCache : public testing::TestWithParam<const char*> {
 protected:
  static Product Version(int64_t version, int64_t price_minor = 0) {
    Product product = MakeProduct(1);
    product.version = version;
    product.price_minor = price_minor;
    return product;
  }

  void Put(const std::vector<Product>& products) {
    const absl::Status put = cache_->Put(products);
    ASSERT_TRUE(put.ok()) << put;
  }

  void Drop(int64_t version) {
    const absl::Status dropped = cache_->Drop({.id = {1}, .version = version});
    ASSERT_TRUE(dropped.ok()) << dropped;
  }

  std::vector<std::optional<Product>> Find(const std::vector<ProductId>& ids) {
    auto found = cache_->Find(ids);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *std::move(found) : std::vector<std::optional<Product>>(ids.size());
  }

  /// What it has of product 1; -1: nothing.
  int64_t VersionFound() {
    const auto found = Find({{1}})[0];
    return found ? found->version : -1;
  }

  std::unique_ptr<product::ProductCache> cache_ = MakeProductCache(GetParam());
};

TEST_P(ProductCache, FindsInTheOrderAskedForAndLeavesOutWhatItDoesNotHave) {
  Put({MakeProduct(1), MakeProduct(2), MakeProduct(3)});
  const auto found = Find({{3}, {99}, {1}, {3}});
  ASSERT_EQ(found.size(), 4u);
  ASSERT_TRUE(found[0] && found[2] && found[3]);
  ExpectSame(*found[0], MakeProduct(3));
  EXPECT_FALSE(found[1]);
  ExpectSame(*found[2], MakeProduct(1));
  ExpectSame(*found[3], MakeProduct(3));
}

TEST_P(ProductCache, HasNothingToDoForNobody) {
  EXPECT_TRUE(Find({}).empty());
  Put({});
}

TEST_P(ProductCache, KeepsTheSmallestValues) {
  const Product smallest = {.id = {1},
                            .created_at = absl::FromUnixMicros(-62135596800'000'000),
                            .updated_at = absl::UnixEpoch()};
  Put({smallest});
  const auto found = Find({{1}});
  ASSERT_TRUE(found[0]);
  ExpectSame(*found[0], smallest);
}

TEST_P(ProductCache, KeepsTheLargestValues) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  std::string name;
  for (int i = 0; i < 255; ++i) name += "\U0001F381";  // four bytes: all that a column holds
  const Product largest = {.id = {kMax},
                           .category = {kMax},
                           .name = name,
                           .price_minor = product::kPriceMinorMax,
                           .stock_quantity = kMax,
                           .is_active = true,
                           .view_count = kMax,
                           .created_at = absl::FromUnixMicros(253402300799'999'999),
                           .updated_at = absl::FromUnixMicros(253402300799'999'999),
                           .version = (int64_t{1} << 53) - 1};
  Put({largest});
  const auto found = Find({{kMax}});
  ASSERT_TRUE(found[0]);
  ExpectSame(*found[0], largest);
  ASSERT_TRUE(cache_->Drop({.id = {kMax}, .version = largest.version}).ok());
  EXPECT_TRUE(Find({{kMax}})[0]) << "the version that was dropped to is no older one";
}

TEST_P(ProductCache, KeepsNamesByteForByte) {
  for (const std::string& name : {std::string("상품 ‘한정’ 🎁 e\u0301"), std::string(),
                                  std::string("a:b\r\n\0c", 7), std::string("\xff\xfe")}) {
    Product product = MakeProduct(1);
    product.name = name;
    Put({product});
    const auto found = Find({{1}});
    ASSERT_TRUE(found[0]);
    EXPECT_EQ(found[0]->name, name);
  }
}

TEST_P(ProductCache, TakesAThousandProductsAtOnce) {
  const std::vector<Product> products = MakeProducts(1'000);
  Put(products);
  std::vector<ProductId> ids;
  for (const Product& product : products) ids.push_back(product.id);
  const auto found = Find(ids);
  for (size_t i = 0; i < ids.size(); ++i) {
    ASSERT_TRUE(found[i]) << ids[i].value;
    ExpectSame(*found[i], products[i]);
  }
}

TEST_P(ProductCache, NeverTakesAnOlderVersionForANewerOne) {
  Put({Version(10)});
  Put({Version(9)});
  EXPECT_EQ(VersionFound(), 10) << "as numbers, not as text";
  Put({Version(11)});
  EXPECT_EQ(VersionFound(), 11);
}

TEST_P(ProductCache, PassesOverAnOlderOneAmongOthers) {
  Put({Version(10)});
  Product other = MakeProduct(2);
  Put({Version(9), other, Version(8)});
  EXPECT_EQ(VersionFound(), 10);
  EXPECT_TRUE(Find({{2}})[0]);
}

TEST_P(ProductCache, TakesTheSameVersionAgain) {
  Put({Version(5, /*price_minor=*/100)});
  Put({Version(5, /*price_minor=*/200)});
  const auto found = Find({{1}});
  ASSERT_TRUE(found[0]);
  EXPECT_EQ(found[0]->price_minor, 200) << "as a person may have changed it by SQL";
}

TEST_P(ProductCache, DropsOlderVersionsAndKeepsThemOut) {
  Put({Version(4)});
  Drop(5);
  EXPECT_EQ(VersionFound(), -1);
  Put({Version(4)});  // whoever read it before the change
  EXPECT_EQ(VersionFound(), -1);
  Put({Version(5)});
  EXPECT_EQ(VersionFound(), 5);
}

TEST_P(ProductCache, KeepsOlderVersionsOutThatItNeverHad) {
  Drop(5);
  Put({Version(4)});
  EXPECT_EQ(VersionFound(), -1);
}

TEST_P(ProductCache, DropsNothingThatIsNewEnough) {
  Put({Version(5)});
  Drop(5);
  EXPECT_EQ(VersionFound(), 5);
  Drop(4);
  EXPECT_EQ(VersionFound(), 5);
}

TEST_P(ProductCache, DropsTheSameAgainAndAnOlderOneAfterwards) {
  Drop(5);
  Drop(5);
  Drop(3);
  Put({Version(4)});
  EXPECT_EQ(VersionFound(), -1);
}

TEST_P(ProductCache, ForgetsWithoutKeepingAnythingOut) {
  Put({Version(5)});
  const std::vector<ProductId> ids = {{1}, {99}};
  EXPECT_EQ(cache_->Forget(ids), absl::OkStatus());
  EXPECT_EQ(cache_->Forget({}), absl::OkStatus());
  EXPECT_EQ(VersionFound(), -1);
  Put({Version(0)});  // of a product that somebody has made again
  EXPECT_EQ(VersionFound(), 0);
}

TEST_P(ProductCache, EndsAtTheNewestVersionWhateverTheOrder) {
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 4; ++writer) {
    writers.emplace_back([&, writer] {
      for (int64_t i = 0; i < 50; ++i) {
        const int64_t version = (i * 37 + writer * 11) % 100 + 1;
        if (version % 3 == 0) {
          EXPECT_TRUE(cache_->Drop({.id = {1}, .version = version}).ok());
        } else {
          const Product product = Version(version);
          EXPECT_TRUE(cache_->Put({&product, 1}).ok());
        }
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  Put({Version(100)});
  Put({Version(99)});
  EXPECT_EQ(VersionFound(), 100);
}

INSTANTIATE_TEST_SUITE_P(Adapters, ProductCache, testing::ValuesIn(kProductCaches),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace ecom::tests
