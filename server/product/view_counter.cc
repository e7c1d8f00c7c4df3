#include "product/view_counter.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "base/log.h"

namespace ecom::product {
namespace {

constexpr size_t kShards = 16;  // far more than cores: callers seldom meet

struct Counter {
  int64_t stored = 0;     ///< the store's count, as far as known, without `in_flight`
  int64_t unflushed = 0;  ///< counted since the last flush
  int64_t in_flight = 0;  ///< in the flush under way
  int64_t shown = 0;      ///< the highest count that anyone saw
  absl::Duration used_at;

  bool HasNothingToWrite() const { return unflushed == 0 && in_flight == 0; }
};

}  // namespace

struct alignas(64) ViewCounter::Shard {
  mutable std::mutex mutex;
  absl::flat_hash_map<ProductId, Counter> counters;
  std::vector<ProductId> unflushed;  ///< those whose `unflushed` is not 0
  int64_t views = 0;
};

ViewCounter::ViewCounter(Options options, ProductStore& store, const base::Clock& clock,
                         Forgotten forgotten)
    : options_(options),
      store_(store),
      clock_(clock),
      forgotten_(std::move(forgotten)),
      idle_checked_at_(clock.Monotonic()) {
  for (size_t i = 0; i < kShards; ++i) shards_.push_back(std::make_unique<Shard>());
  flusher_ = std::thread([this] { Run(); });
  pthread_setname_np(flusher_.native_handle(), "view-flusher");
}

ViewCounter::~ViewCounter() { Stop(); }

int64_t ViewCounter::Count(ProductId id, int64_t store_count) {
  const absl::Duration now = clock_.Monotonic();
  Shard& shard = ShardOf(id);
  std::lock_guard lock(shard.mutex);
  Counter& counter = shard.counters[id];
  // While a flush is under way nobody knows whether `store_count` holds it already; what the
  // flush returns will tell.
  if (counter.in_flight == 0) counter.stored = std::max(counter.stored, store_count);
  if (counter.unflushed++ == 0) shard.unflushed.push_back(id);
  counter.used_at = now;
  ++shard.views;
  counter.shown = std::max(
      {counter.shown, store_count, counter.stored + counter.in_flight + counter.unflushed});
  return counter.shown;
}

absl::Status ViewCounter::Flush() {
  std::lock_guard lock(flush_mutex_);
  const std::vector<ViewDelta> deltas = TakeUnflushed();
  absl::Status flushed;
  for (std::span<const ViewDelta> rest(deltas); !rest.empty();) {
    const auto part = rest.first(std::min(rest.size(), options_.flush_products_max));
    flushed = FlushPart(part);
    if (!flushed.ok()) {
      TakeBack(rest);
      break;
    }
    rest = rest.subspan(part.size());
  }
  LogChange(flushed);
  DropIdle();
  DropBeyondBound();
  return flushed;
}

int64_t ViewCounter::Stop() {
  std::call_once(stopped_, [this] {
    {
      std::lock_guard lock(stop_mutex_);
      stopping_ = true;
    }
    stop_.notify_all();
    flusher_.join();
    for (int attempt = 1; !Flush().ok() && attempt < options_.stop_attempts; ++attempt) {
      absl::SleepFor(options_.stop_retry_delay);
    }
    for (const ViewDelta& delta : TakeUnflushed()) lost_ += delta.views;
    if (lost_ > 0) {
      base::Log(base::Level::kError, "views are lost: the store did not take them before the end",
                {{"views", lost_}});
    }
  });
  return lost_;
}

ViewCounter::Stats ViewCounter::stats() const {
  Stats stats{.views = 0,
              .views_flushed = views_flushed_,
              .flushes = flushes_,
              .flush_errors = flush_errors_,
              .counters = 0,
              .counters_forgotten = counters_forgotten_};
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    stats.views += shard->views;
    stats.counters += static_cast<int64_t>(shard->counters.size());
  }
  return stats;
}

void ViewCounter::Run() {
  std::unique_lock lock(stop_mutex_);
  const auto interval = absl::ToChronoNanoseconds(options_.flush_interval);
  while (!stop_.wait_for(lock, interval, [this] { return stopping_; })) {
    lock.unlock();
    Flush().IgnoreError();  // logged there, and kept for the next round
    lock.lock();
  }
}

std::vector<ViewDelta> ViewCounter::TakeUnflushed() {
  std::vector<ViewDelta> deltas;
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    for (const ProductId id : shard->unflushed) {
      Counter& counter = shard->counters[id];
      counter.in_flight = std::exchange(counter.unflushed, 0);
      deltas.push_back({.id = id, .views = counter.in_flight});
    }
    shard->unflushed.clear();
  }
  return deltas;
}

absl::Status ViewCounter::FlushPart(std::span<const ViewDelta> deltas) {
  const absl::StatusOr<std::vector<int64_t>> totals = store_.AddViews(deltas);
  if (!totals.ok()) {
    ++flush_errors_;
    return totals.status();
  }
  ++flushes_;
  for (size_t i = 0; i < deltas.size(); ++i) {
    Shard& shard = ShardOf(deltas[i].id);
    std::lock_guard lock(shard.mutex);
    Counter& counter = shard.counters[deltas[i].id];
    counter.in_flight = 0;
    counter.stored = std::max(counter.stored, (*totals)[i]);
    views_flushed_ += deltas[i].views;
  }
  return absl::OkStatus();
}

void ViewCounter::TakeBack(std::span<const ViewDelta> deltas) {
  for (const ViewDelta& delta : deltas) {
    Shard& shard = ShardOf(delta.id);
    std::lock_guard lock(shard.mutex);
    Counter& counter = shard.counters[delta.id];
    if (counter.unflushed == 0) shard.unflushed.push_back(delta.id);
    counter.unflushed += std::exchange(counter.in_flight, 0);
  }
}

void ViewCounter::LogChange(const absl::Status& flushed) {
  if (flushed.ok() == !store_failing_) return;
  store_failing_ = !flushed.ok();
  if (store_failing_) {
    base::Log(base::Level::kWarn, "views are kept back: the store does not take them",
              {{"error", flushed}});
    return;
  }
  base::Log(base::Level::kInfo, "the store takes views again");
}

void ViewCounter::DropIdle() {
  const absl::Duration now = clock_.Monotonic();
  if (now - idle_checked_at_ < options_.idle_max / 4) return;
  idle_checked_at_ = now;
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    absl::erase_if(shard->counters, [&](const auto& entry) {
      return entry.second.HasNothingToWrite() && now - entry.second.used_at > options_.idle_max;
    });
  }
}

void ViewCounter::DropBeyondBound() {
  size_t kept = 0;
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    kept += shard->counters.size();
  }
  if (kept <= options_.counters_max) return;

  std::vector<std::pair<absl::Duration, ProductId>> droppable;
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    for (const auto& [id, counter] : shard->counters) {
      if (counter.HasNothingToWrite()) droppable.emplace_back(counter.used_at, id);
    }
  }
  // An eighth more than needed, so that not every flush has to look through all of them.
  const size_t excess =
      std::min(droppable.size(), kept - options_.counters_max + options_.counters_max / 8);
  std::nth_element(droppable.begin(), droppable.begin() + static_cast<ptrdiff_t>(excess),
                   droppable.end());
  for (size_t i = 0; i < excess; ++i) {
    const auto [used_at, id] = droppable[i];
    Shard& shard = ShardOf(id);
    std::lock_guard lock(shard.mutex);
    const auto position = shard.counters.find(id);
    if (position->second.used_at != used_at || !position->second.HasNothingToWrite()) continue;
    shard.counters.erase(position);
    ++counters_forgotten_;
    forgotten_(id);  // under the lock: before anyone counts on from what it holds
  }
}

ViewCounter::Shard& ViewCounter::ShardOf(ProductId id) const {
  return *shards_[(absl::HashOf(id) >> 32) % shards_.size()];
}

}  // namespace ecom::product
