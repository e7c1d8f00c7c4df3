#pragma once

#include <atomic>
#include <cstdint>

namespace ecom::base {

/// What a test has put behind the failpoints; nullptr in every program that is not a test's, where
/// a failpoint costs one relaxed load. Called on the thread that reaches the point.
inline std::atomic<void (*)(const char* name, int64_t items)> failpoint_hook{nullptr};

/// Marks a moment between two steps at which a crash or a stall has to be survived, so that a test
/// can cause one exactly there. `items` says how many of them take this step together. Thread-safe.
inline void Failpoint(const char* name, int64_t items = 1) {
  if (auto* const hook = failpoint_hook.load(std::memory_order_relaxed)) hook(name, items);
}

}  // namespace ecom::base
