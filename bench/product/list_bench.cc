// What the indexes of the lists are for: what MariaDB reads for each list of 1,000,000 products, by
// ANALYZE, with the three indexes that the contract names, and with all of ours. Prints a table.
#include <mysql.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"
#include "support/many_products.h"

namespace ecom::bench {
namespace {

using product::CategoryId;
using product::ListQuery;
using product::Sort;
using tests::MysqlDatabase;
using tests::ProductIndex;
using tests::Require;

constexpr int kRounds = 5;
constexpr std::array<std::string_view, 3> kSorts = {"price", "views", "newest"};
constexpr std::array<std::string_view, 3> kContractIndexes = {
    "is_active, price", "view_count DESC, id", "category_id, is_active, created_at DESC"};

struct Cost {
  int64_t rows = 0;
  double ms = 0;  ///< the median
};

/// The milliseconds of all parts of a plan as ANALYZE has measured them.
double MillisecondsOf(const nlohmann::json& part) {
  double sum = 0;
  for (const auto& [key, value] : part.items()) {
    if (key == "query_optimization") continue;  // that is the same with any index
    if (key == "r_total_time_ms") return value.get<double>();
    if (value.is_structured()) sum += MillisecondsOf(value);
  }
  return sum;
}

/// A session by the driver itself: a plan is longer than any text that the server's own reads.
class Session {
 public:
  explicit Session(const std::string& socket) : mysql_(mysql_init(nullptr), mysql_close) {
    if (!mysql_real_connect(mysql_.get(), nullptr, "root", nullptr, "ecommerce", 0, socket.c_str(),
                            0)) {
      Fail("connecting");
    }
  }

  Cost Measure(const std::string& sql) {
    std::vector<double> times;
    Cost cost;
    for (int round = 0; round < kRounds; ++round) {
      Query("FLUSH STATUS");
      const std::string plan = Query("ANALYZE FORMAT=JSON " + sql).at(0).at(0);
      times.push_back(MillisecondsOf(nlohmann::json::parse(plan)));
      cost.rows = RowsRead();
    }
    std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
    cost.ms = times[kRounds / 2];
    return cost;
  }

 private:
  using Row = std::vector<std::string>;

  std::vector<Row> Query(const std::string& sql) {
    if (mysql_query(mysql_.get(), sql.c_str()) != 0) Fail(sql);
    const std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)> result(
        mysql_store_result(mysql_.get()), mysql_free_result);
    std::vector<Row> rows;
    if (result == nullptr) return rows;
    while (const MYSQL_ROW row = mysql_fetch_row(result.get())) {
      rows.emplace_back(row, row + mysql_num_fields(result.get()));
    }
    return rows;
  }

  /// Rows of tables, sorted ones that are read again among them, and those of an index that its
  /// condition refused.
  int64_t RowsRead() {
    int64_t rows = 0;
    for (const Row& row : Query("SHOW SESSION STATUS LIKE 'Handler%'")) {
      const std::string& name = row[0];
      const int64_t count = std::stoll(row[1]);
      if (name.starts_with("Handler_read_") || name == "Handler_icp_attempts") rows += count;
      if (name == "Handler_icp_match") rows -= count;
    }
    return rows;
  }

  void Fail(const std::string& what) {
    Require(absl::InternalError(absl::StrCat(what, ": ", mysql_error(mysql_.get()))));
  }

  std::unique_ptr<MYSQL, decltype(&mysql_close)> mysql_;
};

std::vector<ListQuery> AllQueries() {
  std::vector<ListQuery> queries;
  for (const std::optional<CategoryId> category : {std::optional<CategoryId>(), {{7}}}) {
    for (const std::optional<bool> is_active : {std::optional<bool>(), {true}}) {
      for (const Sort sort : {Sort::kPrice, Sort::kViews, Sort::kNewest}) {
        queries.push_back({.category = category, .is_active = is_active, .sort = sort});
        queries.push_back(queries.back());
        queries.back().after = tests::MiddleOf(sort);
      }
    }
  }
  return queries;
}

/// The same list for the database to find an index for.
std::string WithoutForcedIndex(std::string sql) {
  static constexpr std::string_view kForce = "FORCE INDEX (";
  for (size_t begin = sql.find(kForce); begin != sql.npos; begin = sql.find(kForce)) {
    sql.erase(begin, sql.find(')', begin) + 1 - begin);
  }
  return sql;
}

void DropAllButTheContracts(MysqlDatabase& database) {
  std::vector<std::string> drops;
  for (const ProductIndex& index : tests::ProductIndexes(database)) {
    if (std::find(kContractIndexes.begin(), kContractIndexes.end(), index.columns) ==
        kContractIndexes.end()) {
      drops.push_back("DROP INDEX " + index.name);
    }
  }
  tests::RunForLong(database, "ALTER TABLE products " + absl::StrJoin(drops, ", "));
  tests::RunForLong(database, "ANALYZE TABLE products");
  if (tests::ProductIndexes(database).size() != kContractIndexes.size()) {
    Require(absl::InternalError("the schema has not the contract's indexes"));
  }
}

void Run() {
  MysqlDatabase database;
  tests::LoadManyProducts(database);
  Session session(database.server().endpoint("").socket);
  const std::vector<ListQuery> queries = AllQueries();
  const auto measure = [&](bool forced) {
    std::vector<Cost> costs;
    for (const ListQuery& query : queries) {
      const std::string sql = tests::ListSql(query);
      costs.push_back(session.Measure(forced ? sql : WithoutForcedIndex(sql)));
    }
    return costs;
  };
  const std::vector<Cost> ours = measure(/*forced=*/true);
  const std::vector<Cost> left_to_the_optimizer = measure(/*forced=*/false);
  DropAllButTheContracts(database);
  const std::vector<Cost> contract = measure(/*forced=*/false);

  absl::PrintF("%d products, pages of %d; rows read, and the median of %d times\n\n",
               tests::kManyProducts, ListQuery().limit, kRounds);
  absl::PrintF(
      "| filter | order | page | 3 indexes: rows | ms | 12, free choice: rows | ms "
      "| 12, named: rows | ms |\n"
      "|---|---|---|--:|--:|--:|--:|--:|--:|\n");
  for (size_t i = 0; i < queries.size(); ++i) {
    const ListQuery& query = queries[i];
    const char* filter = query.category ? (query.is_active ? "category, active" : "category")
                                        : (query.is_active ? "active" : "none");
    absl::PrintF("| %s | %s | %s | %d | %.2f | %d | %.2f | %d | %.2f |\n", filter,
                 kSorts[static_cast<size_t>(query.sort)], query.after ? "middle" : "first",
                 contract[i].rows, contract[i].ms, left_to_the_optimizer[i].rows,
                 left_to_the_optimizer[i].ms, ours[i].rows, ours[i].ms);
  }
}

}  // namespace
}  // namespace ecom::bench

int main() {
  ecom::bench::Run();
  return 0;
}
