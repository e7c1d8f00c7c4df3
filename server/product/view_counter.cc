#include "product/view_counter.h"

#include <pthread.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::product {
namespace {

constexpr size_t kShards = 16;  // far more than cores: callers seldom meet

/// A count that somebody has set to the highest there is stays there.
int64_t Sum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

struct Counter {
  int64_t total = 0;      ///< of all servers, as far as known, without `in_flight`
  int64_t unflushed = 0;  ///< counted since the last batch
  int64_t in_flight = 0;  ///< in the batch on its way
  int64_t untold = 0;     ///< counted since `counted` was told
  int64_t shown = 0;      ///< the highest count that anyone saw, or may see
  absl::Duration used_at;
  absl::Duration learned_at = -absl::InfiniteDuration();

  bool HasNothingToWrite() const { return unflushed == 0 && in_flight == 0; }

  /// Takes over what somebody else has counted.
  void Learn(int64_t known) {
    // While a batch is on its way nobody knows whether `known` holds it already; what its answer
    // says will tell.
    if (in_flight == 0) total = std::max(total, known);
    shown = std::max({shown, known, Sum(total, in_flight + unflushed)});
  }
};

/// Names this run of this server among all others.
std::string RandomName() {
  std::random_device random;
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad8), absl::Hex(random(), absl::kZeroPad8),
                      absl::Hex(random(), absl::kZeroPad8), absl::Hex(random(), absl::kZeroPad8));
}

}  // namespace

struct alignas(64) ViewCounter::Shard {
  mutable std::mutex mutex;
  absl::flat_hash_map<ProductId, Counter> counters;
  std::vector<ProductId> unflushed;  ///< those whose `unflushed` is not 0, unless they are due_
  std::vector<ProductId> untold;     ///< those whose `untold` is not 0
  int64_t dropped = 0;
  int64_t views = 0;

  void Count(ProductId id, Counter& counter, int64_t more) {
    if (counter.unflushed == 0) unflushed.push_back(id);
    if (counter.untold == 0) untold.push_back(id);
    counter.unflushed += more;
    counter.untold += more;
    views += more;
  }
};

ViewCounter::ViewCounter(Options options, Deps deps, Forgotten forgotten, Counted counted)
    : options_(options),
      store_(deps.store),
      totals_(deps.totals),
      clock_(deps.clock),
      forgotten_(std::move(forgotten)),
      counted_(std::move(counted)),
      batch_{.server = RandomName()},
      idle_checked_at_(clock_.Monotonic()),
      learn_again_ns_(absl::ToInt64Nanoseconds(clock_.Monotonic())) {
  for (size_t i = 0; i < kShards; ++i) shards_.push_back(std::make_unique<Shard>());
  flusher_ = std::thread([this] { Run(); });
  pthread_setname_np(flusher_.native_handle(), "view-flusher");
}

ViewCounter::~ViewCounter() { Stop(); }

int64_t ViewCounter::Count(ProductId id, int64_t store_count) {
  const absl::Duration now = clock_.Monotonic();
  Shard& shard = ShardOf(id);
  std::lock_guard lock(shard.mutex);
  const auto found = shard.counters.find(id);
  // More than the bound are kept only while they can't be flushed.
  if (found == shard.counters.end() && shard.counters.size() >= ShardCountersMax()) {
    ++shard.dropped;
    return store_count + 1;
  }
  Counter& counter = found != shard.counters.end() ? found->second : shard.counters[id];
  shard.Count(id, counter, 1);
  counter.used_at = now;
  counter.Learn(store_count);
  return counter.shown;
}

void ViewCounter::Add(const ViewDelta& views) {
  const absl::Duration now = clock_.Monotonic();
  Shard& shard = ShardOf(views.id);
  std::lock_guard lock(shard.mutex);
  const auto found = shard.counters.find(views.id);
  if (found == shard.counters.end() && shard.counters.size() >= ShardCountersMax()) {
    shard.dropped += views.views;
    return;
  }
  Counter& counter = found != shard.counters.end() ? found->second : shard.counters[views.id];
  shard.Count(views.id, counter, views.views);
  counter.used_at = now;
}

absl::StatusOr<std::vector<ProductId>> ViewCounter::Learn(std::span<const ProductId> ids) {
  if (options_.shared_products_max == 0) return std::vector<ProductId>{};
  return LearnAll(NotLearnedLately(ids));
}

void ViewCounter::Begin(std::span<const ViewTotal> totals) {
  if (totals_.Seed(totals).ok()) seeds_ += static_cast<int64_t>(totals.size());
}

absl::Status ViewCounter::Flush() {
  std::lock_guard lock(flush_mutex_);
  const absl::Duration began = clock_.Monotonic();
  TakeUnflushed();
  absl::Status flushed;
  while (flushed.ok() && HasBatch()) flushed = SendBatch();
  counted_(TakeUntold());
  LogChange(flushed);
  if (flushed.ok()) LearnOfOthers(began);
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
    lost_ = CountUnflushed();
    if (lost_ > 0) {
      base::Log(base::Level::kError, "views are lost: they could not be added before the end",
                {{"views", lost_}});
    }
  });
  return lost_;
}

ViewCounter::Stats ViewCounter::stats() const {
  Stats stats{.views = 0,
              .views_dropped = 0,
              .views_flushed = views_flushed_,
              .flushes = flushes_,
              .flush_errors = flush_errors_,
              .seeds = seeds_,
              .learn_errors = learn_errors_,
              .counters = 0,
              .counters_forgotten = counters_forgotten_};
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    stats.views += shard->views;
    stats.views_dropped += shard->dropped;
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

/// Those that come while a flush runs wait for the next one: so each ends.
void ViewCounter::TakeUnflushed() {
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    due_.insert(due_.end(), shard->unflushed.begin(), shard->unflushed.end());
    shard->unflushed.clear();
  }
}

size_t ViewCounter::ShardCountersMax() const {
  constexpr size_t kLeast = 64;
  return std::max(kLeast, 2 * options_.counters_max / kShards);
}

std::vector<ViewDelta> ViewCounter::TakeUntold() {
  std::vector<ViewDelta> untold;
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    for (const ProductId id : shard->untold) {
      const auto counter = shard->counters.find(id);
      if (counter == shard->counters.end()) continue;  // dropped for room
      untold.push_back({.id = id, .views = std::exchange(counter->second.untold, 0)});
    }
    shard->untold.clear();
  }
  return untold;
}

/// Those of which the totals were not read a moment ago.
std::vector<ProductId> ViewCounter::NotLearnedLately(std::span<const ProductId> ids) {
  const absl::Duration now = clock_.Monotonic();
  std::vector<ProductId> unknown;
  for (const ProductId id : ids) {
    Shard& shard = ShardOf(id);
    std::lock_guard lock(shard.mutex);
    const auto counter = shard.counters.find(id);
    if (counter != shard.counters.end() &&
        now - counter->second.learned_at < options_.learned_lately) {
      continue;
    }
    unknown.push_back(id);
  }
  return unknown;
}

/// Makes the next batch when none is on its way. False when there is nothing to send.
bool ViewCounter::HasBatch() {
  if (!batch_.deltas.empty()) return true;
  if (due_.empty()) return false;
  batch_.sequence = ++sequence_;
  while (!due_.empty() && batch_.deltas.size() < options_.flush_products_max) {
    const ProductId id = due_.back();
    due_.pop_back();
    Shard& shard = ShardOf(id);
    std::lock_guard lock(shard.mutex);
    Counter& counter = shard.counters[id];
    counter.in_flight = std::exchange(counter.unflushed, 0);
    batch_.deltas.push_back({.id = id, .views = counter.in_flight});
  }
  return true;
}

absl::Status ViewCounter::SendBatch() {
  const auto is_missing = [](std::optional<int64_t> total) { return !total; };
  auto totals = totals_.Add(batch_);
  if (totals.ok() && std::any_of(totals->begin(), totals->end(), is_missing)) {
    const absl::Status seeded = SeedMissing(*totals);
    totals = seeded.ok() ? totals_.Add(batch_) : seeded;
  }
  if (totals.ok() && std::any_of(totals->begin(), totals->end(), is_missing)) {
    totals = absl::UnavailableError("totals of views are missing again at once");
  }
  if (!totals.ok()) {
    ++flush_errors_;
    return totals.status();
  }
  ++flushes_;
  NoteAdded(*totals);
  return absl::OkStatus();
}

/// Seeds what the totals don't know with the most that the store or this server does. Reads the
/// store once.
absl::Status ViewCounter::SeedMissing(std::span<const std::optional<int64_t>> totals) {
  std::vector<ProductId> missing;
  for (size_t i = 0; i < totals.size(); ++i) {
    if (!totals[i]) missing.push_back(batch_.deltas[i].id);
  }
  ASSIGN_OR_RETURN(const auto products, store_.FindProducts(missing));
  std::vector<ViewTotal> seeds;
  for (size_t i = 0; i < missing.size(); ++i) {
    const ProductId id = missing[i];
    Shard& shard = ShardOf(id);
    std::lock_guard lock(shard.mutex);
    // Not what was shown: that holds views which are yet to be added.
    const int64_t stored = products[i] ? products[i]->view_count : 0;
    seeds.push_back({.id = id, .views = std::max(stored, shard.counters[id].total)});
  }
  seeds_ += static_cast<int64_t>(seeds.size());
  return totals_.Seed(seeds);
}

/// Ends the batch on its way, and learns what all servers have counted.
void ViewCounter::NoteAdded(std::span<const std::optional<int64_t>> totals) {
  const absl::Duration now = clock_.Monotonic();
  std::vector<ViewTotal> behind;
  for (size_t i = 0; i < totals.size(); ++i) {
    const auto [id, views] = batch_.deltas[i];
    Shard& shard = ShardOf(id);
    std::lock_guard lock(shard.mutex);
    Counter& counter = shard.counters[id];
    counter.total = Sum(counter.total, std::exchange(counter.in_flight, 0));
    counter.learned_at = now;
    if (*totals[i] < counter.total) behind.push_back({.id = id, .views = counter.total});
    counter.Learn(*totals[i]);
    views_flushed_ += views;
  }
  batch_.deltas.clear();
  if (behind.empty()) return;
  // Whoever adds up has forgotten something, as a machine does that lost its last second. If this
  // fails, the next batch finds it again.
  seeds_ += static_cast<int64_t>(behind.size());
  totals_.Seed(behind).IgnoreError();
}

/// Learns what others have counted of the products that were used last and not flushed just now.
void ViewCounter::LearnOfOthers(absl::Duration flush_began) {
  if (options_.shared_products_max == 0) return;
  std::vector<std::pair<absl::Duration, ProductId>> used;
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    for (const auto& [id, counter] : shard->counters) {
      if (counter.learned_at < flush_began) used.emplace_back(counter.used_at, id);
    }
  }
  if (used.size() > options_.shared_products_max) {
    const auto end = used.begin() + static_cast<ptrdiff_t>(options_.shared_products_max);
    std::nth_element(used.begin(), end, used.end(), std::greater<>());
    used.erase(end, used.end());
  }
  std::vector<ProductId> ids;
  for (const auto& [used_at, id] : used) ids.push_back(id);
  LearnAll(ids).IgnoreError();  // the next flush asks again
}

absl::StatusOr<std::vector<ProductId>> ViewCounter::LearnAll(std::span<const ProductId> ids) {
  if (absl::ToInt64Nanoseconds(clock_.Monotonic()) < learn_again_ns_) {
    return absl::UnavailableError("the totals of views could not be read a moment ago");
  }
  std::vector<ProductId> missing;
  while (!ids.empty()) {
    const auto part = ids.first(std::min(ids.size(), options_.flush_products_max));
    RETURN_IF_ERROR(LearnPart(part, missing));
    ids = ids.subspan(part.size());
  }
  return missing;
}

absl::Status ViewCounter::LearnPart(std::span<const ProductId> ids,
                                    std::vector<ProductId>& missing) {
  const auto totals = totals_.Find(ids);
  const absl::Duration now = clock_.Monotonic();
  if (!totals.ok()) {
    ++learn_errors_;
    learn_again_ns_ = absl::ToInt64Nanoseconds(now + options_.learn_pause);
    return totals.status();
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!(*totals)[i]) {
      missing.push_back(ids[i]);
      continue;
    }
    Shard& shard = ShardOf(ids[i]);
    std::lock_guard lock(shard.mutex);
    const auto [position, is_new] = shard.counters.try_emplace(ids[i]);
    Counter& counter = position->second;
    if (is_new) counter.used_at = now;
    counter.learned_at = now;
    counter.Learn(*(*totals)[i]);
  }
  return absl::OkStatus();
}

/// What Stop could not add. Of the batch on its way that is not known.
int64_t ViewCounter::CountUnflushed() {
  int64_t views = 0;
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    for (const auto& [id, counter] : shard->counters) {
      views += counter.unflushed + counter.in_flight;
    }
  }
  return views;
}

void ViewCounter::LogChange(const absl::Status& flushed) {
  if (flushed.ok() == !totals_failing_) return;
  totals_failing_ = !flushed.ok();
  if (totals_failing_) {
    base::Log(base::Level::kWarn, "views are kept back: they can't be added to the totals",
              {{"error", flushed}});
    return;
  }
  base::Log(base::Level::kInfo, "views are added to the totals again");
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
