#pragma once

#include <mutex>

#include "absl/time/time.h"
#include "base/clock.h"

namespace ecom::tests {

/// A clock that stands still until it is told to go on. Thread-safe.
class FakeClock final : public base::Clock {
 public:
  absl::Time Now() const override {
    std::lock_guard lock(mutex_);
    return now_;
  }
  absl::Duration Monotonic() const override {
    std::lock_guard lock(mutex_);
    return monotonic_;
  }

  /// Lets time pass, on both clocks.
  void Advance(absl::Duration duration) {
    std::lock_guard lock(mutex_);
    now_ += duration;
    monotonic_ += duration;
  }

 private:
  mutable std::mutex mutex_;
  absl::Time now_ = absl::FromUnixSeconds(1766653343);  // 2025-12-25 18:02:23 in Seoul
  absl::Duration monotonic_ = absl::Hours(1);
};

}  // namespace ecom::tests
