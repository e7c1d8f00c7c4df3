#pragma once

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "rpc/call.h"
#include "rpc/unary_call.h"

namespace ecom::rpc {

/// grpc.health.v1.Health on the queues of all other calls.
///
/// gRPC has one of its own, but with callbacks: they bring threads that poll the queues'
/// descriptors and hand over what they find, at each call of whatever service.
class HealthService {
 public:
  struct Options {
    /// Checks that wait to be matched, on each queue.
    int checks_posted = 64;
    /// Watches open at once; more are refused with RESOURCE_EXHAUSTED. A client needs one.
    size_t watches_max = 64;
  };

  /// Knows "", the server as a whole, and `names`; all have the same health, NOT_SERVING at first.
  HealthService(const Options& options, std::vector<std::string> names, const InFlight& in_flight);
  ~HealthService();

  grpc::Service& service() { return service_; }

  /// Takes calls on `queue`. Once for each queue, before its thread runs.
  void Start(grpc::ServerCompletionQueue& queue);

  /// Tells those who watch, too. Thread-safe.
  void SetServing(bool serving);

  /// Ends watches with UNAVAILABLE, now and from now on, once they were told the last state.
  /// Returns at once. Thread-safe.
  void Drain();

 private:
  class Check;
  class Watch;

  // The messages have one field each, as google.protobuf's wrappers do, whose bytes are the same:
  // HealthCheckRequest { string service = 1; } and HealthCheckResponse { ServingStatus status = 1;
  // }.
  using Request = google::protobuf::StringValue;
  using Response = google::protobuf::Int32Value;

  class Methods final : public grpc::Service {
   public:
    Methods();
    void RequestCheck(grpc::ServerContext& context, Request& request,
                      grpc::ServerAsyncResponseWriter<Response>& responder,
                      grpc::ServerCompletionQueue& queue, Event* event);
    void RequestWatch(grpc::ServerContext& context, Request& request,
                      grpc::ServerAsyncWriter<Response>& stream, grpc::ServerCompletionQueue& queue,
                      Event* event);
  };

  bool Knows(const std::string& name) const;
  void PostWatch(grpc::ServerCompletionQueue& queue);

  const Options options_;
  const std::vector<std::string> names_;
  const InFlight& in_flight_;
  Methods service_;
  std::vector<std::unique_ptr<Check>> checks_;

  std::mutex mutex_;                             // guards what follows, and the watches
  std::vector<std::unique_ptr<Watch>> watches_;  // used again, never freed
  std::vector<Watch*> free_;
  size_t open_ = 0;
  bool serving_ = false;
  bool draining_ = false;
};

}  // namespace ecom::rpc
