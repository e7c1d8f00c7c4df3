#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/call_stats.h"
#include "rpc/call.h"
#include "rpc/lane_call.h"
#include "rpc/unary_call.h"

namespace ecom::rpc {

/// One method of a service, written once and reached by whatever carries calls to it.
class Method {
 public:
  /// `name` as gRPC has it in a path: /ecom.product.v1.ProductService/GetProduct.
  explicit Method(std::string name) : name_(std::move(name)) {}
  virtual ~Method() = default;

  const std::string& name() const { return name_; }

  /// Takes unary calls on `queue`. Once for each queue, before its thread runs.
  virtual void Start(grpc::ServerCompletionQueue& queue, const UnaryOptions& options) = 0;

  /// Makes a call for a lane to fill, which must not outlive the method. Thread-safe.
  virtual std::unique_ptr<LaneCall> NewLaneCall() = 0;

  /// The method's calls, whatever carried them, from when they came to when their answer was handed
  /// over. One whose caller gave up counts by the answer that nobody wanted.
  base::CallStats& stats() { return stats_; }

 private:
  const std::string name_;
  base::CallStats stats_;
};

template <typename Request, typename Response>
class TypedMethod final : public Method {
 public:
  using Unary = UnaryMethod<Request, Response>;
  /// Answers a call by Call::Finish, now or later, from any thread. Must not block.
  using Handle = std::function<void(Call<Request, Response>&)>;

  TypedMethod(std::string name, typename Unary::Post post, Handle handle, InFlight& in_flight)
      : Method(std::move(name)),
        post_(std::move(post)),
        handle_(std::move(handle)),
        in_flight_(in_flight) {}

  void Start(grpc::ServerCompletionQueue& queue, const UnaryOptions& options) override {
    unary_.push_back(std::make_unique<Unary>(post_, handle_, queue, options, in_flight_, stats()));
    unary_.back()->Start();
  }

  std::unique_ptr<LaneCall> NewLaneCall() override {
    return std::make_unique<TypedLaneCall<Request, Response>>(handle_, stats());
  }

 private:
  const typename Unary::Post post_;
  const Handle handle_;
  InFlight& in_flight_;
  std::vector<std::unique_ptr<Unary>> unary_;  // one for each queue
};

}  // namespace ecom::rpc
