#include "product/tiered_reader.h"

#include <cstddef>
#include <optional>
#include <utility>

#include "base/log.h"

namespace ecom::product {

TieredReader::TieredReader(Options options, ProductCache* cache, ProductStore& store,
                           const base::Clock& clock)
    : options_(options),
      cache_(cache),
      store_(store),
      clock_(clock),
      breaker_(options.breaker, clock) {}

TieredReader::Result TieredReader::Find(std::span<const ProductId> ids, Freshness freshness) {
  Result result;
  result.products.resize(ids.size());
  if (freshness == Freshness::kAnyLevel) FindInCache(ids, result);
  FindInStore(ids, result);
  return result;
}

void TieredReader::Fill(const Result& result) {
  if (cache_ == nullptr || result.from_store.empty()) return;
  const absl::Duration begin = clock_.Monotonic();
  if (begin - result.store_read_at > options_.fill_age_max) {
    ++counters_.fills_too_old;
    return;
  }
  if (!AllowCache()) return;
  std::vector<Product> products;
  products.reserve(result.from_store.size());
  for (const auto& product : result.from_store) products.push_back(*product);
  const absl::Status put = cache_->Put(products);
  NoteCache(put);
  ++counters_.fills;
  counters_.fill_products += static_cast<int64_t>(products.size());
  counters_.fill_us += absl::ToInt64Microseconds(clock_.Monotonic() - begin);
  if (!put.ok()) ++counters_.fill_errors;
}

TieredReader::Stats TieredReader::stats() const {
  return {.l2_hits = counters_.l2_hits,
          .l2_misses = counters_.l2_misses,
          .l2_errors = counters_.l2_errors,
          .l2_skipped = counters_.l2_skipped,
          .store_reads = counters_.store_reads,
          .store_ids = counters_.store_ids,
          .store_errors = counters_.store_errors,
          .store_read_time = absl::Microseconds(counters_.store_read_us.load()),
          .fills = counters_.fills,
          .fill_products = counters_.fill_products,
          .fill_errors = counters_.fill_errors,
          .fills_too_old = counters_.fills_too_old,
          .fill_time = absl::Microseconds(counters_.fill_us.load()),
          .breaker = breaker_.state()};
}

/// Takes over what the second level has.
void TieredReader::FindInCache(std::span<const ProductId> ids, Result& result) {
  if (cache_ == nullptr || ids.empty() || !AllowCache()) return;
  auto found = cache_->Find(ids);
  NoteCache(found.status());
  if (!found.ok()) {
    ++counters_.l2_errors;
    return;
  }
  int64_t hits = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    std::optional<Product>& product = (*found)[i];
    if (!product) continue;
    result.products[i] = std::make_shared<const Product>(*std::move(product));
    ++hits;
  }
  counters_.l2_hits += hits;
  counters_.l2_misses += static_cast<int64_t>(ids.size()) - hits;
}

/// Reads what is still missing.
void TieredReader::FindInStore(std::span<const ProductId> ids, Result& result) {
  std::vector<ProductId> missing;
  std::vector<size_t> places;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (result.products[i] != nullptr) continue;
    missing.push_back(ids[i]);
    places.push_back(i);
  }
  if (missing.empty()) return;
  ++counters_.store_reads;
  counters_.store_ids += static_cast<int64_t>(missing.size());
  // Before the read: what changes while it runs must not look older than what was read.
  result.store_read_at = clock_.Monotonic();
  auto found = store_.FindProducts(missing);
  counters_.store_read_us += absl::ToInt64Microseconds(clock_.Monotonic() - result.store_read_at);
  if (!found.ok()) {
    ++counters_.store_errors;
    result.status = found.status();
    return;
  }
  for (size_t i = 0; i < missing.size(); ++i) {
    std::optional<Product>& product = (*found)[i];
    if (!product) continue;
    auto shared = std::make_shared<const Product>(*std::move(product));
    result.from_store.push_back(shared);
    result.products[places[i]] = std::move(shared);
  }
}

bool TieredReader::AllowCache() {
  if (breaker_.Allow()) return true;
  ++counters_.l2_skipped;
  return false;
}

/// Tells the breaker how a call went, and the log when that changes something.
void TieredReader::NoteCache(const absl::Status& status) {
  if (status.ok()) {
    breaker_.Succeeded();
    if (skipping_cache_.exchange(false)) {
      base::Log(base::Level::kInfo, "the product cache answers again");
    }
    return;
  }
  breaker_.Failed();
  if (breaker_.state() == CircuitBreaker::State::kOpen && !skipping_cache_.exchange(true)) {
    base::Log(base::Level::kWarn, "the product cache is skipped until it answers",
              {{"error", status}});
  }
}

}  // namespace ecom::product
