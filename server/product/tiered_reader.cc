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
      read_breaker_(options.breaker, clock),
      fill_breaker_(options.breaker, clock),
      store_breaker_(options.store_breaker, clock) {}

std::vector<std::shared_ptr<const Product>> TieredReader::FindCached(
    std::span<const ProductId> ids) {
  std::vector<std::shared_ptr<const Product>> products(ids.size());
  if (cache_ == nullptr || ids.empty() || !AllowCache(read_breaker_)) return products;
  auto found = cache_->Find(ids);
  NoteCache(read_breaker_, found.status());
  if (!found.ok()) {
    ++counters_.l2_errors;
    return products;
  }
  int64_t hits = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    std::optional<Product>& product = (*found)[i];
    if (!product) continue;
    products[i] = std::make_shared<const Product>(*std::move(product));
    ++hits;
  }
  counters_.l2_hits += hits;
  counters_.l2_misses += static_cast<int64_t>(ids.size()) - hits;
  return products;
}

TieredReader::Result TieredReader::FindStored(std::vector<ProductId> ids) {
  // Before the read: what changes while it runs must not look older than what was read.
  Result result{.ids = std::move(ids),
                .products = {},
                .status = absl::OkStatus(),
                .read_at = clock_.Monotonic()};
  result.products.resize(result.ids.size());
  if (result.ids.empty()) return result;
  if (!store_breaker_.Allow()) {
    ++counters_.store_skipped;
    result.status = absl::UnavailableError("the product store failed a moment ago");
    return result;
  }
  ++counters_.store_reads;
  counters_.store_ids += static_cast<int64_t>(result.ids.size());
  auto found = store_.FindProducts(result.ids);
  counters_.store_read_us += absl::ToInt64Microseconds(clock_.Monotonic() - result.read_at);
  if (!found.ok()) {
    ++counters_.store_errors;
    store_breaker_.Failed();
    result.status = found.status();
    return result;
  }
  store_breaker_.Succeeded();
  for (size_t i = 0; i < result.ids.size(); ++i) {
    std::optional<Product>& product = (*found)[i];
    if (product) result.products[i] = std::make_shared<const Product>(*std::move(product));
  }
  return result;
}

void TieredReader::Fill(const Result& result) {
  if (cache_ == nullptr || result.ids.empty() || !result.status.ok()) return;
  const absl::Duration begin = clock_.Monotonic();
  if (begin - result.read_at > options_.fill_age_max) {
    ++counters_.fills_too_old;
    return;
  }
  std::vector<Product> products;
  std::vector<ProductId> gone;
  for (size_t i = 0; i < result.ids.size(); ++i) {
    if (result.products[i] != nullptr) {
      products.push_back(*result.products[i]);
    } else {
      gone.push_back(result.ids[i]);
    }
  }
  if (!AllowCache(fill_breaker_)) return;
  absl::Status put;
  if (!products.empty()) put = cache_->Put(products);
  if (put.ok() && !gone.empty()) put = cache_->Forget(gone);
  NoteCache(fill_breaker_, put);
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
          .store_skipped = counters_.store_skipped,
          .store_read_time = absl::Microseconds(counters_.store_read_us.load()),
          .fills = counters_.fills,
          .fill_products = counters_.fill_products,
          .fill_errors = counters_.fill_errors,
          .fills_too_old = counters_.fills_too_old,
          .fill_time = absl::Microseconds(counters_.fill_us.load()),
          .breaker = read_breaker_.state(),
          .store_breaker = store_breaker_.state()};
}

bool TieredReader::AllowCache(CircuitBreaker& breaker) {
  if (breaker.Allow()) return true;
  ++counters_.l2_skipped;
  return false;
}

/// Tells the breaker how a call went, and the log when that changes something.
void TieredReader::NoteCache(CircuitBreaker& breaker, const absl::Status& status) {
  if (status.ok()) {
    breaker.Succeeded();
    if (skipping_cache_.exchange(false)) {
      base::Log(base::Level::kInfo, "the product cache answers again");
    }
    return;
  }
  breaker.Failed();
  if (breaker.state() == CircuitBreaker::State::kOpen && !skipping_cache_.exchange(true)) {
    base::Log(base::Level::kWarn, "the product cache is skipped until it answers",
              {{"error", status}});
  }
}

}  // namespace ecom::product
