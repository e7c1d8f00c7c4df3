#include "adapters/embedded/product_store.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "adapters/embedded/view_totals.h"
#include "base/status_macros.h"

namespace ecom::adapters::embedded {
namespace {

using product::ListQuery;
using product::Product;
using product::ProductId;
using product::ProductPatch;
using product::Sort;
using product::ViewTotal;

#define ECOM_PRODUCT_COLUMNS                                                    \
  "id, category_id, name, price_minor, stock_quantity, is_active, view_count, " \
  "created_at_us, updated_at_us, version"

constexpr size_t kIdsInSelect = 512;  // some 10 KB of JSON

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

/// Fills in, at the place of its id, each product that there is.
absl::Status FindInto(Connection& connection, std::span<const ProductId> ids,
                      std::span<std::optional<Product>> products) {
  ASSIGN_OR_RETURN(Statement select,
                   connection.Prepare("SELECT " ECOM_PRODUCT_COLUMNS
                                      ", place FROM (SELECT key AS place, value AS wanted "
                                      "FROM json_each(?)) CROSS JOIN products ON id = wanted"));
  const std::string wanted = absl::StrCat(
      "[",
      absl::StrJoin(ids.begin(), ids.end(), ",",
                    [](std::string* out, ProductId id) { absl::StrAppend(out, id.value); }),
      "]");
  select.Bind(wanted);
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, select.Step());
    if (!more) return absl::OkStatus();
    products[static_cast<size_t>(select.Int(10))] = ReadProduct(select);
  }
}

/// The statement of one kind of list. Parameters: ?1 category, ?2 active, ?3 limit, ?4 and ?5 the
/// sort key and id behind which the page begins. A page behind a product is the rest of those
/// with its sort key, then those further on: each an exact range of an index, which SQLite
/// merges without sorting.
std::string ListSql(bool by_category, bool by_active, Sort sort, bool after) {
  static constexpr std::array<const char*, 3> kKeys = {"price_minor", "view_count",
                                                       "created_at_us"};
  const std::string key = kKeys[static_cast<size_t>(sort)];
  const bool ascending = sort == Sort::kPrice;
  const std::string select = absl::StrCat("SELECT " ECOM_PRODUCT_COLUMNS " FROM products WHERE ",
                                          by_category ? "category_id = ?1 AND " : "",
                                          by_active ? "is_active = ?2 AND " : "");
  const std::string order =
      absl::StrCat(" ORDER BY ", key, ascending ? "" : " DESC", ", id LIMIT ?3");
  if (!after) return absl::StrCat(select, "TRUE", order);
  return absl::StrCat(select, key, " = ?4 AND id > ?5 UNION ALL ", select, key,
                      ascending ? " > ?4" : " < ?4", order);
}

/// The statements of all kinds, by ListKind. Made once, because Prepare knows them by address.
const std::array<std::string, 24>& ListSqls() {
  static const auto& sqls = *[] {
    auto* made = new std::array<std::string, 24>;
    for (size_t kind = 0; kind < made->size(); ++kind) {
      (*made)[kind] = ListSql(kind & 1, kind & 2, static_cast<Sort>(kind >> 3), /*after=*/kind & 4);
    }
    return made;
  }();
  return sqls;
}

size_t ListKind(const ListQuery& query) {
  return size_t{query.category.has_value()} | size_t{query.is_active.has_value()} << 1 |
         size_t{query.after.has_value()} << 2 | static_cast<size_t>(query.sort) << 3;
}

}  // namespace

absl::StatusOr<std::vector<std::optional<Product>>> EmbeddedProductStore::FindProducts(
    std::span<const ProductId> ids) {
  std::vector<std::optional<Product>> products(ids.size());
  RETURN_IF_ERROR(database_.Read([&](Connection& connection) -> absl::Status {
    for (size_t begin = 0; begin < ids.size(); begin += kIdsInSelect) {
      const size_t count = std::min(kIdsInSelect, ids.size() - begin);
      RETURN_IF_ERROR(FindInto(connection, ids.subspan(begin, count),
                               std::span(products).subspan(begin, count)));
    }
    return absl::OkStatus();
  }));
  return products;
}

absl::StatusOr<std::vector<Product>> EmbeddedProductStore::ListProducts(const ListQuery& query) {
  std::vector<Product> products;
  RETURN_IF_ERROR(database_.Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement select, connection.Prepare(ListSqls()[ListKind(query)].c_str()));
    const int64_t category = query.category.value_or(product::CategoryId{}).value;
    const bool is_active = query.is_active.value_or(false);
    if (query.after) {
      select.Bind(category, is_active, query.limit, query.after->sort_key, query.after->id.value);
    } else {
      select.Bind(category, is_active, query.limit);
    }
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, select.Step());
      if (!more) return absl::OkStatus();
      products.push_back(ReadProduct(select));
    }
  }));
  return products;
}

absl::StatusOr<Product> EmbeddedProductStore::UpdateProduct(ProductId id,
                                                            const ProductPatch& patch) {
  RETURN_IF_ERROR(product::Check(patch));
  std::optional<Product> product;
  RETURN_IF_ERROR(database_.Write([&](Connection& connection) -> absl::Status {
    RETURN_IF_ERROR(FindInto(connection, std::span(&id, 1), std::span(&product, 1)));
    if (!product) return absl::NotFoundError(absl::StrCat("no product ", id.value));
    product::Apply(patch, *product);
    ASSIGN_OR_RETURN(Statement update,
                     connection.Prepare("UPDATE products SET price_minor = ?, stock_quantity = ?, "
                                        "is_active = ?, updated_at_us = ?, "
                                        "version = (SELECT MAX(version) FROM products) + 1 "
                                        "WHERE id = ? RETURNING version"));
    product->updated_at = std::max(clock_.Now(), product->updated_at);
    update.Bind(product->price_minor, product->stock_quantity, product->is_active,
                product->updated_at, id.value);
    RETURN_IF_ERROR(update.Step().status());
    product->version = update.Int(0);
    return absl::OkStatus();
  }));
  return *std::move(product);
}

absl::Status EmbeddedProductStore::RaiseViews(std::span<const ViewTotal> totals) {
  return embedded::RaiseViews(database_, totals);
}

std::vector<const char*> EmbeddedProductStore::ListStatements() {
  std::vector<const char*> statements;
  for (const std::string& sql : ListSqls()) statements.push_back(sql.c_str());
  return statements;
}

}  // namespace ecom::adapters::embedded
