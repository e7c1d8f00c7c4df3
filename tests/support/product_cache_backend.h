#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "adapters/embedded/product_changes.h"
#include "adapters/redis/product_cache.h"
#include "adapters/redis/product_changes.h"
#include "product/cache.h"
#include "product/changes.h"
#include "support/fake_product_cache.h"
#include "support/product_backend.h"
#include "support/redis_server.h"

namespace ecom::tests {

/// Timeouts that a busy machine keeps.
inline constexpr absl::Duration kPatience = absl::Seconds(5);

inline std::unique_ptr<adapters::redis::RedisProductCache> MakeRedisProductCache(
    const RedisServer& server, absl::Duration timeout = kPatience) {
  return std::make_unique<adapters::redis::RedisProductCache>(
      adapters::redis::RedisProductCache::Options{.address = {.socket_path = server.socket_path()},
                                                  .connect_timeout = timeout,
                                                  .command_timeout = timeout});
}

inline std::unique_ptr<adapters::redis::RedisProductChanges> MakeRedisProductChanges(
    const RedisServer& server) {
  return std::make_unique<adapters::redis::RedisProductChanges>(
      adapters::redis::RedisProductChanges::Options{
          .address = {.socket_path = server.socket_path()}});
}

/// What MakeProductCache understands.
inline const char* const kProductCaches[] = {"fake", "redis"};

/// An empty cache of one kind.
inline std::unique_ptr<product::ProductCache> MakeProductCache(const std::string& name) {
  if (name == "redis") return MakeRedisProductCache(EmptyRedisServer());
  return std::make_unique<FakeProductCache>();
}

/// A way in which servers are told of changes, and something that changes products.
class ProductChangesBackend {
 public:
  virtual ~ProductChangesBackend() = default;

  /// One more server that is told.
  virtual std::unique_ptr<product::ProductChanges> Subscribe() = 0;
  /// Changes one of the products 1 to kProducts.
  virtual product::ProductVersion Change(product::ProductId id) = 0;

  static constexpr int64_t kProducts = 1'500;
};

class RedisProductChangesBackend final : public ProductChangesBackend {
 public:
  std::unique_ptr<product::ProductChanges> Subscribe() override {
    return MakeRedisProductChanges(server_);
  }
  product::ProductVersion Change(product::ProductId id) override {
    const product::ProductVersion change = {.id = id, .version = ++version_};
    if (!cache_->Drop(change).ok()) std::abort();
    return change;
  }

 private:
  RedisServer& server_ = EmptyRedisServer();
  std::unique_ptr<product::ProductCache> cache_ = MakeRedisProductCache(server_);
  int64_t version_ = 0;
};

class EmbeddedProductChangesBackend final : public ProductChangesBackend {
 public:
  EmbeddedProductChangesBackend() { backend_.PutProducts(MakeProducts(kProducts)); }

  std::unique_ptr<product::ProductChanges> Subscribe() override {
    return std::make_unique<adapters::embedded::EmbeddedProductChanges>(
        adapters::embedded::EmbeddedProductChanges::Options(), backend_.database(), clock_);
  }
  product::ProductVersion Change(product::ProductId id) override {
    const auto product = backend_.store().UpdateProduct(id, {.price_minor = 100});
    if (!product.ok()) std::abort();
    return {.id = id, .version = product->version};
  }

 private:
  EmbeddedProductBackend backend_{/*in_memory=*/true};
  const base::SystemClock clock_;
};

/// What MakeProductChangesBackend understands.
inline const char* const kProductChangesBackends[] = {"embedded", "redis"};

inline std::unique_ptr<ProductChangesBackend> MakeProductChangesBackend(const std::string& name) {
  if (name == "redis") return std::make_unique<RedisProductChangesBackend>();
  return std::make_unique<EmbeddedProductChangesBackend>();
}

/// Collects `count` changes, or fewer when no more come; or the error that comes first.
inline absl::StatusOr<std::vector<product::ProductVersion>> Collect(
    product::ProductChanges& changes, size_t count, absl::Duration timeout = kPatience) {
  const base::SystemClock clock;
  const absl::Duration deadline = clock.Monotonic() + timeout;
  std::vector<product::ProductVersion> collected;
  while (collected.size() < count && clock.Monotonic() < deadline) {
    auto next = changes.Next(deadline - clock.Monotonic());
    if (!next.ok()) return next.status();
    collected.insert(collected.end(), next->begin(), next->end());
  }
  return collected;
}

}  // namespace ecom::tests
