// How much of what is read comes to the database: 1,000,000 products in MariaDB, a second level in
// Redis, 10,000 entries in L1, and reads by Zipf. Ends with 1 when products are read there more
// often than 1.1 times for each one that is read at all, or when more memory is taken than bounded.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <random>
#include <semaphore>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "adapters/redis/view_totals.h"
#include "product/catalog.h"
#include "support/many_products.h"
#include "support/product_cache_backend.h"

namespace ecom::bench {
namespace {

using product::Catalog;
using product::Product;
using product::ProductId;

constexpr uint64_t kSeed = 20251225;
constexpr size_t kReads = 4'000'000;
constexpr size_t kEntriesMax = 10'000;
// As the server has it by default.
constexpr size_t kBytesMax = 64 << 20;
constexpr size_t kSharedProductsMax = 1'024;
constexpr std::ptrdiff_t kCallers = 64;
constexpr double kLoadsPerProductMax = 1.1;

/// Ids of which the one with rank r is asked for in proportion to 1 / r^0.99; ranks are strewn over
/// the ids.
std::vector<int32_t> ZipfTrace() {
  std::vector<double> cumulated;
  cumulated.reserve(tests::kManyProducts);
  double sum = 0;
  for (int64_t rank = 1; rank <= tests::kManyProducts; ++rank) {
    cumulated.push_back(sum += 1 / std::pow(static_cast<double>(rank), 0.99));
  }
  std::mt19937_64 random(kSeed);
  std::uniform_real_distribution points(0.0, sum);
  std::vector<int32_t> ids(kReads);
  for (int32_t& id : ids) {
    const auto rank =
        std::lower_bound(cumulated.begin(), cumulated.end(), points(random)) - cumulated.begin();
    id = static_cast<int32_t>(1 + rank * 611'953 % tests::kManyProducts);
  }
  return ids;
}

int64_t CountDistinct(std::vector<int32_t> ids) {
  std::sort(ids.begin(), ids.end());
  return std::unique(ids.begin(), ids.end()) - ids.begin();
}

/// A line of /proc/self/status, in MiB.
double MemoryMib(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return std::stod(line.substr(name.size() + 1)) / 1024;
  }
  return 0;
}

/// What the store is asked for, by whomever.
class CountingStore final : public product::ProductStore {
 public:
  explicit CountingStore(product::ProductStore& store) : store_(store) {}

  absl::StatusOr<std::vector<std::optional<Product>>> FindProducts(
      std::span<const ProductId> ids) override {
    ids_ += static_cast<int64_t>(ids.size());
    return store_.FindProducts(ids);
  }
  absl::StatusOr<std::vector<Product>> ListProducts(const product::ListQuery& query) override {
    return store_.ListProducts(query);
  }
  absl::StatusOr<Product> UpdateProduct(ProductId id, const product::ProductPatch& patch) override {
    return store_.UpdateProduct(id, patch);
  }
  absl::Status RaiseViews(std::span<const product::ViewTotal> totals) override {
    return store_.RaiseViews(totals);
  }

  int64_t ids() const { return ids_; }

 private:
  product::ProductStore& store_;
  std::atomic<int64_t> ids_ = 0;
};

/// Reads all of the trace, kCallers at a time. Returns how many reads failed.
int64_t ReadAll(Catalog& catalog, const std::vector<int32_t>& trace) {
  std::counting_semaphore<kCallers> free(kCallers);
  std::atomic<int64_t> failed = 0;
  for (const int32_t id : trace) {
    if (const auto answer = catalog.TryGet({id})) {
      failed += !answer->ok();
      continue;
    }
    free.acquire();
    catalog.Get({id}, [&](const absl::StatusOr<product::ProductView>& view) {
      failed += !view.ok();
      free.release();
    });
  }
  for (std::ptrdiff_t i = 0; i < kCallers; ++i) free.acquire();
  return failed;
}

int Run() {
  tests::MysqlDatabase database;
  tests::LoadManyProducts(database);
  const base::SystemClock clock;
  adapters::mysql::MysqlProductStore mysql(database.pool(), clock);
  CountingStore store(mysql);
  const tests::RedisServer cache_server;
  const tests::RedisServer gate_server;
  const auto cache = tests::MakeRedisProductCache(cache_server);
  adapters::redis::RedisViewTotals totals({.address = {.socket_path = gate_server.socket_path()},
                                           .connect_timeout = tests::kPatience,
                                           .command_timeout = tests::kPatience,
                                           .find_timeout = tests::kPatience});

  const std::vector<int32_t> trace = ZipfTrace();
  const int64_t first_seen = CountDistinct(trace);
  const double memory_before = MemoryMib("VmRSS");
  Catalog catalog({.l1 = {.entries_max = kEntriesMax, .bytes_max = kBytesMax},
                   .views = {.shared_products_max = kSharedProductsMax}},
                  {.store = store, .cache = cache.get(), .totals = totals, .clock = clock});
  const absl::Time began = absl::Now();
  const int64_t failed = ReadAll(catalog, trace);
  const absl::Duration took = absl::Now() - began;
  const double memory_after = MemoryMib("VmRSS");
  const double memory_peak = MemoryMib("VmHWM");
  const int64_t lost = catalog.Stop();
  const Catalog::Stats stats = catalog.stats();

  // What the second level did not have. Reads past it are of entries that grew old.
  const int64_t loads = stats.reader.l2_misses;
  const double loads_per_product = static_cast<double>(loads) / static_cast<double>(first_seen);
  const double share = 100.0 / static_cast<double>(kReads);
  absl::PrintF("reads                          %9d in %.1f s, Zipf 0.99 on %d products, seed %d\n",
               kReads, absl::ToDoubleSeconds(took), tests::kManyProducts, kSeed);
  absl::PrintF("products read at all           %9d = %.2f %% of the reads: first seen\n",
               first_seen, share * static_cast<double>(first_seen));
  absl::PrintF("hits of L1, %6d entries     %9d = %.2f %%\n", kEntriesMax, stats.l1_hits,
               share * static_cast<double>(stats.l1_hits));
  absl::PrintF("hits of the second level       %9d\n", stats.reader.l2_hits);
  absl::PrintF("loads of the database          %9d = %.2f %% of the reads, %.3f a product\n", loads,
               share * static_cast<double>(loads), loads_per_product);
  absl::PrintF("  read again because of age    %9d, of which %d before anybody waited\n",
               stats.reader.store_ids - loads, stats.refreshes);
  absl::PrintF("  read to begin a view total   %9d\n", store.ids() - stats.reader.store_ids);
  absl::PrintF("  queries for the first two    %9d\n", stats.reader.store_reads);
  absl::PrintF("failed reads, lost views       %9d, %d\n", failed, lost);
  absl::PrintF("errors of the second level     %9d, spared by the breaker %d\n",
               stats.reader.l2_errors, stats.reader.l2_skipped);
  absl::PrintF("L1 at the end                  %9d entries, %.1f MiB of %d MiB; %d evicted\n",
               stats.l1_entries, static_cast<double>(stats.l1_bytes) / (1 << 20), kBytesMax >> 20,
               stats.l1_evictions);
  absl::PrintF("view counters at the end       %9d\n", stats.views.counters);
  absl::PrintF("RSS                            %9.1f MiB before, %.1f after, %.1f at most\n",
               memory_before, memory_after, memory_peak);

  const bool holds = failed == 0 && lost == 0 && stats.reader.l2_skipped == 0 &&
                     loads_per_product <= kLoadsPerProductMax &&
                     memory_peak - memory_before <= static_cast<double>(kBytesMax >> 20);
  absl::PrintF("%s\n", holds ? "holds" : "DOES NOT HOLD");
  return holds ? 0 : 1;
}

}  // namespace
}  // namespace ecom::bench

int main() { return ecom::bench::Run(); }
