#pragma once

#include <grpcpp/grpcpp.h>

namespace ecom::rpc {

/// One gRPC service on completion queues.
class Service {
 public:
  virtual ~Service() = default;

  /// What the server registers.
  virtual grpc::Service& service() = 0;

  /// Keeps `posted` calls of each method ready on `queue`. Once for each queue, before its thread
  /// runs.
  virtual void Start(grpc::ServerCompletionQueue& queue, int posted) = 0;
};

}  // namespace ecom::rpc
