#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "product/cache.h"

namespace ecom::tests {

/// A product cache in memory, which passes the suite of its port; it counts its calls, and fails or
/// forgets when told to. Thread-safe.
class FakeProductCache final : public product::ProductCache {
 public:
  /// Every later call is answered with `answer`, and not carried out, unless that is OK.
  void AnswerWith(absl::Status answer) {
    std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }
  /// Called at the beginning of each call, without a lock.
  void OnCall(std::function<void()> callback) {
    std::lock_guard lock(mutex_);
    on_call_ = std::move(callback);
  }
  void ForgetAll() {
    std::lock_guard lock(mutex_);
    entries_.clear();
  }

  int find_calls() const { return Locked(find_calls_); }
  int put_calls() const { return Locked(put_calls_); }
  /// Products that are there; tombstones don't count.
  int64_t size() const {
    std::lock_guard lock(mutex_);
    return std::count_if(entries_.begin(), entries_.end(),
                         [](const auto& entry) { return entry.second.product.has_value(); });
  }

  absl::StatusOr<std::vector<std::optional<product::Product>>> Find(
      std::span<const product::ProductId> ids) override {
    if (absl::Status answer = Begin(find_calls_); !answer.ok()) return answer;
    std::lock_guard lock(mutex_);
    std::vector<std::optional<product::Product>> products;
    for (const product::ProductId id : ids) {
      const auto entry = entries_.find(id);
      products.push_back(entry == entries_.end() ? std::nullopt : entry->second.product);
    }
    return products;
  }

  absl::Status Put(std::span<const product::Product> products) override {
    if (absl::Status answer = Begin(put_calls_); !answer.ok()) return answer;
    std::lock_guard lock(mutex_);
    for (const product::Product& product : products) {
      Entry& entry = entries_[product.id];
      if (product.version >= entry.version) {
        entry = {.version = product.version, .product = product};
      }
    }
    return absl::OkStatus();
  }

  absl::Status Drop(const product::ProductVersion& change) override {
    if (absl::Status answer = Begin(drop_calls_); !answer.ok()) return answer;
    std::lock_guard lock(mutex_);
    Entry& entry = entries_[change.id];
    if (entry.version < change.version) entry = {.version = change.version};
    return absl::OkStatus();
  }

  absl::Status Forget(std::span<const product::ProductId> ids) override {
    if (absl::Status answer = Begin(forget_calls_); !answer.ok()) return answer;
    std::lock_guard lock(mutex_);
    for (const product::ProductId id : ids) entries_.erase(id);
    return absl::OkStatus();
  }

 private:
  /// Without a product: a tombstone.
  struct Entry {
    int64_t version = -1;
    std::optional<product::Product> product;
  };

  absl::Status Begin(int& calls) {
    std::function<void()> on_call;
    absl::Status answer;
    {
      std::lock_guard lock(mutex_);
      ++calls;
      on_call = on_call_;
      answer = answer_;
    }
    if (on_call) on_call();
    return answer;
  }

  template <typename Value>
  Value Locked(const Value& value) const {
    std::lock_guard lock(mutex_);
    return value;
  }

  mutable std::mutex mutex_;
  absl::flat_hash_map<product::ProductId, Entry> entries_;
  absl::Status answer_;
  std::function<void()> on_call_;
  int find_calls_ = 0;
  int put_calls_ = 0;
  int drop_calls_ = 0;
  int forget_calls_ = 0;
};

}  // namespace ecom::tests
