// What a page of a list costs on 1,000,000 products: an index and what the page holds, with each
// filter and each sort.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "support/many_products.h"

namespace ecom::tests {
namespace {

using adapters::mysql::ConnectionPool;
using adapters::mysql::MysqlProductStore;
using product::CategoryId;
using product::ListQuery;
using product::Sort;

/// What the database did for one statement.
struct Work {
  int64_t rows_of_index = 0;
  int64_t rows_of_temporary_table = 0;
  int64_t rows_sorted = 0;
};

class ManyProducts : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    database_ = std::make_unique<MysqlDatabase>();
    LoadManyProducts(*database_);
  }
  static void TearDownTestSuite() { database_.reset(); }

  ManyProducts()
      : pool_({.endpoint = MysqlServer::Get().endpoint("ecommerce"), .connections_max = 1}) {}

  /// Each filter and each sort, from the beginning and behind a product in the middle.
  static std::vector<ListQuery> AllQueries() {
    std::vector<ListQuery> queries;
    for (const Sort sort : {Sort::kPrice, Sort::kViews, Sort::kNewest}) {
      for (const std::optional<CategoryId> category : {std::optional<CategoryId>(), {{7}}}) {
        for (const std::optional<bool> is_active : {std::optional<bool>(), {true}, {false}}) {
          queries.push_back({.category = category, .is_active = is_active, .sort = sort});
          queries.push_back(queries.back());
          queries.back().after = MiddleOf(sort);
        }
      }
    }
    return queries;
  }

  /// Runs a list as the server does, and asks the same session what that took.
  Work WorkOf(const ListQuery& query) {
    EXPECT_EQ(Execute("FLUSH STATUS"), absl::OkStatus());
    const auto page = store_.ListProducts(query);
    EXPECT_TRUE(page.ok() && page->size() == static_cast<size_t>(query.limit)) << page.status();
    Work work;
    for (const auto& [name, count] : SessionStatus()) {
      if (name == "Handler_read_rnd" || name == "Handler_read_rnd_next") {
        work.rows_of_temporary_table += count;
      } else if (absl::StartsWith(name, "Handler_read_")) {
        work.rows_of_index += count;
      } else if (name == "Handler_icp_attempts") {
        work.rows_of_index += count;  // rows of the index that a condition may have refused
      } else if (name == "Handler_icp_match") {
        work.rows_of_index -= count;
      } else if (name == "Sort_rows") {
        work.rows_sorted += count;
      }
    }
    return work;
  }

  /// The plan: of each table its index and what else is to be said of it.
  struct Step {
    std::string table;
    std::string index;
    std::string extra;
  };
  std::vector<Step> Explain(const ListQuery& query) {
    std::vector<Step> steps;
    auto connection = pool_.Acquire();
    auto explain = (*connection)->Prepare("EXPLAIN " + ListSql(query));
    EXPECT_TRUE(explain.ok()) << explain.status();
    while (*explain->Step()) {
      steps.push_back({.table = std::string(explain->Text(2)),
                       .index = std::string(explain->Text(5)),
                       .extra = std::string(explain->Text(9))});
    }
    return steps;
  }

 private:
  absl::Status Execute(const std::string& sql) {
    auto connection = pool_.Acquire();
    return connection.ok() ? (*connection)->Execute(sql) : connection.status();
  }

  std::vector<std::pair<std::string, int64_t>> SessionStatus() {
    std::vector<std::pair<std::string, int64_t>> counts;
    auto connection = pool_.Acquire();
    auto show = (*connection)
                    ->Prepare(
                        "SHOW SESSION STATUS WHERE Variable_name LIKE 'Handler%' OR "
                        "Variable_name = 'Sort_rows'");
    EXPECT_TRUE(show.ok()) << show.status();
    while (*show->Step()) {
      counts.emplace_back(show->Text(0), std::atoll(std::string(show->Text(1)).c_str()));
    }
    return counts;
  }

  static inline std::unique_ptr<MysqlDatabase> database_;
  ConnectionPool pool_;
  const base::SystemClock clock_;
  MysqlProductStore store_{pool_, clock_};
};

TEST_F(ManyProducts, AreListedByAnIndexAndAtMostTwoPagesAreSorted) {
  for (const ListQuery& query : AllQueries()) {
    const std::string sql = ListSql(query);
    int tables = 0;
    for (const Step& step : Explain(query)) {
      // The union of the two ranges behind a product, each of at most a page.
      if (step.table == "<union1,2>") continue;
      ++tables;
      EXPECT_EQ(step.table, "products") << sql;
      EXPECT_TRUE(absl::StartsWith(step.index, "products_by_")) << step.index << ": " << sql;
      EXPECT_FALSE(absl::StrContains(step.extra, "filesort")) << step.extra << ": " << sql;
      EXPECT_FALSE(absl::StrContains(step.extra, "temporary")) << step.extra << ": " << sql;
    }
    EXPECT_EQ(tables, query.after ? 2 : 1) << sql;
  }
}

TEST_F(ManyProducts, CostAPageWhatItHoldsAndOneMoreBehindAProduct) {
  for (const ListQuery& query : AllQueries()) {
    const std::string sql = ListSql(query);
    const int64_t pages = query.after ? 2 : 1;
    const int64_t rows_max = pages * query.limit;
    const Work work = WorkOf(query);
    // Each range is entered once, and its end is read, too.
    EXPECT_LE(work.rows_of_index, rows_max + 2 * pages) << sql;
    EXPECT_GE(work.rows_of_index, query.limit) << "or nothing was counted";
    // The union is written down, read, sorted, and read in order.
    EXPECT_LE(work.rows_of_temporary_table, query.after ? 2 * rows_max + 1 : 0) << sql;
    EXPECT_LE(work.rows_sorted, query.after ? rows_max : 0) << sql;
  }
}

}  // namespace
}  // namespace ecom::tests
