#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "adapters/mysql/product_store.h"
#include "product/store.h"
#include "support/mysql_server.h"

namespace ecom::tests {

/// A large shop.
inline constexpr int64_t kManyProducts = 1'000'000;

/// Its first moment.
inline absl::Time ManyProductsBegin() {
  return absl::FromCivil(absl::CivilSecond(2025, 1, 1), absl::UTCTimeZone());
}

/// A secondary index of the products: its name, and how it is declared.
struct ProductIndex {
  std::string name;
  std::string columns;
};

inline std::vector<ProductIndex> ProductIndexes(MysqlDatabase& database) {
  const std::string of_products =
      " FROM information_schema.statistics WHERE table_schema = DATABASE() AND "
      "table_name = 'products' AND index_name <> 'PRIMARY' GROUP BY index_name ORDER BY index_name";
  const std::vector<std::string> names = database.Texts("SELECT index_name" + of_products);
  const std::vector<std::string> columns = database.Texts(
      "SELECT GROUP_CONCAT(column_name, IF(collation = 'D', ' DESC', '') ORDER BY seq_in_index "
      "SEPARATOR ', ')" +
      of_products);
  std::vector<ProductIndex> indexes;
  for (size_t i = 0; i < names.size(); ++i) indexes.push_back({names[i], columns[i]});
  return indexes;
}

/// Runs a statement for which no caller of ours would wait. A program that does so is for nothing
/// else: from the first one on its server is set up for large tables.
inline void RunForLong(MysqlDatabase& database, const std::string& sql) {
  base::CallStats calls;
  auto connection = adapters::mysql::Connection::Open(database.server().endpoint("ecommerce"),
                                                      {.read = absl::Minutes(10)}, calls);
  Require(connection.status());
  Require((*connection)->Execute("SET GLOBAL innodb_buffer_pool_size = 1073741824"));
  Require((*connection)->Execute("SET GLOBAL innodb_log_file_size = 268435456"));
  Require((*connection)->Execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2"));
  Require((*connection)->Execute(sql));
}

/// Fills a fresh database with kManyProducts: 50 categories, one in ten not on sale, prices and
/// times of creation as good as at random with a few ties each, and views in proportion to
/// 1 / rank, so that most products are tied at one or two. The indexes are built over the finished
/// table, all at once; this takes some 30 s on two cores.
inline void LoadManyProducts(MysqlDatabase& database) {
  const std::vector<ProductIndex> indexes = ProductIndexes(database);
  const auto each = [&](const char* what, auto declaration) {
    return absl::StrCat("ALTER TABLE products ",
                        absl::StrJoin(indexes, ", ", [&](std::string* out, const auto& index) {
                          absl::StrAppend(out, what, declaration(index));
                        }));
  };
  RunForLong(database, each("DROP INDEX ", [](const ProductIndex& index) { return index.name; }));
  RunForLong(database,
             absl::StrCat(
                 "INSERT INTO products (id, category_id, name, price, stock_quantity, is_active, "
                 "view_count, created_at, updated_at) "
                 "SELECT seq, 1 + CRC32(CONCAT('c', seq)) % 50, CONCAT('product ', seq), "
                 "10 * (CRC32(CONCAT('p', seq)) % 10000), 100, CRC32(CONCAT('a', seq)) % 10 <> 0, ",
                 kManyProducts, " DIV (1 + seq * 611953 % ", kManyProducts,
                 "), '2025-01-01' + INTERVAL 5 * (CRC32(CONCAT('t', seq)) % 100000) MINUTE, "
                 "'2025-12-31' FROM seq_1_to_",
                 kManyProducts));
  RunForLong(database, each("ADD INDEX ", [](const ProductIndex& index) {
               return absl::StrCat(index.name, " (", index.columns, ")");
             }));
  RunForLong(database, "ANALYZE TABLE products");
}

/// A place in the middle of each list of LoadManyProducts.
inline product::PageStart MiddleOf(product::Sort sort) {
  const product::ProductId id{kManyProducts / 2};
  switch (sort) {
    case product::Sort::kPrice: return {.sort_key = 50'000 * 100, .id = id};
    case product::Sort::kViews: return {.sort_key = 2, .id = id};
    case product::Sort::kNewest: break;
  }
  return {.sort_key = absl::ToUnixMicros(ManyProductsBegin() + absl::Minutes(5 * 50'000)),
          .id = id};
}

/// What ListProducts runs for `query`, with the values in it.
inline std::string ListSql(const product::ListQuery& query) {
  std::vector<std::string> values;
  const auto add_filters = [&] {
    if (query.category) values.push_back(absl::StrCat(query.category->value));
    if (query.is_active) values.push_back(*query.is_active ? "1" : "0");
  };
  const auto add_key = [&] {
    const int64_t key = query.after->sort_key;
    switch (query.sort) {
      case product::Sort::kPrice:
        return values.push_back(
            absl::StrCat(key / 100, ".", absl::Dec(key % 100, absl::kZeroPad2)));
      case product::Sort::kViews: return values.push_back(absl::StrCat(key));
      case product::Sort::kNewest: break;
    }
    values.push_back(
        absl::FormatTime("'%Y-%m-%d %H:%M:%E6S'", absl::FromUnixMicros(key), absl::UTCTimeZone()));
  };
  const std::string limit = absl::StrCat(query.limit);
  add_filters();
  if (query.after) {
    add_key();
    values.push_back(absl::StrCat(query.after->id.value));
    values.push_back(limit);
    add_filters();
    add_key();
    values.push_back(limit);
  }
  values.push_back(limit);

  std::string sql;
  size_t used = 0;
  for (const char c : adapters::mysql::MysqlProductStore::ListStatement(query)) {
    if (c == '?') {
      sql += values.at(used++);
    } else {
      sql += c;
    }
  }
  return sql;
}

}  // namespace ecom::tests
