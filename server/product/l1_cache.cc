#include "product/l1_cache.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"

namespace ecom::product {
namespace {

/// A kept product, linked into its shard's queue.
struct Entry {
  std::shared_ptr<const Product> product;
  absl::Duration read_at;
  absl::Duration refresh_at;
  absl::Duration asked_at;
  size_t bytes = 0;
  bool visited = false;
  bool pinned = false;  ///< then in no queue
  Entry* newer = nullptr;
  Entry* older = nullptr;
};

/// Map slot, allocator and shared_ptr overhead of an entry; an estimate.
constexpr size_t kOverheadBytes = 80;

size_t BytesOf(const Product& product) {
  return sizeof(Entry) + sizeof(Product) + product.name.capacity() + kOverheadBytes;
}

/// The order in which SIEVE looks for a victim: from the oldest entry to the newest and round
/// again. Does not own the entries.
class SieveQueue {
 public:
  void Insert(Entry& entry) {
    entry.older = newest_;
    if (newest_ != nullptr) newest_->newer = &entry;
    newest_ = &entry;
    if (oldest_ == nullptr) oldest_ = &entry;
  }

  void Remove(Entry& entry) {
    if (hand_ == &entry) hand_ = entry.newer;
    (entry.newer != nullptr ? entry.newer->older : newest_) = entry.older;
    (entry.older != nullptr ? entry.older->newer : oldest_) = entry.newer;
    entry.newer = entry.older = nullptr;
  }

  /// The next entry to evict, still in the queue; null when the queue is empty. Each visited
  /// entry that the hand passes loses its mark, so at most two rounds.
  Entry* Victim() {
    if (oldest_ == nullptr) return nullptr;
    if (hand_ == nullptr) hand_ = oldest_;
    while (hand_->visited) {
      hand_->visited = false;
      hand_ = hand_->newer != nullptr ? hand_->newer : oldest_;
    }
    return hand_;
  }

 private:
  Entry* newest_ = nullptr;
  Entry* oldest_ = nullptr;
  Entry* hand_ = nullptr;
};

/// Ids that do not exist, in the order in which they expire.
class NegativeEntries {
 public:
  explicit NegativeEntries(size_t entries_max) : entries_max_(entries_max) {}

  bool Contains(ProductId id, absl::Duration now) const {
    const auto position = expires_at_.find(id);
    return position != expires_at_.end() && now < position->second;
  }

  void Insert(ProductId id, absl::Duration expires_at, absl::Duration now) {
    while (!queue_.empty() && (queue_.size() >= entries_max_ || queue_.front().expires_at <= now)) {
      const Queued oldest = queue_.front();
      queue_.pop_front();
      const auto position = expires_at_.find(oldest.id);
      // An id that was erased, or inserted again, has another place in the queue, or none.
      if (position != expires_at_.end() && position->second == oldest.expires_at) {
        expires_at_.erase(position);
      }
    }
    absl::Duration& kept = expires_at_[id];
    if (expires_at <= kept) return;
    kept = expires_at;
    queue_.push_back({id, expires_at});
  }

  void Erase(ProductId id) { expires_at_.erase(id); }

  void Clear() {
    expires_at_.clear();
    queue_.clear();
  }

  size_t size() const { return expires_at_.size(); }

 private:
  struct Queued {
    ProductId id;
    absl::Duration expires_at;
  };

  const size_t entries_max_;
  absl::flat_hash_map<ProductId, absl::Duration> expires_at_;
  std::deque<Queued> queue_;
};

}  // namespace

/// Its share of the cache, under one lock. On a cache line of its own, so that neighbours'
/// locks don't slow each other down.
class alignas(64) L1Cache::Shard {
 public:
  Shard(const Options& options, size_t shards)
      : options_(options),
        entries_max_(std::max<size_t>(1, options.entries_max / shards)),
        bytes_max_(options.bytes_max / shards),
        negative_(std::max<size_t>(1, options.negative_entries_max / shards)) {}

  Found Find(ProductId id, absl::Duration now) {
    std::lock_guard lock(mutex_);
    const auto position = entries_.find(id);
    if (position == entries_.end()) {
      return {.state = negative_.Contains(id, now) ? State::kNegative : State::kMiss};
    }
    Entry& entry = *position->second;
    const absl::Duration age = now - entry.read_at;
    if (age >= options_.hard_ttl) {
      Remove(entry);
      return {};
    }
    entry.visited = true;
    entry.asked_at = now;
    Found found{.state = State::kFresh, .refresh = false, .product = entry.product};
    if (age >= options_.soft_ttl) {
      found.state = State::kExpired;
    } else if (age >= options_.refresh_after()) {
      found.state = State::kStale;
      found.refresh = now >= entry.refresh_at;
      if (found.refresh) entry.refresh_at = now + options_.refresh_retry;
    }
    return found;
  }

  void Put(std::shared_ptr<const Product> product, absl::Duration read_at) {
    const ProductId id = product->id;
    const size_t bytes = BytesOf(*product);
    std::lock_guard lock(mutex_);
    bool visited = false;
    absl::Duration asked_at = read_at;
    if (const auto position = entries_.find(id); position != entries_.end()) {
      const Entry& kept = *position->second;
      if (kept.product->version > product->version) return;
      if (kept.product->version == product->version && kept.read_at > read_at) return;
      visited = kept.visited;
      asked_at = kept.asked_at;
      // Replaced in place: a refresh must not make an entry look new to the hand.
      if (bytes == position->second->bytes) {
        Renew(*position->second, std::move(product), read_at);
        return;
      }
      Remove(*position->second);
    }
    negative_.Erase(id);
    if (bytes > bytes_max_) return;
    while (entries_.size() >= entries_max_ || bytes_ + bytes > bytes_max_) {
      Entry* victim = queue_.Victim();
      if (victim == nullptr) return;
      Remove(*victim);
      ++evictions_;
    }
    auto entry = std::make_unique<Entry>();
    entry->bytes = bytes;
    entry->visited = visited;
    entry->asked_at = asked_at;
    Renew(*entry, std::move(product), read_at);
    bytes_ += bytes;
    Enqueue(*entry, pinned_.contains(id));
    entries_.emplace(id, std::move(entry));
  }

  void PutNegative(ProductId id, absl::Duration read_at, absl::Duration now) {
    std::lock_guard lock(mutex_);
    if (const auto position = entries_.find(id); position != entries_.end()) {
      if (position->second->read_at > read_at) return;
      Remove(*position->second);
    }
    const absl::Duration expires_at = read_at + options_.negative_ttl;
    if (expires_at > now) negative_.Insert(id, expires_at, now);
  }

  void Erase(ProductId id) {
    std::lock_guard lock(mutex_);
    if (const auto position = entries_.find(id); position != entries_.end()) {
      Remove(*position->second);
    }
    negative_.Erase(id);
  }

  bool EraseOlder(const ProductVersion& change) {
    std::lock_guard lock(mutex_);
    negative_.Erase(change.id);
    const auto position = entries_.find(change.id);
    if (position == entries_.end()) return false;
    if (position->second->product->version >= change.version) return false;
    Remove(*position->second);
    return true;
  }

  void Clear() {
    std::lock_guard lock(mutex_);
    while (!entries_.empty()) Remove(*entries_.begin()->second);
    negative_.Clear();
  }

  void Pin(absl::flat_hash_set<ProductId> ids) {
    std::lock_guard lock(mutex_);
    for (const ProductId id : pinned_) {
      if (!ids.contains(id)) SetPinned(id, false);
    }
    pinned_ = std::move(ids);
    for (const ProductId id : pinned_) SetPinned(id, true);
  }

  /// How many may be pinned, so that most of the room is left for the others.
  size_t pinned_max() const { return entries_max_ / 4; }

  void TakePinnedDue(absl::Duration now, std::vector<ProductId>& due) {
    std::lock_guard lock(mutex_);
    for (const ProductId id : pinned_) {
      const auto position = entries_.find(id);
      if (position == entries_.end()) continue;
      TakeIfDue(*position->second, now, due);
    }
  }

  void TakeAskedDue(absl::Duration now, size_t ids_max, std::vector<ProductId>& due) {
    std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) {
      if (due.size() >= ids_max) return;
      if (now - entry->asked_at < options_.asked_lately) TakeIfDue(*entry, now, due);
    }
  }

  void AddTo(Usage& usage) const {
    std::lock_guard lock(mutex_);
    usage.entries += entries_.size();
    usage.negative_entries += negative_.size();
    usage.bytes += bytes_;
    usage.pinned += entries_.size() - queued_;
    usage.evictions += evictions_;
  }

 private:
  void TakeIfDue(Entry& entry, absl::Duration now, std::vector<ProductId>& due) {
    if (now < entry.refresh_at) return;
    entry.refresh_at = now + options_.refresh_retry;
    due.push_back(entry.product->id);
  }

  void Renew(Entry& entry, std::shared_ptr<const Product> product, absl::Duration read_at) {
    entry.product = std::move(product);
    entry.read_at = read_at;
    entry.refresh_at = read_at + options_.refresh_after();
  }

  void Enqueue(Entry& entry, bool pinned) {
    entry.pinned = pinned;
    if (pinned) return;
    queue_.Insert(entry);
    ++queued_;
  }

  void Dequeue(Entry& entry) {
    if (entry.pinned) return;
    queue_.Remove(entry);
    --queued_;
  }

  void SetPinned(ProductId id, bool pinned) {
    const auto position = entries_.find(id);
    if (position == entries_.end() || position->second->pinned == pinned) return;
    Dequeue(*position->second);
    Enqueue(*position->second, pinned);
  }

  /// Drops the entry; frees it.
  void Remove(Entry& entry) {
    Dequeue(entry);
    bytes_ -= entry.bytes;
    entries_.erase(ProductId{entry.product->id});  // by a copy: the entry ends with its place
  }

  const Options& options_;
  const size_t entries_max_;
  const size_t bytes_max_;
  mutable std::mutex mutex_;
  absl::flat_hash_map<ProductId, std::unique_ptr<Entry>> entries_;
  absl::flat_hash_set<ProductId> pinned_;  // those that are to be, kept or not
  SieveQueue queue_;
  size_t queued_ = 0;
  NegativeEntries negative_;
  size_t bytes_ = 0;
  int64_t evictions_ = 0;
};

L1Cache::L1Cache(Options options, const base::Clock& clock) : options_(options), clock_(clock) {
  const size_t shards = std::max<size_t>(1, options_.shards);
  for (size_t i = 0; i < shards; ++i) shards_.push_back(std::make_unique<Shard>(options_, shards));
}

L1Cache::~L1Cache() = default;

L1Cache::Found L1Cache::Find(ProductId id) { return ShardOf(id).Find(id, clock_.Monotonic()); }

void L1Cache::Put(std::shared_ptr<const Product> product, absl::Duration read_at) {
  Shard& shard = ShardOf(product->id);
  shard.Put(std::move(product), read_at);
}

void L1Cache::PutNegative(ProductId id, absl::Duration read_at) {
  ShardOf(id).PutNegative(id, read_at, clock_.Monotonic());
}

void L1Cache::Erase(ProductId id) { ShardOf(id).Erase(id); }

bool L1Cache::EraseOlder(const ProductVersion& change) {
  return ShardOf(change.id).EraseOlder(change);
}

void L1Cache::Clear() {
  for (const auto& shard : shards_) shard->Clear();
}

void L1Cache::Pin(std::span<const ProductId> ids) {
  absl::flat_hash_map<const Shard*, absl::flat_hash_set<ProductId>> shares;
  for (const ProductId id : ids) {
    const Shard& shard = ShardOf(id);
    auto& share = shares[&shard];
    if (share.size() < shard.pinned_max()) share.insert(id);
  }
  for (const auto& shard : shards_) shard->Pin(std::move(shares[shard.get()]));
}

std::vector<ProductId> L1Cache::TakeDue(size_t ids_max) {
  std::vector<ProductId> due;
  const absl::Duration now = clock_.Monotonic();
  for (const auto& shard : shards_) shard->TakePinnedDue(now, due);
  for (size_t i = 0; i < shards_.size() && due.size() < ids_max; ++i) {
    shards_[next_due_++ % shards_.size()]->TakeAskedDue(now, ids_max, due);
  }
  return due;
}

L1Cache::Usage L1Cache::usage() const {
  Usage usage;
  for (const auto& shard : shards_) shard->AddTo(usage);
  return usage;
}

L1Cache::Shard& L1Cache::ShardOf(ProductId id) const {
  // The upper half: a shard's map takes the lower bits, which must differ within the shard.
  return *shards_[(absl::HashOf(id) >> 32) % shards_.size()];
}

}  // namespace ecom::product
