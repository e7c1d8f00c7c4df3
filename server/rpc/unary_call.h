#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/call_stats.h"
#include "base/clock.h"
#include "rpc/call.h"
#include "rpc/status_map.h"

namespace ecom::rpc {

/// What a completion queue hands back.
class Event {
 public:
  virtual ~Event() = default;
  /// Called on the queue's thread. `ok` is false when the server is shutting down, or when an
  /// answer did not reach the caller.
  virtual void Proceed(bool ok) = 0;
};

/// One of several steps of the same object.
class Step final : public Event {
 public:
  explicit Step(std::function<void(bool ok)> run) : run_(std::move(run)) {}
  void Proceed(bool ok) override { run_(ok); }

 private:
  const std::function<void(bool)> run_;
};

struct UnaryOptions {
  /// Calls that wait to be matched. Those beyond wait inside gRPC until the next is posted, which
  /// costs less than going through the memory of many that are used in turn.
  int posted = 32;
  /// The largest request; larger ones get RESOURCE_EXHAUSTED.
  size_t request_bytes_max = size_t{16} * 1024;
};

/// The calls of one unary method on one completion queue. Keeps `posted` calls ready to be
/// matched, and a fresh one follows each that was; finished ones are used again. Only the
/// queue's thread touches it, but Call::Finish is for any thread.
template <typename Request, typename Response>
class UnaryMethod {
 public:
  /// Asks gRPC for the next call of the method; the Request… function of an AsyncService.
  using Post =
      std::function<void(grpc::ServerContext*, Request*, grpc::ServerAsyncResponseWriter<Response>*,
                         grpc::ServerCompletionQueue& queue, Event* event)>;
  /// Answers a call by Call::Finish, now or later, from any thread. Must not block.
  using Handle = std::function<void(Call<Request, Response>&)>;

  /// All must outlive the object.
  UnaryMethod(const Post& post, const Handle& handle, grpc::ServerCompletionQueue& queue,
              const UnaryOptions& options, InFlight& in_flight, base::CallStats& stats)
      : post_(post),
        handle_(handle),
        queue_(queue),
        options_(options),
        in_flight_(in_flight),
        stats_(stats) {}

  void Start() {
    for (int i = 0; i < options_.posted; ++i) PostOne();
  }

 private:
  class UnaryCall final : public Event, public Call<Request, Response> {
   public:
    explicit UnaryCall(UnaryMethod& method) : method_(method) {}

    absl::Duration Deadline(const base::Clock& clock) const override {
      const auto deadline = context_->deadline();
      if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteDuration();
      return clock.Monotonic() + (absl::FromChrono(deadline) - absl::Now());
    }

    std::string RequestTag() const override { return Metadata("x-request-id"); }
    std::string TraceParent() const override { return Metadata("traceparent"); }

    void Proceed(bool ok) override {
      if (finishing_) return method_.Recycle(this, entered_);
      if (!ok) return method_.Drop(this);
      this->CountBegin(method_.stats_, base::MonotonicNow());
      if (method_.in_flight_.posting()) method_.PostOne();
      entered_ = method_.in_flight_.Enter();
      if (!entered_) return this->Finish(Error::kUnavailable);
      if (this->request_.ByteSizeLong() > method_.options_.request_bytes_max) {
        this->CountEnd(grpc::StatusCode::RESOURCE_EXHAUSTED);
        return Fail({grpc::StatusCode::RESOURCE_EXHAUSTED, "the request is too large"});
      }
      method_.handle_(*this);
    }

   private:
    friend class UnaryMethod;

    void Send() override {
      finishing_ = true;
      responder_->Finish(this->response_, grpc::Status::OK, this);
    }
    void Send(Error error) override { Fail(ToGrpc(error, RequestTag())); }

    void Fail(const grpc::Status& status) {
      finishing_ = true;
      responder_->FinishWithError(status, this);
    }

    std::string Metadata(const char* key) const {
      const auto position = context_->client_metadata().find(key);
      if (position == context_->client_metadata().end()) return {};
      return {position->second.data(), position->second.size()};
    }

    void Arm() {
      context_.emplace();
      responder_.emplace(&*context_);
      this->request_.Clear();
      this->response_.Clear();
      finishing_ = false;
      entered_ = false;
      method_.post_(&*context_, &this->request_, &*responder_, method_.queue_, this);
    }

    UnaryMethod& method_;
    std::optional<grpc::ServerContext> context_;
    std::optional<grpc::ServerAsyncResponseWriter<Response>> responder_;
    bool finishing_ = false;
    bool entered_ = false;
  };

  void PostOne() {
    if (free_.empty()) {
      calls_.push_back(std::make_unique<UnaryCall>(*this));
      free_.push_back(calls_.back().get());
    }
    UnaryCall* call = free_.back();
    free_.pop_back();
    call->Arm();
  }

  void Recycle(UnaryCall* call, bool entered) {
    if (entered) in_flight_.Leave();
    Drop(call);
  }

  /// Leaves the call to be used again, without what it holds of gRPC's.
  void Drop(UnaryCall* call) {
    call->responder_.reset();
    call->context_.reset();
    free_.push_back(call);
  }

  const Post& post_;
  const Handle& handle_;
  grpc::ServerCompletionQueue& queue_;
  const UnaryOptions options_;
  InFlight& in_flight_;
  base::CallStats& stats_;
  std::vector<std::unique_ptr<UnaryCall>> calls_;
  std::vector<UnaryCall*> free_;
};

}  // namespace ecom::rpc
