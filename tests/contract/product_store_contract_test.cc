// What every ProductStore must do, whatever is behind it.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "product/store.h"
#include "support/mysql_backend.h"
#include "support/product_backend.h"

namespace ecom::tests {
namespace {

using product::CategoryId;
using product::ListQuery;
using product::PageStart;
using product::Product;
using product::ProductId;
using product::Sort;
using product::ViewTotal;

constexpr int64_t kMaxId = std::numeric_limits<int64_t>::max();

int64_t SortKey(const Product& product, Sort sort) {
  switch (sort) {
    case Sort::kPrice: return product.price_minor;
    case Sort::kViews: return product.view_count;
    case Sort::kNewest: break;
  }
  return absl::ToUnixMicros(product.created_at);
}

/// The slow and obvious way to a list: filter all, sort all.
std::vector<int64_t> ExpectedList(std::vector<Product> products, const ListQuery& query) {
  std::erase_if(products, [&](const Product& product) {
    return (query.category && product.category != *query.category) ||
           (query.is_active && product.is_active != *query.is_active);
  });
  const int64_t sign = query.sort == Sort::kPrice ? 1 : -1;
  const auto place = [&](int64_t key, ProductId id) { return std::tuple(sign * key, id); };
  std::sort(products.begin(), products.end(), [&](const Product& a, const Product& b) {
    return place(SortKey(a, query.sort), a.id) < place(SortKey(b, query.sort), b.id);
  });
  std::vector<int64_t> ids;
  for (const Product& product : products) {
    if (query.after && place(SortKey(product, query.sort), product.id) <=
                           place(query.after->sort_key, query.after->id)) {
      continue;
    }
    if (ids.size() < static_cast<size_t>(query.limit)) ids.push_back(product.id.value);
  }
  return ids;
}

class Store : public testing::TestWithParam<const char*> {
 protected:
  std::vector<std::optional<Product>> Find(const std::vector<ProductId>& ids) {
    auto products = store().FindProducts(ids);
    EXPECT_TRUE(products.ok()) << products.status();
    return products.ok() ? *products : std::vector<std::optional<Product>>(ids.size());
  }

  std::vector<int64_t> List(const ListQuery& query) {
    auto products = store().ListProducts(query);
    EXPECT_TRUE(products.ok()) << products.status();
    std::vector<int64_t> ids;
    if (!products.ok()) return ids;
    for (const Product& product : *products) ids.push_back(product.id.value);
    return ids;
  }

  product::ProductStore& store() { return backend_->store(); }

  const std::unique_ptr<ProductBackend> backend_ = MakeProductStoreBackend(GetParam());
};

TEST_P(Store, FindsEveryFieldAsItWasPut) {
  const Product put{.id = {kMaxId},
                    .category = {kMaxId},
                    .name = "부하테스트상품_1 <&>\"'; DROP TABLE products; --",
                    .price_minor = 999'999'999'999,
                    .stock_quantity = 0,
                    .is_active = false,
                    .view_count = 41,
                    .created_at = absl::FromUnixMicros(1766653343000001),
                    .updated_at = absl::FromUnixMicros(1766653343999999)};
  backend_->PutProducts({put});
  const auto found = Find({{kMaxId}});
  ASSERT_TRUE(found[0].has_value());
  EXPECT_EQ(found[0]->id, put.id);
  EXPECT_EQ(found[0]->category, put.category);
  EXPECT_EQ(found[0]->name, put.name);
  EXPECT_EQ(found[0]->price_minor, put.price_minor);
  EXPECT_EQ(found[0]->stock_quantity, put.stock_quantity);
  EXPECT_EQ(found[0]->is_active, put.is_active);
  EXPECT_EQ(found[0]->view_count, put.view_count);
  EXPECT_EQ(found[0]->created_at, put.created_at);
  EXPECT_EQ(found[0]->updated_at, put.updated_at);
}

TEST_P(Store, FindsInTheOrderAskedWithGapsForWhatIsNotThere) {
  backend_->PutProducts(MakeProducts(10));
  const auto found = Find({{7}, {4'242}, {1}, {0}, {-1}, {kMaxId}, {10}, {7}});
  ASSERT_EQ(found.size(), 8u);
  for (const size_t gap : {1, 3, 4, 5}) EXPECT_FALSE(found[gap].has_value()) << gap;
  EXPECT_EQ(found[0]->id, ProductId{7});
  EXPECT_EQ(found[2]->id, ProductId{1});
  EXPECT_EQ(found[6]->id, ProductId{10});
  EXPECT_EQ(found[7]->id, ProductId{7});
  EXPECT_TRUE(Find({}).empty());
}

TEST_P(Store, FindsMoreThanOneStatementTakes) {
  backend_->PutProducts(MakeProducts(2'000));
  std::vector<ProductId> ids;
  for (int64_t id = 2'100; id >= 1; --id) ids.push_back({id});
  const auto found = Find(ids);
  ASSERT_EQ(found.size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    ASSERT_EQ(found[i].has_value(), ids[i].value <= 2'000) << ids[i].value;
    if (!found[i]) continue;
    ASSERT_EQ(found[i]->id, ids[i]);
  }
}

TEST_P(Store, ListsEachFilterAndSortFromEachStart) {
  std::mt19937_64 random(7);
  std::vector<Product> products = MakeProducts(120);
  for (Product& product : products) {  // few values, so many ties
    product.price_minor = static_cast<int64_t>(random() % 5) * 100;
    product.view_count = static_cast<int64_t>(random() % 4);
    product.created_at = absl::FromUnixMicros(static_cast<int64_t>(random() % 6) - 3);
    product.is_active = random() % 2 == 0;
    product.category = {1 + static_cast<int64_t>(random() % 3)};
  }
  std::shuffle(products.begin(), products.end(), random);
  backend_->PutProducts(products);

  for (const Sort sort : {Sort::kPrice, Sort::kViews, Sort::kNewest}) {
    for (const int64_t category : {0, 1, 9}) {
      for (const int active : {0, 1, 2}) {
        ListQuery query{.sort = sort};
        if (category != 0) query.category = CategoryId{category};
        if (active != 0) query.is_active = active == 2;
        for (const int limit : {1, 10, 101, 1'000}) {
          query.limit = limit;
          query.after.reset();
          EXPECT_EQ(List(query), ExpectedList(products, query));
          for (const Product& start : products) {
            query.after = PageStart{.sort_key = SortKey(start, sort), .id = start.id};
            ASSERT_EQ(List(query), ExpectedList(products, query))
                << static_cast<int>(sort) << " " << category << " " << active << " " << limit;
          }
        }
      }
    }
  }
}

TEST_P(Store, ListsBehindAProductThatIsGoneAndBehindEitherEnd) {
  const std::vector<Product> products = MakeProducts(20);
  backend_->PutProducts(products);
  for (const Sort sort : {Sort::kPrice, Sort::kViews, Sort::kNewest}) {
    for (const int64_t key : {std::numeric_limits<int64_t>::min(), int64_t{0}, int64_t{1'055'000},
                              std::numeric_limits<int64_t>::max()}) {
      for (const int64_t id : {int64_t{-1}, int64_t{10}, kMaxId}) {
        const ListQuery query{.sort = sort, .limit = 50, .after = PageStart{key, {id}}};
        // The oracle negates keys, which the least integer does not survive.
        if (key == std::numeric_limits<int64_t>::min()) {
          EXPECT_EQ(List(query).size(), sort == Sort::kPrice ? 20u : 0u);
          continue;
        }
        EXPECT_EQ(List(query), ExpectedList(products, query));
      }
    }
  }
}

TEST_P(Store, KeepsTheHighestTotalUnderThreadsThatReadMeanwhile) {
  backend_->PutProducts(MakeProducts(10));
  std::atomic<int> errors = 0;
  std::vector<std::thread> threads;
  for (int64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int64_t i = 0; i < 50; ++i) {
        const std::vector<ViewTotal> totals = {{{1 + (i + thread) % 10}, 100 * i + thread},
                                               {{1 + i % 10}, i},
                                               {{1}, 100 * i + thread}};
        const std::vector<ProductId> ids = {{1}};
        if (!store().RaiseViews(totals).ok()) ++errors;
        if (!store().FindProducts(ids).ok()) ++errors;
        if (!store().ListProducts({.sort = Sort::kViews, .limit = 5}).ok()) ++errors;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0);
  EXPECT_EQ(Find({{1}})[0]->view_count, 100 * 49 + 3);
  for (int64_t id = 2; id <= 10; ++id) EXPECT_GE(Find({{id}})[0]->view_count, 100 * 40);
}

TEST_P(Store, ChangesWhatThePatchNamesWithAVersionAndATimeAndNothingElse) {
  backend_->PutProducts(MakeProducts(2));
  const auto changed = store().UpdateProduct({2}, {.price_minor = 4'200, .is_active = false});
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ(changed->price_minor, 4'200);
  EXPECT_FALSE(changed->is_active);
  EXPECT_EQ(changed->stock_quantity, MakeProduct(2).stock_quantity);
  EXPECT_EQ(changed->name, MakeProduct(2).name);
  EXPECT_EQ(changed->created_at, MakeProduct(2).created_at);
  EXPECT_GT(changed->updated_at, MakeProduct(2).updated_at);
  EXPECT_GT(changed->version, MakeProduct(2).version);

  const auto found = Find({{1}, {2}});
  EXPECT_EQ(found[0]->price_minor, MakeProduct(1).price_minor);
  EXPECT_EQ(found[0]->version, 0);
  EXPECT_EQ(found[1]->price_minor, 4'200);
  EXPECT_EQ(found[1]->version, changed->version);
  EXPECT_EQ(absl::ToUnixMicros(found[1]->updated_at), absl::ToUnixMicros(changed->updated_at));

  const auto again = store().UpdateProduct({2}, {.stock_quantity = 7});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_GT(again->version, changed->version);
  EXPECT_EQ(again->price_minor, 4'200);
  EXPECT_EQ(again->stock_quantity, 7);
}

TEST_P(Store, RefusesAChangeOfNothingThatIsThereOrToWhatItDoesNotHold) {
  backend_->PutProducts(MakeProducts(1));
  EXPECT_TRUE(absl::IsNotFound(store().UpdateProduct({2}, {.price_minor = 1}).status()));
  for (const int64_t price : {int64_t{-1}, product::kPriceMinorMax + 1}) {
    EXPECT_TRUE(
        absl::IsInvalidArgument(store().UpdateProduct({1}, {.price_minor = price}).status()));
  }
  EXPECT_TRUE(absl::IsInvalidArgument(store().UpdateProduct({1}, {.stock_quantity = -1}).status()));
  EXPECT_EQ(Find({{1}})[0]->price_minor, MakeProduct(1).price_minor);
  EXPECT_EQ(Find({{1}})[0]->version, 0);
  EXPECT_TRUE(store().UpdateProduct({1}, {.price_minor = product::kPriceMinorMax}).ok());
  EXPECT_EQ(Find({{1}})[0]->price_minor, product::kPriceMinorMax);
}

TEST_P(Store, CountsEachOfTheChangesThatComeTogether) {
  backend_->PutProducts(MakeProducts(1));
  std::atomic<int> errors = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int64_t i = 0; i < 10; ++i) {
        if (!store().UpdateProduct({1}, {.stock_quantity = i}).ok()) ++errors;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0);
  EXPECT_EQ(Find({{1}})[0]->version, 40);
}

TEST_P(Store, RaisesViewsAndNeverLowersThem) {
  backend_->PutProducts(MakeProducts(3));
  const auto raise = [&](std::vector<ViewTotal> totals) {
    EXPECT_EQ(store().RaiseViews(totals), absl::OkStatus());
  };
  raise({});
  raise({{{2}, 5}, {{4'242}, 9}, {{1}, 1}});
  raise({{{2}, 3}, {{1}, 1}, {{2}, 4}});
  const auto found = Find({{1}, {2}, {3}, {4'242}});
  EXPECT_EQ(found[0]->view_count, 1);
  EXPECT_EQ(found[1]->view_count, 5);
  EXPECT_EQ(found[2]->view_count, 0);
  EXPECT_FALSE(found[3].has_value());
  EXPECT_EQ(found[1]->updated_at, MakeProduct(2).updated_at) << "a view is no change";
  EXPECT_EQ(found[1]->version, 0);
  EXPECT_EQ(List({.sort = Sort::kViews, .limit = 2}), (std::vector<int64_t>{2, 1}));
}

INSTANTIATE_TEST_SUITE_P(Products, Store, testing::ValuesIn(kProductStoreBackends),
                         [](const auto& test) { return std::string(test.param); });

/// Runs a statement that answers text in column 3, as EXPLAIN QUERY PLAN does.
std::vector<std::string> PlanOf(adapters::embedded::Database& database, const std::string& sql) {
  std::vector<std::string> steps;
  const absl::Status read =
      database.Read([&](adapters::embedded::Connection& connection) -> absl::Status {
        auto explain = connection.Prepare(sql.c_str());
        if (!explain.ok()) return explain.status();
        for (;;) {
          auto more = explain->Step();
          if (!more.ok() || !*more) return more.status();
          steps.emplace_back(explain->Text(3));
        }
      });
  EXPECT_TRUE(read.ok()) << read;
  return steps;
}

TEST(EmbeddedProductStore, ListsByExactIndexRangesWithoutSorting) {
  std::vector<std::string> explains;  // outlives the database: it knows statements by address
  for (const char* sql : adapters::embedded::EmbeddedProductStore::ListStatements()) {
    explains.push_back(std::string("EXPLAIN QUERY PLAN ") + sql);
  }
  EmbeddedProductBackend backend(/*in_memory=*/true);
  ASSERT_EQ(explains.size(), 24u);
  for (const std::string& explain : explains) {
    // What the statement filters by must be what the index is entered by.
    const bool by_category = absl::StrContains(explain, "category_id = ");
    const bool by_active = absl::StrContains(explain, "is_active = ");
    int reads = 0;
    for (const std::string& step : PlanOf(backend.database(), explain)) {
      EXPECT_FALSE(absl::StrContains(step, "TEMP B-TREE")) << explain << "\n" << step;
      if (!absl::StrContains(step, "products")) continue;
      ++reads;
      EXPECT_TRUE(absl::StrContains(step, "USING INDEX products_by_")) << explain << "\n" << step;
      EXPECT_EQ(absl::StrContains(step, "category_id=?"), by_category) << explain << "\n" << step;
      EXPECT_EQ(absl::StrContains(step, "is_active=?"), by_active) << explain << "\n" << step;
    }
    EXPECT_EQ(reads, absl::StrContains(explain, "UNION ALL") ? 2 : 1) << explain;
  }
}

TEST(EmbeddedSampleLoader, InsertsWhatIsNotThereAndChangesNothingTheSecondTime) {
  EmbeddedProductBackend backend(/*in_memory=*/true);
  const auto text = [&](const std::string& sql) { return PlanOf(backend.database(), sql); };
  const std::string coupons =
      "SELECT 0, 0, 0, id || ' ' || name || ' ' || total_quantity || ' ' || available_quantity "
      "|| ' ' || starts_at_us || ' ' || ends_at_us || ' ' || incarnation FROM coupons ORDER BY id";
  const std::string products =
      "SELECT 0, 0, 0, id || ' ' || name || ' ' || price_minor || ' ' || view_count FROM products";

  coupon::Coupon named{.id = {1},
                       .name = "쿠폰",
                       .incarnation = "named",
                       .total_quantity = 5,
                       .available_quantity = 4,
                       .starts_at = absl::FromUnixSeconds(1),
                       .ends_at = absl::FromUnixSeconds(2)};
  coupon::Coupon unnamed = named;
  unnamed.id = {2};
  unnamed.incarnation = "";
  const std::vector<coupon::Coupon> first = {named, unnamed};
  ASSERT_TRUE(LoadSampleData(backend.database(), first, MakeProducts(3)).ok());
  const std::vector<std::string> coupons_before = text(coupons);
  const std::vector<std::string> products_before = text(products);
  ASSERT_EQ(coupons_before.size(), 2u);
  EXPECT_EQ(coupons_before[0], "1 쿠폰 5 4 1000000 2000000 named");
  const std::string unnamed_prefix = "2 쿠폰 5 4 1000000 2000000 ";
  ASSERT_EQ(coupons_before[1].substr(0, unnamed_prefix.size()), unnamed_prefix);
  EXPECT_EQ(coupons_before[1].size(), unnamed_prefix.size() + 32) << "a random incarnation";
  EXPECT_EQ(products_before.size(), 3u);

  named.name = unnamed.name = "changed";
  named.incarnation = unnamed.incarnation = "changed";
  named.total_quantity = 99;
  std::vector<Product> changed = MakeProducts(3);
  changed[0].price_minor = 1;
  const std::vector<coupon::Coupon> second = {named, unnamed};
  ASSERT_TRUE(LoadSampleData(backend.database(), second, changed).ok());
  EXPECT_EQ(text(coupons), coupons_before);
  EXPECT_EQ(text(products), products_before);

  ASSERT_TRUE(LoadSampleData(backend.database(), second, MakeProducts(4)).ok());
  EXPECT_EQ(text(products).size(), 4u);
}

TEST(EmbeddedSampleLoader, ChangesNothingWhenOneValueBreaksARule) {
  EmbeddedProductBackend backend(/*in_memory=*/true);
  std::vector<Product> products = MakeProducts(3);
  products[2].price_minor = -1;
  EXPECT_EQ(LoadSampleData(backend.database(), {}, products).code(),
            absl::StatusCode::kAlreadyExists);
  const std::string count = "SELECT 0, 0, 0, COUNT(*) FROM products";
  EXPECT_EQ(PlanOf(backend.database(), count), std::vector<std::string>{"0"});
}

}  // namespace
}  // namespace ecom::tests
