#include "adapters/mysql/product_store.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "adapters/mysql/placeholders.h"
#include "base/status_macros.h"

namespace ecom::adapters::mysql {
namespace {

using product::ListQuery;
using product::Product;
using product::ProductId;
using product::ProductPatch;
using product::Sort;
using product::ViewTotal;

#define ECOM_SELECT_PRODUCT                                                    \
  "SELECT id, category_id, name, CAST(price * 100 AS SIGNED) AS price_minor, " \
  "stock_quantity, is_active, view_count, created_at, updated_at, version FROM products "

/// Products whose rows are locked at once, which costs as many round trips: others wait for them.
constexpr size_t kRaisedInTransaction = 100;

Product ReadProduct(const Statement& row) {
  return {.id = {row.Int(0)},
          .category = {row.Int(1)},
          .name = std::string(row.Text(2)),
          .price_minor = row.Int(3),
          .stock_quantity = row.Int(4),
          .is_active = row.Int(5) != 0,
          .view_count = row.Int(6),
          .created_at = row.Time(7),
          .updated_at = row.Time(8),
          .version = row.Int(9)};
}

void BindFilters(Statement& select, const ListQuery& query) {
  if (query.category) select.Bind(query.category->value);
  if (query.is_active) select.Bind(*query.is_active);
}

void BindKey(Statement& select, Sort sort, int64_t key) {
  switch (sort) {
    case Sort::kPrice: select.Bind(Hundredths{key}); return;
    case Sort::kViews: select.Bind(key); return;
    case Sort::kNewest: select.Bind(absl::FromUnixMicros(key)); return;
  }
}

}  // namespace

absl::StatusOr<std::vector<std::optional<Product>>> MysqlProductStore::FindProducts(
    std::span<const ProductId> ids) {
  std::vector<std::optional<Product>> products;
  if (ids.empty()) return products;
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  absl::flat_hash_map<ProductId, Product> found;
  for (size_t begin = 0; begin < ids.size(); begin += kValuesInStatement) {
    const std::span chunk = ids.subspan(begin, std::min(kValuesInStatement, ids.size() - begin));
    const size_t size = PaddedSize(chunk.size());
    ASSIGN_OR_RETURN(Statement select,
                     connection->Prepare(absl::StrCat(ECOM_SELECT_PRODUCT "WHERE id IN (",
                                                      Repeated("?", size), ")")));
    for (size_t i = 0; i < size; ++i) select.Bind(chunk[std::min(i, chunk.size() - 1)].value);
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, select.Step());
      if (!more) break;
      Product product = ReadProduct(select);
      found.emplace(product.id, std::move(product));
    }
  }
  products.reserve(ids.size());
  for (const ProductId id : ids) {
    const auto position = found.find(id);
    products.push_back(position != found.end() ? std::optional(position->second) : std::nullopt);
  }
  return products;
}

// A page behind a product is the rest of those with its sort key, then those further on: each an
// exact range of an index, of which at most a page is read, and at most two pages are sorted. Each
// kind of list names its index: left to itself, MariaDB sorts the whole table for some.
std::string MysqlProductStore::ListStatement(const ListQuery& query) {
  static constexpr std::array<const char*, 3> kKeys = {"price", "view_count", "created_at"};
  static constexpr std::array<const char*, 3> kResultKeys = {"price_minor", "view_count",
                                                             "created_at"};
  static constexpr std::array<const char*, 3> kIndexes = {"price", "views", "newest"};
  const std::string key = kKeys[static_cast<size_t>(query.sort)];
  const bool ascending = query.sort == Sort::kPrice;
  const std::string select = absl::StrCat(
      ECOM_SELECT_PRODUCT "FORCE INDEX (products_by_", query.category ? "category_" : "",
      query.is_active ? "active_" : "", kIndexes[static_cast<size_t>(query.sort)], ") WHERE ",
      query.category ? "category_id = ? AND " : "", query.is_active ? "is_active = ? AND " : "");
  const auto order = [&](const std::string& by) {
    return absl::StrCat(" ORDER BY ", by, ascending ? "" : " DESC", ", id LIMIT ?");
  };
  if (!query.after) return absl::StrCat(select, "TRUE", order(key));
  return absl::StrCat("(", select, key, " = ? AND id > ? ORDER BY id LIMIT ?) UNION ALL (", select,
                      key, ascending ? " > ?" : " < ?", order(key), ")",
                      order(kResultKeys[static_cast<size_t>(query.sort)]));
}

absl::StatusOr<std::vector<Product>> MysqlProductStore::ListProducts(const ListQuery& query) {
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  ASSIGN_OR_RETURN(Statement select, connection->Prepare(ListStatement(query)));
  BindFilters(select, query);
  if (query.after) {
    BindKey(select, query.sort, query.after->sort_key);
    select.Bind(query.after->id.value, query.limit);
    BindFilters(select, query);
    BindKey(select, query.sort, query.after->sort_key);
    select.Bind(query.limit);
  }
  select.Bind(query.limit);
  std::vector<Product> products;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, select.Step());
    if (!more) return products;
    products.push_back(ReadProduct(select));
  }
}

absl::StatusOr<Product> MysqlProductStore::UpdateProduct(ProductId id, const ProductPatch& patch) {
  RETURN_IF_ERROR(product::Check(patch));
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*connection));
  ASSIGN_OR_RETURN(Statement select,
                   connection->Prepare(ECOM_SELECT_PRODUCT "WHERE id = ? FOR UPDATE"));
  ASSIGN_OR_RETURN(const bool found, select.Bind(id.value).Step());
  if (!found) return absl::NotFoundError(absl::StrCat("no product ", id.value));
  Product product = ReadProduct(select);
  product::Apply(patch, product);
  product.updated_at = std::max(clock_.Now(), product.updated_at);
  ++product.version;
  ASSIGN_OR_RETURN(Statement update,
                   connection->Prepare("UPDATE products SET price = ?, stock_quantity = ?, "
                                       "is_active = ?, updated_at = ?, version = ? WHERE id = ?"));
  update.Bind(Hundredths{product.price_minor}, product.stock_quantity, product.is_active,
              product.updated_at, product.version, id.value);
  RETURN_IF_ERROR(update.Run().status());
  RETURN_IF_ERROR(transaction.Commit());
  return product;
}

absl::Status MysqlProductStore::RaiseViews(std::span<const ViewTotal> totals) {
  if (totals.empty()) return absl::OkStatus();
  absl::btree_map<ProductId, int64_t> views;  // in the order in which rows are locked
  for (const ViewTotal& total : totals) {
    int64_t& raised = views[total.id];
    raised = std::max(raised, total.views);
  }
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  for (auto next = views.begin(); next != views.end();) {
    ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*connection));
    ASSIGN_OR_RETURN(Statement update,
                     connection->Prepare("UPDATE products SET view_count = GREATEST(view_count, ?) "
                                         "WHERE id = ?"));
    for (size_t i = 0; i < kRaisedInTransaction && next != views.end(); ++i, ++next) {
      update.Reset();
      RETURN_IF_ERROR(update.Bind(next->second, next->first.value).Run().status());
    }
    RETURN_IF_ERROR(transaction.Commit());
  }
  return absl::OkStatus();
}

}  // namespace ecom::adapters::mysql
