#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "adapters/embedded/view_totals.h"
#include "adapters/redis/view_totals.h"
#include "product/views.h"
#include "support/memory_view_totals.h"
#include "support/product_backend.h"
#include "support/redis_server.h"

namespace ecom::tests {

/// Totals of views of one kind of backend. The contract suite runs against each kind.
class ViewTotalsBackend {
 public:
  virtual ~ViewTotalsBackend() = default;

  virtual product::ViewTotals& totals() = 0;
  /// What happens to the server, if there is one, between two calls: its keys stay.
  virtual void Restart() {}
  /// As if nothing had ever been added: for those that are ahead of the store.
  virtual void Forget() {}
};

/// What MakeViewTotalsBackend understands.
inline const char* const kViewTotalsBackends[] = {"embedded", "memory", "redis"};
/// Of these, the ones that are ahead of the store.
inline const char* const kSharedViewTotalsBackends[] = {"memory", "redis"};

/// The embedded adapter on 100 products.
class EmbeddedViewTotalsBackend final : public ViewTotalsBackend {
 public:
  EmbeddedViewTotalsBackend() { products_.PutProducts(MakeProducts(100)); }

  product::ViewTotals& totals() override { return totals_; }

 private:
  EmbeddedProductBackend products_{/*in_memory=*/true};
  adapters::embedded::EmbeddedViewTotals totals_{products_.database()};
};

/// The fake of other tests.
class MemoryViewTotalsBackend final : public ViewTotalsBackend {
 public:
  product::ViewTotals& totals() override { return totals_; }
  void Forget() override { totals_.Forget(); }

 private:
  MemoryViewTotals totals_;
};

/// The Redis adapter on the test program's server, emptied.
class RedisViewTotalsBackend final : public ViewTotalsBackend {
 public:
  /// Waits long for a machine that is busy.
  explicit RedisViewTotalsBackend(absl::Duration timeout = absl::Seconds(20))
      : server_(EmptyRedisServer()),
        totals_({.address = {.socket_path = server_.socket_path()},
                 .connect_timeout = timeout,
                 .command_timeout = timeout,
                 .find_timeout = timeout}) {}

  product::ViewTotals& totals() override { return totals_; }
  void Restart() override { server_.RestartWithItsKeys(); }
  void Forget() override { server_.Do({"FLUSHALL"}); }
  RedisServer& server() { return server_; }

 private:
  RedisServer& server_;
  adapters::redis::RedisViewTotals totals_;
};

inline std::unique_ptr<ViewTotalsBackend> MakeViewTotalsBackend(const std::string& name) {
  if (name == "memory") return std::make_unique<MemoryViewTotalsBackend>();
  if (name == "redis") return std::make_unique<RedisViewTotalsBackend>();
  return std::make_unique<EmbeddedViewTotalsBackend>();
}

}  // namespace ecom::tests
