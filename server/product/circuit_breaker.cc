#include "product/circuit_breaker.h"

#include <algorithm>

namespace ecom::product {

CircuitBreaker::CircuitBreaker(Options options, const base::Clock& clock)
    : options_(options), clock_(clock) {}

bool CircuitBreaker::Allow() {
  std::lock_guard lock(mutex_);
  if (state_ == State::kClosed) return true;
  if (state_ == State::kHalfOpen || clock_.Monotonic() < retry_at_) return false;
  state_ = State::kHalfOpen;
  return true;
}

void CircuitBreaker::Succeeded() {
  std::lock_guard lock(mutex_);
  if (state_ == State::kOpen) return;  // was asked before it opened
  state_ = State::kClosed;
  failures_ = 0;
}

void CircuitBreaker::Failed() {
  std::lock_guard lock(mutex_);
  switch (state_) {
    case State::kClosed:
      if (++failures_ >= options_.failures_max) Open(options_.backoff_min);
      return;
    case State::kHalfOpen: Open(backoff_ * 2); return;
    case State::kOpen: return;  // was asked before it opened
  }
}

CircuitBreaker::State CircuitBreaker::state() const {
  std::lock_guard lock(mutex_);
  return state_;
}

void CircuitBreaker::Open(absl::Duration backoff) {
  state_ = State::kOpen;
  backoff_ = std::min(backoff, options_.backoff_max);
  retry_at_ =
      clock_.Monotonic() + backoff_ * absl::Uniform(absl::IntervalClosed, random_,
                                                    1 - options_.jitter, 1 + options_.jitter);
}

}  // namespace ecom::product
