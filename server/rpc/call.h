#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "base/clock.h"
#include "rpc/status_map.h"

namespace ecom::rpc {

/// How many calls are under way in the whole server, and how many may be. Thread-safe.
class InFlight {
 public:
  explicit InFlight(int64_t calls_max) : calls_max_(calls_max) {}

  /// False when the server is full; then the call is answered at once, and Leave not called.
  bool Enter() {
    if (calls_.fetch_add(1, std::memory_order_relaxed) < calls_max_) return true;
    Leave();
    return false;
  }
  /// From now on no further call is posted: the queues are about to end.
  void StopPosting() { posting_.store(false, std::memory_order_relaxed); }
  bool posting() const { return posting_.load(std::memory_order_relaxed); }
  void Leave(int64_t calls = 1) { calls_.fetch_sub(calls, std::memory_order_relaxed); }
  int64_t calls() const { return calls_.load(std::memory_order_relaxed); }

 private:
  const int64_t calls_max_;
  std::atomic<int64_t> calls_{0};
  std::atomic<bool> posting_{true};
};

/// One call as the code that handles it sees it, however it came here. That code ends it with
/// Finish, now or later, from any thread.
template <typename Request, typename Response>
class Call {
 public:
  virtual ~Call() = default;

  const Request& request() const { return request_; }
  Response& response() { return response_; }

  /// The caller's deadline on `clock`'s monotonic time.
  virtual absl::Duration Deadline(const base::Clock& clock) const = 0;

  /// The id that the gateway gave to the request; empty for a direct call.
  virtual std::string RequestTag() const = 0;

  /// The W3C trace context of the request; empty: none.
  virtual std::string TraceParent() const = 0;

  /// Sends response(). The call must not be touched afterwards.
  virtual void Finish() = 0;
  /// Sends an error. The call must not be touched afterwards.
  virtual void Finish(Error error) = 0;

 protected:
  Request request_;
  Response response_;
};

}  // namespace ecom::rpc
