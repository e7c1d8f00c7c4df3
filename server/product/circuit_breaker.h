#pragma once

#include <mutex>

#include "absl/random/random.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace ecom::product {

/// Says when not to ask something that fails anyway. Opens after some failures in a row; then lets
/// one caller at a time try, after a pause that doubles with each failure, and closes when that
/// succeeds. Thread-safe; each call costs one short lock and never does I/O.
class CircuitBreaker {
 public:
  /// The numbers are what metrics show.
  enum class State {
    kClosed = 0,    ///< everybody may ask
    kHalfOpen = 1,  ///< one caller is trying
    kOpen = 2,      ///< nobody may
  };

  struct Options {
    /// Failures in a row that open it: fewer would take one lost packet for an outage, and each one
    /// costs its callers a timeout.
    int failures_max = 3;
    /// The pause before the first try. Short, as most outages are a restart.
    absl::Duration backoff_min = absl::Milliseconds(100);
    /// The longest pause: so late at most it is noticed that all is well again.
    absl::Duration backoff_max = absl::Seconds(5);
    /// Each pause is longer or shorter by up to this share, at random, so that not all servers try
    /// at once.
    double jitter = 0.2;
  };

  /// `clock` must outlive the breaker.
  CircuitBreaker(Options options, const base::Clock& clock);

  /// Whether to ask now. Whoever gets true says afterwards how it went, by Succeeded or Failed:
  /// until then, a half-open breaker lets nobody else try.
  bool Allow();
  void Succeeded();
  void Failed();

  State state() const;

 private:
  void Open(absl::Duration backoff);

  const Options options_;
  const base::Clock& clock_;
  mutable std::mutex mutex_;
  absl::InsecureBitGen random_;
  State state_ = State::kClosed;
  int failures_ = 0;         ///< in a row, while closed
  absl::Duration backoff_;   ///< of the pause under way
  absl::Duration retry_at_;  ///< of Clock::Monotonic, while open
};

}  // namespace ecom::product
