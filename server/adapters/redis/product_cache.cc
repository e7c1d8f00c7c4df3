#include "adapters/redis/product_cache.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "adapters/redis/product_codec.h"
#include "base/status_macros.h"

namespace ecom::adapters::redis {

using product::Product;
using product::ProductId;
using product::ProductVersion;

namespace {

/// Bounds how long one script call holds up everybody else: some 1 ms. And Lua's tables stay small.
constexpr size_t kProductsInScript = 1'000;
constexpr double kTtlJitter = 0.1;

std::string KeyOf(ProductId id) { return absl::StrCat("product:detail:", id.value); }

bool CanBeKept(int64_t version) { return version >= 0 && version < RedisProductCache::kVersionEnd; }

absl::Status CheckCount(size_t products) {
  if (products <= RedisProductCache::kProductsMax) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(products, " products in one call; at most ",
                                                 RedisProductCache::kProductsMax, " are allowed"));
}

}  // namespace

RedisProductCache::RedisProductCache(Options options)
    : options_(std::move(options)),
      reads_({.address = options_.address,
              .connect_timeout = options_.connect_timeout,
              .command_timeout = options_.command_timeout}),
      writes_({.address = options_.address,
               .connect_timeout = options_.connect_timeout,
               .command_timeout = options_.command_timeout}) {}

absl::StatusOr<std::vector<std::optional<Product>>> RedisProductCache::Find(
    std::span<const ProductId> ids) {
  std::vector<std::optional<Product>> products(ids.size());
  if (ids.empty()) return products;
  RETURN_IF_ERROR(CheckCount(ids.size()));
  Command command = {"MGET"};
  command.reserve(1 + ids.size());
  for (const ProductId id : ids) command.push_back(KeyOf(id));
  const auto replies = reads_.Run({&command, 1});
  if (!replies.ok()) return Unavailable(replies.status());
  const auto values = ElementsOf(*(*replies)[0]);
  if (values.size() != ids.size()) {
    return absl::UnavailableError("Redis: an unexpected answer to MGET");
  }
  for (size_t i = 0; i < ids.size(); ++i) products[i] = DecodeProduct(ids[i], TextOf(*values[i]));
  return products;
}

absl::Status RedisProductCache::Put(std::span<const Product> products) {
  RETURN_IF_ERROR(CheckCount(products.size()));
  std::vector<ScriptCall> calls;
  for (const Product& product : products) {
    if (!CanBeKept(product.version)) continue;
    if (calls.empty() || calls.back().keys.size() == kProductsInScript) {
      calls.push_back({.script = kProductPut, .keys = {}, .arguments = {}});
    }
    ScriptCall& call = calls.back();
    call.keys.push_back(KeyOf(product.id));
    call.arguments.push_back(absl::StrCat(product.version));
    call.arguments.push_back(JitteredTtlMillis());
    call.arguments.push_back(EncodeProduct(product));
  }
  if (calls.empty()) return absl::OkStatus();
  return Unavailable(writes_.RunScripts(calls).status());
}

absl::Status RedisProductCache::Drop(const ProductVersion& change) {
  if (!CanBeKept(change.version)) {
    return absl::InvalidArgumentError(absl::StrCat("no version of a product: ", change.version));
  }
  const ScriptCall call = {.script = kProductDrop,
                           .keys = {KeyOf(change.id)},
                           .arguments = {absl::StrCat(change.version),
                                         absl::StrCat(absl::ToInt64Milliseconds(options_.ttl)),
                                         kProductChannel, EncodeChange(change)}};
  return Unavailable(writes_.RunScripts({&call, 1}).status());
}

absl::Status RedisProductCache::Forget(std::span<const ProductId> ids) {
  if (ids.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckCount(ids.size()));
  Command forget = {"DEL"};
  for (const ProductId id : ids) forget.push_back(KeyOf(id));
  return Unavailable(writes_.Run({&forget, 1}).status());
}

std::string RedisProductCache::JitteredTtlMillis() {
  std::lock_guard lock(random_mutex_);
  const double share = absl::Uniform(random_, 1 - kTtlJitter, 1 + kTtlJitter);
  return absl::StrCat(std::max<int64_t>(1, absl::ToInt64Milliseconds(options_.ttl * share)));
}

base::CallStats::Snapshot RedisProductCache::calls() const {
  base::CallStats::Snapshot sum = reads_.calls();
  sum += writes_.calls();
  return sum;
}

}  // namespace ecom::adapters::redis
