#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "product/store.h"
#include "support/faults.h"

namespace ecom::tests {

/// A product store that counts its calls, and fails or waits when told to. Thread-safe.
class FaultyProductStore final : public product::ProductStore, public Faults {
 public:
  explicit FaultyProductStore(product::ProductStore& store) : store_(store) {}

  /// The next `count` calls of RaiseViews fail; later ones don't.
  void FailRaises(int count) {
    std::lock_guard lock(mutex_);
    failing_raises_ = count;
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
  product::ProductStore& store_;
  int failing_raises_ = 0;
  int find_calls_ = 0;
  int list_calls_ = 0;
  int raise_calls_ = 0;
  int64_t ids_asked_ = 0;
};

}  // namespace ecom::tests
