#include "rpc/health_service.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace ecom::rpc {
namespace {

// ServingStatus.
constexpr int kServing = 1;
constexpr int kNotServing = 2;
constexpr int kServiceUnknown = 3;

}  // namespace

/// One call of Check after the other. Only its queue's thread touches it.
class HealthService::Check final : public Event {
 public:
  Check(HealthService& service, grpc::ServerCompletionQueue& queue)
      : service_(service), queue_(queue) {}

  void Arm() {
    answering_ = false;
    context_.emplace();
    responder_.emplace(&*context_);
    service_.service_.RequestCheck(*context_, request_, *responder_, queue_, this);
  }

  void Proceed(bool ok) override {
    if (answering_) {
      responder_.reset();
      context_.reset();
      if (service_.in_flight_.posting()) Arm();
      return;
    }
    if (!ok) return;  // the server stops
    answering_ = true;
    if (!service_.Knows(request_.value())) {
      return responder_->FinishWithError({grpc::StatusCode::NOT_FOUND, "there is no such service"},
                                         this);
    }
    {
      std::lock_guard lock(service_.mutex_);
      response_.set_value(service_.serving_ ? kServing : kNotServing);
    }
    responder_->Finish(response_, grpc::Status::OK, this);
  }

 private:
  HealthService& service_;
  grpc::ServerCompletionQueue& queue_;
  std::optional<grpc::ServerContext> context_;
  std::optional<grpc::ServerAsyncResponseWriter<Response>> responder_;
  Request request_;
  Response response_;
  bool answering_ = false;
};

/// One call of Watch, from its opening to its end; then the next one. Steps run on the queue's
/// thread. The service's lock guards all but `context_` and `request_`, and is held while the
/// stream is asked for something: gRPC tells of it on the queue only.
class HealthService::Watch {
 public:
  Watch(HealthService& service, grpc::ServerCompletionQueue& queue)
      : service_(service), queue_(queue) {}

  grpc::ServerCompletionQueue& queue() { return queue_; }

  void Arm() {
    context_.emplace();
    stream_.emplace(&*context_);
    context_->AsyncNotifyWhenDone(&ended_);
    service_.service_.RequestWatch(*context_, request_, *stream_, queue_, &opened_);
  }

  /// Sends what changed, or the end, if it is time for it. Under the lock.
  void Advance() {
    if (!open_ || writing_ || finishing_) return;
    const int status = !known_ ? kServiceUnknown : service_.serving_ ? kServing : kNotServing;
    if (refused_) return Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many watches"});
    if (gone_) return Finish(grpc::Status::OK);  // which nobody hears
    if (sent_ != status) {
      sent_ = status;
      writing_ = true;
      response_.set_value(status);
      return stream_->Write(response_, &written_);
    }
    if (service_.draining_) Finish({grpc::StatusCode::UNAVAILABLE, "the server stops"});
  }

 private:
  void OnOpened(bool ok) {
    if (!ok) return;  // the server stops
    service_.PostWatch(queue_);
    std::lock_guard lock(service_.mutex_);
    open_ = true;
    known_ = service_.Knows(request_.value());
    refused_ = service_.open_ >= service_.options_.watches_max;
    if (!refused_) ++service_.open_;
    Advance();
  }

  void OnWritten() {
    std::lock_guard lock(service_.mutex_);
    writing_ = false;
    Advance();
  }

  /// The caller left, or has the end.
  void OnEnded() {
    std::lock_guard lock(service_.mutex_);
    gone_ = true;
    Advance();
    MaybeRelease();
  }

  void OnFinished() {
    std::lock_guard lock(service_.mutex_);
    finished_ = true;
    MaybeRelease();
  }

  void Finish(const grpc::Status& status) {
    finishing_ = true;
    stream_->Finish(status, &done_);
  }

  void MaybeRelease() {
    if (!finished_ || !gone_) return;
    if (!refused_) --service_.open_;
    stream_.reset();
    context_.reset();
    open_ = known_ = refused_ = writing_ = finishing_ = finished_ = gone_ = false;
    sent_ = 0;
    service_.free_.push_back(this);
  }

  HealthService& service_;
  grpc::ServerCompletionQueue& queue_;
  std::optional<grpc::ServerContext> context_;
  std::optional<grpc::ServerAsyncWriter<Response>> stream_;
  Step opened_{[this](bool ok) { OnOpened(ok); }};
  Step written_{[this](bool) { OnWritten(); }};
  Step done_{[this](bool) { OnFinished(); }};
  Step ended_{[this](bool) { OnEnded(); }};
  Request request_;
  Response response_;
  int sent_ = 0;
  bool open_ = false;
  bool known_ = false;
  bool refused_ = false;
  bool writing_ = false;
  bool finishing_ = false;
  bool finished_ = false;
  bool gone_ = false;
};

// What gRPC's generator writes for a service whose methods are called asynchronously.
HealthService::Methods::Methods() {
  using grpc::internal::RpcMethod, grpc::internal::RpcServiceMethod;
  AddMethod(new RpcServiceMethod("/grpc.health.v1.Health/Check", RpcMethod::NORMAL_RPC, nullptr));
  AddMethod(
      new RpcServiceMethod("/grpc.health.v1.Health/Watch", RpcMethod::SERVER_STREAMING, nullptr));
  MarkMethodAsync(0);
  MarkMethodAsync(1);
}

void HealthService::Methods::RequestCheck(grpc::ServerContext& context, Request& request,
                                          grpc::ServerAsyncResponseWriter<Response>& responder,
                                          grpc::ServerCompletionQueue& queue, Event* event) {
  RequestAsyncUnary(0, &context, &request, &responder, &queue, &queue, event);
}

void HealthService::Methods::RequestWatch(grpc::ServerContext& context, Request& request,
                                          grpc::ServerAsyncWriter<Response>& stream,
                                          grpc::ServerCompletionQueue& queue, Event* event) {
  RequestAsyncServerStreaming(1, &context, &request, &stream, &queue, &queue, event);
}

HealthService::HealthService(const Options& options, std::vector<std::string> names,
                             const InFlight& in_flight)
    : options_(options), names_(std::move(names)), in_flight_(in_flight) {}

HealthService::~HealthService() = default;

void HealthService::Start(grpc::ServerCompletionQueue& queue) {
  for (int i = 0; i < options_.checks_posted; ++i) {
    checks_.push_back(std::make_unique<Check>(*this, queue));
    checks_.back()->Arm();
  }
  PostWatch(queue);
}

void HealthService::SetServing(bool serving) {
  std::lock_guard lock(mutex_);
  serving_ = serving;
  for (const auto& watch : watches_) watch->Advance();
}

void HealthService::Drain() {
  std::lock_guard lock(mutex_);
  draining_ = true;
  for (const auto& watch : watches_) watch->Advance();
}

bool HealthService::Knows(const std::string& name) const {
  return name.empty() || std::ranges::find(names_, name) != names_.end();
}

/// Waits for the next watch on `queue`.
void HealthService::PostWatch(grpc::ServerCompletionQueue& queue) {
  if (!in_flight_.posting()) return;
  std::unique_lock lock(mutex_);
  auto found = std::ranges::find_if(free_, [&](Watch* watch) { return &watch->queue() == &queue; });
  if (found == free_.end()) {
    watches_.push_back(std::make_unique<Watch>(*this, queue));
    found = free_.insert(free_.end(), watches_.back().get());
  }
  Watch* watch = *found;
  free_.erase(found);
  lock.unlock();
  watch->Arm();
}

}  // namespace ecom::rpc
