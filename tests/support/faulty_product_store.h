#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "product/store.h"

namespace ecom::tests {

/// A product store that counts its calls, and fails or waits when told to. Thread-safe.
class FaultyProductStore final : public product::ProductStore {
 public:
  explicit FaultyProductStore(product::ProductStore& store) : store_(store) {}

  /// Every later call is answered with `answer`, and not carried out, unless that is OK.
  void AnswerWith(absl::Status answer) {
    std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }
  /// The next `count` calls of RaiseViews fail; later ones don't.
  void FailRaises(int count) {
    std::lock_guard lock(mutex_);
    failing_raises_ = count;
  }
  /// Calls are carried out, and wait before they return, from now until Release.
  void Hold() {
    std::lock_guard lock(mutex_);
    held_ = true;
  }
  void Release() {
    {
      std::lock_guard lock(mutex_);
      held_ = false;
    }
    changed_.notify_all();
  }
  /// Waits until a call is held.
  void WaitUntilOneIsHeld() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return held_calls_ > 0; });
  }
  /// Waits until there were `count` calls of RaiseViews.
  void WaitForRaises(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return raise_calls_ >= count; });
  }

  int find_calls() const { return Locked(find_calls_); }
  int list_calls() const { return Locked(list_calls_); }
  int raise_calls() const { return Locked(raise_calls_); }
  /// Ids in all calls of FindProducts.
  int64_t ids_asked() const { return Locked(ids_asked_); }

  absl::StatusOr<std::vector<std::optional<product::Product>>> FindProducts(
      std::span<const product::ProductId> ids) override {
    absl::Status answer = Begin([&] {
      ++find_calls_;
      ids_asked_ += static_cast<int64_t>(ids.size());
    });
    if (!answer.ok()) return answer;
    auto products = store_.FindProducts(ids);
    WaitWhileHeld();
    return products;
  }

  absl::StatusOr<std::vector<product::Product>> ListProducts(
      const product::ListQuery& query) override {
    absl::Status answer = Begin([&] { ++list_calls_; });
    if (!answer.ok()) return answer;
    auto products = store_.ListProducts(query);
    WaitWhileHeld();
    return products;
  }

  absl::StatusOr<product::Product> UpdateProduct(product::ProductId id,
                                                 const product::ProductPatch& patch) override {
    absl::Status answer = Begin([] {});
    if (!answer.ok()) return answer;
    return store_.UpdateProduct(id, patch);
  }

  absl::Status RaiseViews(std::span<const product::ViewTotal> totals) override {
    bool fails = false;
    absl::Status answer = Begin([&] {
      ++raise_calls_;
      fails = failing_raises_ > 0;
      if (fails) --failing_raises_;
    });
    if (fails) return absl::UnavailableError("failed by the test");
    if (!answer.ok()) return answer;
    return store_.RaiseViews(totals);
  }

 private:
  template <typename Change>
  absl::Status Begin(Change change) {
    absl::Status answer;
    {
      std::lock_guard lock(mutex_);
      change();
      answer = answer_;
    }
    changed_.notify_all();
    return answer;
  }

  void WaitWhileHeld() {
    std::unique_lock lock(mutex_);
    ++held_calls_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !held_; });
    --held_calls_;
  }

  template <typename Value>
  Value Locked(const Value& value) const {
    std::lock_guard lock(mutex_);
    return value;
  }

  product::ProductStore& store_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  absl::Status answer_;
  bool held_ = false;
  int held_calls_ = 0;
  int failing_raises_ = 0;
  int find_calls_ = 0;
  int list_calls_ = 0;
  int raise_calls_ = 0;
  int64_t ids_asked_ = 0;
};

}  // namespace ecom::tests
