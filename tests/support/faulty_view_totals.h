#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "product/views.h"
#include "support/faults.h"

namespace ecom::tests {

/// Totals of views that count their calls, and fail or wait when told to; of the calls, Add and
/// Find wait. Thread-safe.
class FaultyViewTotals final : public product::ViewTotals, public Faults {
 public:
  explicit FaultyViewTotals(product::ViewTotals& totals) : totals_(totals) {}

  /// The next `count` calls of Add fail; later ones don't.
  void FailAdds(int count) {
    std::lock_guard lock(mutex_);
    failing_adds_ = count;
  }
  /// The next `count` calls of Add are carried out, and answered as if that was not known.
  void LoseAnswersOfAdds(int count) {
    std::lock_guard lock(mutex_);
    lost_answers_ = count;
  }
  /// Waits until there were `count` calls of Add.
  void WaitForAdds(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return static_cast<int>(batches_.size()) >= count; });
  }

  int adds() const { return static_cast<int>(batches().size()); }
  /// What Add was called with.
  std::vector<product::ViewBatch> batches() const { return Locked(batches_); }
  /// Ids in each call of Find.
  std::vector<std::vector<product::ProductId>> finds() const { return Locked(finds_); }

  absl::StatusOr<std::vector<std::optional<int64_t>>> Add(
      const product::ViewBatch& batch) override {
    bool fails = false;
    bool loses_answer = false;
    absl::Status answer = Begin([&] {
      batches_.push_back(batch);
      if (failing_adds_ > 0) {
        fails = true;
        --failing_adds_;
      } else if (lost_answers_ > 0) {
        loses_answer = true;
        --lost_answers_;
      }
    });
    if (fails) return absl::UnavailableError("failed by the test");
    if (!answer.ok()) return answer;
    auto added = totals_.Add(batch);
    WaitWhileHeld();
    if (loses_answer) return absl::UnavailableError("the answer was lost by the test");
    return added;
  }

  absl::StatusOr<std::vector<std::optional<int64_t>>> Find(
      std::span<const product::ProductId> ids) override {
    absl::Status answer = Begin([&] { finds_.emplace_back(ids.begin(), ids.end()); });
    if (!answer.ok()) return answer;
    auto found = totals_.Find(ids);
    WaitWhileHeld();
    return found;
  }

  absl::Status Seed(std::span<const product::ViewTotal> totals) override {
    const absl::Status answer = Begin([] {});
    return answer.ok() ? totals_.Seed(totals) : answer;
  }
  absl::StatusOr<std::vector<product::ViewTotal>> Unstored(int limit) override {
    absl::Status answer = Begin([] {});
    if (!answer.ok()) return answer;
    return totals_.Unstored(limit);
  }
  absl::Status NoteStored(std::span<const product::ViewTotal> totals) override {
    const absl::Status answer = Begin([] {});
    return answer.ok() ? totals_.NoteStored(totals) : answer;
  }

 private:
  product::ViewTotals& totals_;
  int failing_adds_ = 0;
  int lost_answers_ = 0;
  std::vector<product::ViewBatch> batches_;
  std::vector<std::vector<product::ProductId>> finds_;
};

}  // namespace ecom::tests
