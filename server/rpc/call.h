#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "base/call_stats.h"
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

  /// The id that the gateway gave to the request, or whatever a direct caller sent; empty: none.
  virtual std::string RequestTag() const = 0;

  /// The W3C trace context of the request; empty: none.
  virtual std::string TraceParent() const = 0;

  /// Sends response(). The call must not be touched afterwards.
  void Finish() {
    CountEnd(grpc::StatusCode::OK);
    Send();
  }
  /// Sends an error. The call must not be touched afterwards.
  void Finish(Error error) {
    CountEnd(CodeOf(error));
    Send(error);
  }

 protected:
  /// Counts the call in `stats`, which must outlive it, as one that began then, by MonotonicNow.
  void CountBegin(base::CallStats& stats, absl::Time began) {
    stats_ = &stats;
    began_ = began;
    stats.Started();
  }
  /// For an end that is neither response nor Error. Once for each CountBegin, and before anything
  /// is sent: afterwards the call may be another one.
  void CountEnd(grpc::StatusCode code) { stats_->Ended(code, base::MonotonicNow() - began_); }

  virtual void Send() = 0;
  virtual void Send(Error error) = 0;

  Request request_;
  Response response_;

 private:
  base::CallStats* stats_ = nullptr;
  absl::Time began_;
};

}  // namespace ecom::rpc
