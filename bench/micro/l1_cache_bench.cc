// What a hit in the product cache costs, and how often it hits, against LRU, on the traces that
// the cache is made for. Prints the table of hit ratios first, then the latencies.
//
// A clock costs about as much as a hit, so sixteen hits are timed at once: p50_ns is the median,
// over these batches, of the time for one hit, and the mean of that over the threads.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "product/catalog.h"
#include "product/l1_cache.h"

namespace ecom {
namespace {

using product::L1Cache;
using product::Product;
using product::ProductId;

constexpr uint64_t kSeed = 20251225;

/// Ids 1 to `count`, of which each is asked for in proportion to 1 / id^0.99.
class Zipf {
 public:
  explicit Zipf(int64_t count) {
    double sum = 0;
    for (int64_t id = 1; id <= count; ++id) {
      sum += 1 / std::pow(static_cast<double>(id), 0.99);
      cumulated_.push_back(sum);
    }
  }
  int64_t operator()(std::mt19937_64& random) const {
    const double point = std::uniform_real_distribution(0.0, cumulated_.back())(random);
    const auto position = std::lower_bound(cumulated_.begin(), cumulated_.end(), point);
    return 1 + (position - cumulated_.begin());
  }

 private:
  std::vector<double> cumulated_;
};

/// 80 % of what is asked for is among the first 20 % of `count` ids.
int64_t Eighty20(std::mt19937_64& random, int64_t count) {
  const int64_t hot = std::max<int64_t>(1, count / 5);
  if (random() % 100 < 80) return 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(hot));
  return 1 + hot + static_cast<int64_t>(random() % static_cast<uint64_t>(count - hot));
}

std::vector<int64_t> Trace(size_t length, const std::function<int64_t(std::mt19937_64&)>& next) {
  std::mt19937_64 random(kSeed);
  std::vector<int64_t> ids(length);
  for (int64_t& id : ids) id = next(random);
  return ids;
}

std::shared_ptr<const Product> MakeProduct(int64_t id) {
  return std::make_shared<const Product>(
      Product{.id = {id}, .category = {1}, .name = "product", .price_minor = 100});
}

/// What LRU would do: the yardstick.
class Lru {
 public:
  explicit Lru(size_t entries_max) : entries_max_(entries_max) {}
  bool Ask(int64_t id) {
    if (const auto position = places_.find(id); position != places_.end()) {
      ids_.splice(ids_.begin(), ids_, position->second);
      return true;
    }
    if (ids_.size() == entries_max_) {
      places_.erase(ids_.back());
      ids_.pop_back();
    }
    ids_.push_front(id);
    places_[id] = ids_.begin();
    return false;
  }

 private:
  const size_t entries_max_;
  std::list<int64_t> ids_;
  std::unordered_map<int64_t, std::list<int64_t>::iterator> places_;
};

/// A clock that stands still: the traces are about room, not about age.
class StoppedClock final : public base::Clock {
 public:
  absl::Time Now() const override { return absl::UnixEpoch(); }
  absl::Duration Monotonic() const override { return absl::Hours(1); }
};

class Sieve {
 public:
  explicit Sieve(size_t entries_max)
      : cache_({.entries_max = entries_max, .bytes_max = 1 << 30}, clock_) {}
  bool Ask(int64_t id) {
    if (cache_.Find({id}).product != nullptr) return true;
    cache_.Put(MakeProduct(id), clock_.Monotonic());
    return false;
  }

 private:
  StoppedClock clock_;
  L1Cache cache_;
};

template <typename Policy>
double HitRatio(size_t entries_max, const std::vector<int64_t>& trace) {
  Policy policy(entries_max);
  size_t hits = 0;
  for (const int64_t id : trace) hits += policy.Ask(id);
  return 100.0 * static_cast<double>(hits) / static_cast<double>(trace.size());
}

void PrintHitRatios() {
  constexpr size_t kLength = 2'000'000;
  constexpr int64_t kProducts = 1'000'000;
  const Zipf zipf(kProducts);
  int64_t scanned = kProducts;
  int64_t asked = 0;
  const struct {
    const char* name;
    std::vector<int64_t> trace;
  } traces[] = {
      {"80/20 on 100,000 products",
       Trace(kLength, [](auto& random) { return Eighty20(random, 100'000); })},
      {"Zipf 0.99 on 1,000,000", Trace(kLength, [&](auto& random) { return zipf(random); })},
      {"the same, half of it a scan",
       Trace(kLength, [&](auto& random) { return ++asked % 2 == 0 ? ++scanned : zipf(random); })},
  };
  std::printf("%-30s %8s %9s %9s\n", "hit ratio, seed 20251225", "entries", "SIEVE", "LRU");
  for (const auto& [name, trace] : traces) {
    for (const size_t entries_max : {1'000, 10'000}) {
      std::printf("%-30s %8zu %8.2f%% %8.2f%%\n", name, entries_max,
                  HitRatio<Sieve>(entries_max, trace), HitRatio<Lru>(entries_max, trace));
    }
  }
}

/// 100 products, as in the load scenario, or the 10,000 that fill the cache.
struct Asked {
  explicit Asked(bool zipf)
      : trace(zipf ? Trace(1 << 16, Zipf(10'000))
                   : Trace(1 << 16, [](auto& random) { return Eighty20(random, 100); })) {}
  const std::vector<int64_t> trace;
};

const Asked& TraceOf(bool zipf) {
  static const Asked eighty20(false);
  static const Asked zipfs(true);
  return zipf ? zipfs : eighty20;
}

/// Runs `hit` for one id of the trace after the other, in batches that are timed.
template <typename Hit>
void TimeHits(benchmark::State& state, const Hit& hit) {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kBatch = 16;
  constexpr size_t kBatchesKept = 1 << 20;
  const std::vector<int64_t>& trace = TraceOf(state.range(0) != 0).trace;
  size_t i = static_cast<size_t>(state.thread_index()) * 7'919;
  std::vector<float> times_ns;
  times_ns.reserve(kBatchesKept);
  for (auto _ : state) {
    const Clock::time_point began = Clock::now();
    for (size_t n = 0; n < kBatch; ++n) hit(ProductId{trace[++i % trace.size()]});
    const std::chrono::duration<float, std::nano> took = Clock::now() - began;
    if (times_ns.size() < kBatchesKept) times_ns.push_back(took.count() / kBatch);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kBatch));
  const auto at = [&](double quantile) {
    const auto position = static_cast<ptrdiff_t>(static_cast<double>(times_ns.size()) * quantile);
    std::nth_element(times_ns.begin(), times_ns.begin() + position, times_ns.end());
    return benchmark::Counter(times_ns[static_cast<size_t>(position)],
                              benchmark::Counter::kAvgThreads);
  };
  state.counters["p50_ns"] = at(0.5);
  state.counters["p99_ns"] = at(0.99);
}

void BM_L1Hit(benchmark::State& state) {
  static base::SystemClock clock;
  // Twice the room, so that no shard overflows: each Find is a hit.
  static L1Cache cache({.entries_max = 20'000, .hard_ttl = absl::Hours(1)}, clock);
  static const bool filled = [] {
    for (int64_t id = 1; id <= 10'000; ++id) cache.Put(MakeProduct(id), clock.Monotonic());
    return true;
  }();
  benchmark::DoNotOptimize(filled);
  int64_t misses = 0;
  TimeHits(state, [&](ProductId id) { misses += cache.Find(id).product == nullptr; });
  if (misses > 0) state.SkipWithError("a lookup missed");
}
BENCHMARK(BM_L1Hit)->ArgName("zipf")->Arg(0)->Arg(1)->Threads(1)->Threads(4)->UseRealTime();

/// Products that are made up when they are asked for.
class EndlessStore final : public product::ProductStore {
 public:
  absl::StatusOr<std::vector<std::optional<Product>>> FindProducts(
      std::span<const ProductId> ids) override {
    std::vector<std::optional<Product>> products;
    for (const ProductId id : ids) products.emplace_back(*MakeProduct(id.value));
    return products;
  }
  absl::StatusOr<std::vector<Product>> ListProducts(const product::ListQuery&) override {
    return std::vector<Product>{};
  }
  absl::StatusOr<Product> UpdateProduct(ProductId id, const product::ProductPatch&) override {
    return *MakeProduct(id.value);
  }
  absl::Status RaiseViews(std::span<const product::ViewTotal>) override { return absl::OkStatus(); }
};

/// Totals that are made up, too.
class NoTotals final : public product::ViewTotals {
 public:
  absl::StatusOr<std::vector<std::optional<int64_t>>> Add(
      const product::ViewBatch& batch) override {
    return std::vector<std::optional<int64_t>>(batch.deltas.size(), 0);
  }
  absl::StatusOr<std::vector<std::optional<int64_t>>> Find(
      std::span<const ProductId> ids) override {
    return std::vector<std::optional<int64_t>>(ids.size(), 0);
  }
  absl::Status Seed(std::span<const product::ViewTotal>) override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<product::ViewTotal>> Unstored(int) override {
    return std::vector<product::ViewTotal>{};
  }
  absl::Status NoteStored(std::span<const product::ViewTotal>) override { return absl::OkStatus(); }
};

/// The whole way of a hit: cache, count of the view, statistics.
void BM_CatalogHit(benchmark::State& state) {
  static base::SystemClock clock;
  static EndlessStore store;
  static NoTotals totals;
  static product::Catalog catalog({.l1 = {.entries_max = 20'000}},
                                  {.store = store, .totals = totals, .clock = clock});
  int64_t misses = 0;
  TimeHits(state, [&](ProductId id) {
    if (catalog.TryGet(id)) return;
    ++misses;
    catalog.Get(id, [](const absl::StatusOr<product::ProductView>&) {});
  });
  state.counters["misses"] = static_cast<double>(misses);
}
BENCHMARK(BM_CatalogHit)->ArgName("zipf")->Arg(0)->Arg(1)->Threads(1)->Threads(4)->UseRealTime();

}  // namespace
}  // namespace ecom

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  ecom::PrintHitRatios();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
