#pragma once

#include "absl/time/time.h"

namespace ecom::base {

/// Tells the time. Thread-safe; never blocks.
class Clock {
 public:
  virtual ~Clock() = default;

  /// The wall clock, UTC: for what is stored and shown. May jump.
  virtual absl::Time Now() const = 0;

  /// Time since some fixed point, for durations and deadlines: never jumps, and goes on while
  /// the machine is suspended (CLOCK_BOOTTIME).
  virtual absl::Duration Monotonic() const = 0;
};

/// The machine's clocks.
class SystemClock final : public Clock {
 public:
  absl::Time Now() const override;
  absl::Duration Monotonic() const override;
};

/// CLOCK_MONOTONIC as an absl::Time, so that deadlines read well. No wall clock: that may jump.
absl::Time MonotonicNow();

}  // namespace ecom::base
