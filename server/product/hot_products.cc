#include "product/hot_products.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/hash/hash.h"

namespace ecom::product {
namespace {

/// Ids that are remembered for each one that may be shown.
constexpr size_t kCandidatesPerProduct = 4;

/// Each row takes bits of its own from one hash: hashes of (id, row) are not independent, and two
/// products that meet in one row then meet in all of them.
size_t ColumnOf(ProductId id, size_t row, size_t columns) {
  return (absl::HashOf(id) >> (16 * row)) % columns;
}

bool IsHotter(const HotProduct& a, const HotProduct& b) {
  return a.views != b.views ? a.views > b.views : a.id < b.id;
}

}  // namespace

HotProducts::HotProducts(Options options, const base::Clock& clock)
    : options_(options), clock_(clock) {}

void HotProducts::Count(std::span<const ViewDelta> deltas) {
  std::lock_guard lock(mutex_);
  Turn(clock_.Monotonic());
  for (const ViewDelta& delta : deltas) {
    if (delta.views > 0) Add(delta);
  }
  // Only now, for all at once: the least viewed ones make room.
  const size_t candidates_max = options_.products_max * kCandidatesPerProduct;
  if (candidates_.size() <= candidates_max) return;
  std::vector<HotProduct> ranked;
  for (const ProductId id : candidates_) ranked.push_back({id, Estimate(id)});
  std::nth_element(ranked.begin(), ranked.begin() + static_cast<ptrdiff_t>(candidates_max),
                   ranked.end(), IsHotter);
  for (size_t i = candidates_max; i < ranked.size(); ++i) candidates_.erase(ranked[i].id);
}

std::vector<HotProduct> HotProducts::Top() const {
  std::lock_guard lock(mutex_);
  std::vector<HotProduct> top;
  const absl::Duration begin = clock_.Monotonic() - options_.window;
  if (slices_.empty() || slices_.back().began_at < begin) return top;
  for (const ProductId id : candidates_) {
    const HotProduct product{id, Estimate(id)};
    if (product.views >= options_.views_min) top.push_back(product);
  }
  std::ranges::sort(top, IsHotter);
  if (top.size() > options_.products_max) top.resize(options_.products_max);
  return top;
}

/// Begins a slice when its time has come, and drops those that left the window.
void HotProducts::Turn(absl::Duration now) {
  const absl::Duration slice = options_.window / static_cast<int64_t>(options_.slices);
  if (slices_.empty() || now - slices_.back().began_at >= slice) {
    slices_.emplace_back().began_at = now;
  }
  while (now - slices_.front().began_at >= options_.window) slices_.pop_front();
}

void HotProducts::Add(const ViewDelta& delta) {
  auto& counts = slices_.back().counts;
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  for (size_t row = 0; row < kRows; ++row) {
    uint32_t& count = counts[row][ColumnOf(delta.id, row, kColumns)];
    count = static_cast<uint32_t>(std::min(kMost - count, delta.views) + count);
  }
  candidates_.insert(delta.id);
}

int64_t HotProducts::Estimate(ProductId id) const {
  int64_t views = 0;
  for (const Slice& slice : slices_) {
    uint32_t least = std::numeric_limits<uint32_t>::max();
    for (size_t row = 0; row < kRows; ++row) {
      least = std::min(least, slice.counts[row][ColumnOf(id, row, kColumns)]);
    }
    views += least;
  }
  return views;
}

}  // namespace ecom::product
