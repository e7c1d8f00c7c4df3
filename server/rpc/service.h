#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <vector>

#include "rpc/method.h"

namespace ecom::rpc {

/// One gRPC service on completion queues.
class Service {
 public:
  virtual ~Service() = default;

  /// What the server registers.
  virtual grpc::Service& service() = 0;

  /// Its unary methods. They live as long as the service.
  virtual const std::vector<std::unique_ptr<Method>>& methods() const = 0;
};

}  // namespace ecom::rpc
