#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
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
  void Leave() { calls_.fetch_sub(1, std::memory_order_relaxed); }
  int64_t calls() const { return calls_.load(std::memory_order_relaxed); }

 private:
  const int64_t calls_max_;
  std::atomic<int64_t> calls_{0};
  std::atomic<bool> posting_{true};
};

/// What a completion queue hands back.
class Event {
 public:
  virtual ~Event() = default;
  /// Called on the queue's thread. `ok` is false when the server is shutting down, or when an
  /// answer did not reach the caller.
  virtual void Proceed(bool ok) = 0;
};

/// The calls of one unary method on one completion queue. Keeps `posted` calls ready to be
/// matched, and a fresh one follows each that was; finished ones are used again. Only the
/// queue's thread touches it, but Call::Finish is for any thread.
template <typename Request, typename Response>
class UnaryMethod {
 public:
  class Call;

  /// Asks gRPC for the next call of the method; the Request… function of an AsyncService.
  using Post = std::function<void(grpc::ServerContext*, Request*,
                                  grpc::ServerAsyncResponseWriter<Response>*, Event* event)>;
  /// Answers a call by Call::Finish, now or later, from any thread. Must not block.
  using Handle = std::function<void(Call&)>;

  UnaryMethod(Post post, Handle handle, InFlight& in_flight)
      : post_(std::move(post)), handle_(std::move(handle)), in_flight_(in_flight) {}

  void Start(int posted) {
    for (int i = 0; i < posted; ++i) PostOne();
  }

  class Call final : public Event {
   public:
    explicit Call(UnaryMethod& method) : method_(method) {}

    const Request& request() const { return request_; }
    Response& response() { return response_; }

    /// The caller's deadline on `clock`'s monotonic time.
    absl::Duration Deadline(const base::Clock& clock) const {
      const auto deadline = context_->deadline();
      if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteDuration();
      return clock.Monotonic() + (absl::FromChrono(deadline) - absl::Now());
    }

    /// The id that the gateway gave to the request; empty for a direct call.
    std::string RequestTag() const { return Metadata("x-request-id"); }

    /// The W3C trace context of the request; empty: none.
    std::string TraceParent() const { return Metadata("traceparent"); }

    /// Sends response(). The call must not be touched afterwards.
    void Finish() { Send(grpc::Status::OK); }
    /// Sends an error. The call must not be touched afterwards.
    void Finish(Error error) { Send(ToGrpc(error)); }

    void Proceed(bool ok) override {
      if (finishing_) return method_.Recycle(this, entered_);
      if (!ok) return method_.Drop(this);
      if (method_.in_flight_.posting()) method_.PostOne();
      entered_ = method_.in_flight_.Enter();
      if (!entered_) return Finish(Error::kUnavailable);
      method_.handle_(*this);
    }

   private:
    friend class UnaryMethod;

    std::string Metadata(const char* key) const {
      const auto position = context_->client_metadata().find(key);
      if (position == context_->client_metadata().end()) return {};
      return {position->second.data(), position->second.size()};
    }

    void Send(const grpc::Status& status) {
      finishing_ = true;
      if (status.ok()) {
        responder_->Finish(response_, status, this);
      } else {
        responder_->FinishWithError(status, this);
      }
    }

    void Arm() {
      context_.emplace();
      responder_.emplace(&*context_);
      request_.Clear();
      response_.Clear();
      finishing_ = false;
      entered_ = false;
      method_.post_(&*context_, &request_, &*responder_, this);
    }

    UnaryMethod& method_;
    std::optional<grpc::ServerContext> context_;
    Request request_;
    Response response_;
    std::optional<grpc::ServerAsyncResponseWriter<Response>> responder_;
    bool finishing_ = false;
    bool entered_ = false;
  };

 private:
  void PostOne() {
    if (free_.empty()) {
      calls_.push_back(std::make_unique<Call>(*this));
      free_.push_back(calls_.back().get());
    }
    Call* call = free_.back();
    free_.pop_back();
    call->Arm();
  }

  void Recycle(Call* call, bool entered) {
    if (entered) in_flight_.Leave();
    Drop(call);
  }

  /// Leaves the call to be used again, without what it holds of gRPC's.
  void Drop(Call* call) {
    call->responder_.reset();
    call->context_.reset();
    free_.push_back(call);
  }

  const Post post_;
  const Handle handle_;
  InFlight& in_flight_;
  std::vector<std::unique_ptr<Call>> calls_;
  std::vector<Call*> free_;
};

}  // namespace ecom::rpc
