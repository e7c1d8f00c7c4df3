#pragma once

#include <condition_variable>
#include <mutex>
#include <utility>

#include "absl/status/status.h"

namespace ecom::tests {

/// What the faulty fakes have in common: they fail or wait when told to. Thread-safe.
class Faults {
 public:
  /// Every later call is answered with `answer`, and not carried out, unless that is OK.
  void AnswerWith(absl::Status answer) {
    std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
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

 protected:
  /// Begins a call: runs `change` under the lock, and returns how it is answered.
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

  mutable std::mutex mutex_;  // also of what a fake counts
  std::condition_variable changed_;

 private:
  absl::Status answer_;
  bool held_ = false;
  int held_calls_ = 0;
};

}  // namespace ecom::tests
