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
#include "product/views.h"

namespace ecom::tests {

/// Totals of views that count their calls, and fail or wait when told to. Thread-safe.
class FaultyViewTotals final : public product::ViewTotals {
 public:
  explicit FaultyViewTotals(product::ViewTotals& totals) : totals_(totals) {}

  /// Every later call is answered with `answer`, and not carried out, unless that is OK.
  void AnswerWith(absl::Status answer) {
    std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }
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
  /// Calls of Add and Find are carried out, and wait before they return, from now until Release.
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
  /// Waits until there were `count` calls of Add.
  void WaitForAdds(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return static_cast<int>(batches_.size()) >= count; });
  }

  int adds() const { return static_cast<int>(batches().size()); }
  /// What Add was called with.
  std::vector<product::ViewBatch> batches() const {
    std::lock_guard lock(mutex_);
    return batches_;
  }
  /// Ids in each call of Find.
  std::vector<std::vector<product::ProductId>> finds() const {
    std::lock_guard lock(mutex_);
    return finds_;
  }

  absl::StatusOr<std::vector<std::optional<int64_t>>> Add(
      const product::ViewBatch& batch) override {
    bool fails = false;
    bool loses_answer = false;
    absl::Status answer;
    {
      std::lock_guard lock(mutex_);
      batches_.push_back(batch);
      answer = answer_;
      if (failing_adds_ > 0) {
        fails = true;
        --failing_adds_;
      } else if (lost_answers_ > 0) {
        loses_answer = true;
        --lost_answers_;
      }
    }
    changed_.notify_all();
    if (fails) return absl::UnavailableError("failed by the test");
    if (!answer.ok()) return answer;
    auto added = totals_.Add(batch);
    WaitWhileHeld();
    if (loses_answer) return absl::UnavailableError("the answer was lost by the test");
    return added;
  }

  absl::StatusOr<std::vector<std::optional<int64_t>>> Find(
      std::span<const product::ProductId> ids) override {
    absl::Status answer;
    {
      std::lock_guard lock(mutex_);
      finds_.emplace_back(ids.begin(), ids.end());
      answer = answer_;
    }
    if (!answer.ok()) return answer;
    auto found = totals_.Find(ids);
    WaitWhileHeld();
    return found;
  }

  absl::Status Seed(std::span<const product::ViewTotal> totals) override {
    const absl::Status answer = Answer();
    return answer.ok() ? totals_.Seed(totals) : answer;
  }
  absl::StatusOr<std::vector<product::ViewTotal>> Unstored(int limit) override {
    absl::Status answer = Answer();
    if (!answer.ok()) return answer;
    return totals_.Unstored(limit);
  }
  absl::Status NoteStored(std::span<const product::ViewTotal> totals) override {
    const absl::Status answer = Answer();
    return answer.ok() ? totals_.NoteStored(totals) : answer;
  }

 private:
  absl::Status Answer() const {
    std::lock_guard lock(mutex_);
    return answer_;
  }

  void WaitWhileHeld() {
    std::unique_lock lock(mutex_);
    ++held_calls_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !held_; });
    --held_calls_;
  }

  product::ViewTotals& totals_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  absl::Status answer_;
  bool held_ = false;
  int held_calls_ = 0;
  int failing_adds_ = 0;
  int lost_answers_ = 0;
  std::vector<product::ViewBatch> batches_;
  std::vector<std::vector<product::ProductId>> finds_;
};

}  // namespace ecom::tests
