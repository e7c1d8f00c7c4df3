#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "product/views.h"

namespace ecom::tests {

/// Totals that are ahead of the store, in memory: the contract's suite holds them to what Redis
/// does. Thread-safe.
class MemoryViewTotals final : public product::ViewTotals {
 public:
  absl::StatusOr<std::vector<std::optional<int64_t>>> Add(
      const product::ViewBatch& batch) override {
    std::lock_guard lock(mutex_);
    auto totals = Read(batch.deltas);
    const bool complete = std::count(totals.begin(), totals.end(), std::nullopt) == 0;
    if (!complete || batch.sequence <= sequences_[batch.server]) return totals;
    bool adds = false;
    for (const product::ViewDelta& delta : batch.deltas) {
      if (delta.views == 0) continue;
      adds = true;
      int64_t& total = totals_[delta.id];
      total += std::min(delta.views, std::numeric_limits<int64_t>::max() - total);
      Wait(delta.id);
    }
    if (adds) sequences_[batch.server] = batch.sequence;
    return Read(batch.deltas);
  }

  absl::StatusOr<std::vector<std::optional<int64_t>>> Find(
      std::span<const product::ProductId> ids) override {
    std::lock_guard lock(mutex_);
    std::vector<std::optional<int64_t>> totals;
    for (const product::ProductId id : ids) totals.push_back(Read(id));
    return totals;
  }

  absl::Status Seed(std::span<const product::ViewTotal> totals) override {
    std::lock_guard lock(mutex_);
    for (const product::ViewTotal& total : totals) {
      if (const auto known = Read(total.id); known && *known >= total.views) continue;
      totals_[total.id] = total.views;
      Wait(total.id);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<product::ViewTotal>> Unstored(int limit) override {
    std::lock_guard lock(mutex_);
    std::vector<product::ViewTotal> unstored;
    for (const product::ProductId id : unstored_) {
      if (static_cast<int>(unstored.size()) >= limit) break;
      unstored.push_back({.id = id, .views = totals_[id]});
    }
    return unstored;
  }

  absl::Status NoteStored(std::span<const product::ViewTotal> totals) override {
    std::lock_guard lock(mutex_);
    for (const product::ViewTotal& total : totals) {
      if (std::erase(unstored_, total.id) == 0) continue;
      if (Read(total.id) != total.views) unstored_.push_back(total.id);
    }
    return absl::OkStatus();
  }

  /// Loses its memory, as a Redis does that was emptied.
  void Forget() {
    std::lock_guard lock(mutex_);
    totals_.clear();
    unstored_.clear();
    sequences_.clear();
  }
  /// Loses what was added to one product lately, as a machine does that was cut off.
  void SetBack(product::ProductId id, int64_t total) {
    std::lock_guard lock(mutex_);
    totals_[id] = total;
  }

 private:
  std::optional<int64_t> Read(product::ProductId id) const {
    const auto total = totals_.find(id);
    return total == totals_.end() ? std::nullopt : std::optional(total->second);
  }
  std::vector<std::optional<int64_t>> Read(std::span<const product::ViewDelta> deltas) const {
    std::vector<std::optional<int64_t>> totals;
    for (const product::ViewDelta& delta : deltas) totals.push_back(Read(delta.id));
    return totals;
  }
  void Wait(product::ProductId id) {
    if (std::find(unstored_.begin(), unstored_.end(), id) == unstored_.end()) {
      unstored_.push_back(id);
    }
  }

  std::mutex mutex_;
  std::map<product::ProductId, int64_t> totals_;
  std::deque<product::ProductId> unstored_;  // the longest waiting first
  std::map<std::string, int64_t> sequences_;
};

}  // namespace ecom::tests
