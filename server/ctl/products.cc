#include "ctl/products.h"

#include <httplib.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "ctl/text.h"

namespace ecom::ctl {
namespace {

using nlohmann::ordered_json;
using product::Product;
using product::ProductId;
using product::ProductPatch;

/// A cache that is being restarted is there again within this.
constexpr absl::Duration kTellCacheWithin = absl::Seconds(5);
constexpr absl::Duration kTellCacheAgain = absl::Milliseconds(100);
constexpr absl::Duration kAdminTimeout = absl::Seconds(2);
constexpr size_t kServersMax = 64;

std::string PriceText(int64_t minor) {
  return absl::StrFormat("%d.%02d", minor / 100, minor % 100);
}

/// INVALID_ARGUMENT: no amount with at most two decimals.
absl::StatusOr<int64_t> ParsePrice(const std::string& text) {
  const absl::Status wrong =
      absl::InvalidArgumentError("--price needs an amount such as 9900 or 9900.50");
  const size_t point = std::min(text.find('.'), text.size());
  const std::string whole = text.substr(0, point);
  const std::string fraction = point < text.size() ? text.substr(point + 1) : "0";
  const auto is_digits = [](const std::string& part) {
    return !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
  };
  int64_t units = 0;
  int64_t hundredths = 0;
  if (!is_digits(whole) || !is_digits(fraction) || fraction.size() > 2 || whole.size() > 10 ||
      !absl::SimpleAtoi(whole, &units) || !absl::SimpleAtoi(fraction, &hundredths)) {
    return wrong;
  }
  return units * 100 + (fraction.size() == 1 ? hundredths * 10 : hundredths);
}

absl::StatusOr<ProductPatch> PatchOf(const CommandLine& line) {
  ProductPatch patch;
  if (line.Has("price")) {
    ASSIGN_OR_RETURN(patch.price_minor, ParsePrice(*line.Text("price")));
  }
  if (line.Has("stock")) {
    ASSIGN_OR_RETURN(patch.stock_quantity, line.Number("stock"));
  }
  if (const auto active = line.Text("active")) {
    if (active != "true" && active != "false") {
      return absl::InvalidArgumentError("--active is true or false");
    }
    patch.is_active = active == "true";
  }
  if (!patch.price_minor && !patch.stock_quantity && !patch.is_active) {
    return absl::InvalidArgumentError("product set needs --price, --stock or --active");
  }
  return patch;
}

ordered_json JsonOf(const Product& product) {
  return {{"id", product.id.value},
          {"name", product.name},
          {"category_id", product.category.value},
          {"price", PriceText(product.price_minor)},
          {"stock_quantity", product.stock_quantity},
          {"is_active", product.is_active},
          {"view_count", product.view_count},
          {"created_at", TimeText(product.created_at)},
          {"updated_at", TimeText(product.updated_at)},
          {"version", product.version}};
}

std::string TextOf(const Product& product) {
  return absl::StrCat("product ", product.id.value, ": ", Shown(product.name), ", price ",
                      PriceText(product.price_minor), ", stock ", product.stock_quantity,
                      product.is_active ? ", active" : ", not active", ", ", product.view_count,
                      " views, version ", product.version, ", updated ",
                      TimeText(product.updated_at));
}

absl::Status TellCache(product::ProductCache& cache, const product::ProductVersion& change) {
  const absl::Time give_up = absl::Now() + kTellCacheWithin;
  for (;;) {
    absl::Status told = cache.Drop(change);
    if (!absl::IsUnavailable(told) || absl::Now() >= give_up) return told;
    absl::SleepFor(kTellCacheAgain);
  }
}

/// Adds up what one server says.
absl::Status AddHot(const std::string& address, std::map<int64_t, int64_t>& views) {
  httplib::Client client("http://" + address);
  const auto timeout = absl::ToChronoMicroseconds(kAdminTimeout);
  client.set_connection_timeout(timeout);
  client.set_read_timeout(timeout);
  const auto response = client.Get("/products/hot");
  if (!response || response->status != 200) {
    return absl::UnavailableError(
        absl::StrCat("no server with the role api answers at ", address, " (ADMIN_ADDR)"));
  }
  const auto json =
      nlohmann::json::parse(response->body, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!json.contains("products") || !json["products"].is_array()) {
    return absl::UnavailableError(absl::StrCat("what answers at ", address, " is no ecom-server"));
  }
  for (const auto& product : json["products"]) {
    if (!product.is_object()) continue;
    views[product.value("id", int64_t{0})] += product.value("views", int64_t{0});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Exit> ShowProduct(product::ProductStore& store, const CommandLine& line,
                                 std::ostream& out) {
  ASSIGN_OR_RETURN(const int64_t id, line.Number("id"));
  const ProductId product_id{id};
  ASSIGN_OR_RETURN(const auto found, store.FindProducts({&product_id, 1}));
  if (!found[0]) return absl::NotFoundError(absl::StrCat("there is no product ", id));
  out << (line.AsJson() ? JsonOf(*found[0]).dump(2) : TextOf(*found[0])) << "\n";
  return Exit::kClean;
}

absl::StatusOr<Exit> SetProduct(product::ProductStore& store, product::ProductCache* cache,
                                const CommandLine& line, std::ostream& out) {
  ASSIGN_OR_RETURN(const int64_t id, line.Number("id"));
  ASSIGN_OR_RETURN(const ProductPatch patch, PatchOf(line));
  ASSIGN_OR_RETURN(const Product product, store.UpdateProduct({id}, patch));
  absl::Status told;
  if (cache != nullptr) told = TellCache(*cache, {.id = product.id, .version = product.version});
  if (line.AsJson()) {
    ordered_json json = JsonOf(product);
    json["cache_told"] = told.ok();
    out << json.dump(2) << "\n";
  } else {
    out << TextOf(product) << "\n";
    if (!told.ok()) {
      out << "it is changed, but the product cache could not be told ("
          << Shown(std::string(told.message()))
          << "): servers show the change within product-soft-ttl, 5s by default\n";
    }
  }
  return told.ok() ? Exit::kClean : Exit::kBroken;
}

absl::StatusOr<Exit> ShowHotProducts(const app::Config& config, const CommandLine& line,
                                     std::ostream& out) {
  const std::vector<std::string> servers =
      absl::StrSplit(line.Text("admin").value_or(config.admin.address.ToString()), ',');
  if (servers.size() > kServersMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--admin takes at most ", kServersMax, " servers"));
  }
  std::map<int64_t, int64_t> views;
  for (const std::string& server : servers) RETURN_IF_ERROR(AddHot(server, views));
  std::vector<std::pair<int64_t, int64_t>> hottest(views.begin(), views.end());
  std::ranges::stable_sort(hottest, std::ranges::greater{}, &std::pair<int64_t, int64_t>::second);

  ordered_json json = {{"window_seconds", 60}, {"products", ordered_json::array()}};
  for (const auto& [id, count] : hottest) {
    json["products"].push_back({{"id", id}, {"views", count}});
    if (!line.AsJson()) out << "product " << id << ": " << count << " views in the last minute\n";
  }
  if (line.AsJson()) {
    out << json.dump(2) << "\n";
  } else if (hottest.empty()) {
    out << "no product has 3 views in the last minute\n";
  }
  return Exit::kClean;
}

}  // namespace ecom::ctl
