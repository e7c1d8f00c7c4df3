#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace ecom::base {

/// Counts calls of one kind: how many began, how they ended, and how long they took. A call costs
/// three relaxed additions, no lock, no memory. Thread-safe.
class CallStats {
 public:
  /// From what a call in memory takes to what nobody waits for any more.
  static constexpr std::array kBounds = {
      absl::Microseconds(100), absl::Microseconds(250),  absl::Microseconds(500),
      absl::Milliseconds(1),   absl::Microseconds(2500), absl::Milliseconds(5),
      absl::Milliseconds(10),  absl::Milliseconds(25),   absl::Milliseconds(50),
      absl::Milliseconds(100), absl::Milliseconds(250),  absl::Milliseconds(500),
      absl::Seconds(1)};
  /// absl::StatusCode, and gRPC's: the same numbers, 0 to 16.
  static constexpr size_t kCodes = 17;

  /// What was counted since the start.
  struct Snapshot {
    int64_t started = 0;
    /// Calls that ended, by code.
    std::array<int64_t, kCodes> by_code{};
    /// The same by how long they took: in each bucket those that no smaller one took, the last for
    /// all above kBounds; and the sum.
    std::array<int64_t, kBounds.size() + 1> by_duration{};
    absl::Duration total;

    Snapshot& operator+=(const Snapshot& other) {
      started += other.started;
      for (size_t i = 0; i < by_code.size(); ++i) by_code[i] += other.by_code[i];
      for (size_t i = 0; i < by_duration.size(); ++i) by_duration[i] += other.by_duration[i];
      total += other.total;
      return *this;
    }
  };

  void Started() { started_.fetch_add(1, std::memory_order_relaxed); }

  /// `code` is one of absl::StatusCode or of gRPC.
  void Ended(int code, absl::Duration took) {
    const auto known = static_cast<size_t>(code) < kCodes ? static_cast<size_t>(code) : kUnknown;
    const auto bucket = std::find_if(kBounds.begin(), kBounds.end(),
                                     [&](absl::Duration bound) { return took <= bound; });
    ended_[known][static_cast<size_t>(bucket - kBounds.begin())].fetch_add(
        1, std::memory_order_relaxed);
    total_ns_.fetch_add(absl::ToInt64Nanoseconds(took), std::memory_order_relaxed);
  }

  /// Each number for itself: calls that end meanwhile may be in one and not yet in another.
  Snapshot snapshot() const {
    Snapshot result;
    for (size_t code = 0; code < ended_.size(); ++code) {
      for (size_t bucket = 0; bucket < ended_[code].size(); ++bucket) {
        const int64_t calls = ended_[code][bucket].load(std::memory_order_relaxed);
        result.by_code[code] += calls;
        result.by_duration[bucket] += calls;
      }
    }
    result.total = absl::Nanoseconds(total_ns_.load(std::memory_order_relaxed));
    result.started = started_.load(std::memory_order_relaxed);
    return result;
  }

 private:
  static constexpr auto kUnknown = static_cast<size_t>(absl::StatusCode::kUnknown);

  std::atomic<int64_t> started_{0};
  // By code and duration at once: so one addition counts both.
  std::array<std::array<std::atomic<int64_t>, kBounds.size() + 1>, kCodes> ended_{};
  std::atomic<int64_t> total_ns_{0};
};

inline int CodeOf(const absl::Status& status) { return status.raw_code(); }
template <typename T>
int CodeOf(const absl::StatusOr<T>& result) {
  return result.status().raw_code();
}

/// Makes `call`, which returns a Status or a StatusOr, and counts it.
template <typename Call>
auto Counted(CallStats& stats, Call&& call) {
  stats.Started();
  const absl::Time began = MonotonicNow();
  auto result = call();
  stats.Ended(CodeOf(result), MonotonicNow() - began);
  return result;
}

}  // namespace ecom::base
