#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/call_stats.h"
#include "base/clock.h"
#include "coupon/issuer.h"
#include "product/catalog.h"
#include "rpc/call.h"
#include "rpc/health_service.h"
#include "rpc/lane_service.h"
#include "rpc/service.h"
#include "rpc/unary_call.h"

namespace ecom::rpc {

/// The gRPC server: the services, lanes to them, grpc.health.v1 and reflection, over TCP and a
/// Unix socket.
class Server {
 public:
  struct Options {
    /// host:port; port 0 takes a free one. Plain text: loopback unless told otherwise.
    std::string address;
    /// The Unix socket for the gateway; empty: none.
    std::string socket_path;
    /// Threads that decode and encode, one queue each. One is the best use of two cores that
    /// others share.
    int completion_queues = 1;
    /// Of each method on each queue.
    UnaryOptions unary;
    LaneService::Options lanes;
    HealthService::Options health;
    /// Calls under way; more are answered with UNAVAILABLE at once.
    int64_t calls_in_flight_max = 4096;
    /// The largest message, which is a lane's frame: a few thousand calls. Requests have bounds of
    /// their own.
    int message_bytes_max = 256 * 1024;
    /// Calls at once on one connection.
    int streams_per_connection_max = 4096;
    /// What gRPC's buffers may take.
    size_t memory_bytes_max = size_t{256} << 20;
  };

  struct Deps {
    coupon::Issuer& issuer;
    product::Catalog& catalog;
    const base::Clock& clock;
  };

  /// Listens and serves; health says NOT_SERVING until SetServing(true).
  ///
  /// FAILED_PRECONDITION, with a message for the operator: an address is taken or can't be used.
  static absl::StatusOr<std::unique_ptr<Server>> Create(const Options& options, Deps deps);
  ~Server();

  /// What grpc.health.v1 answers, for the server and for each service. Thread-safe.
  void SetServing(bool serving);

  /// Refuses new calls, and waits up to `timeout` until those under way are answered; then
  /// cancels them, and soon what is left that is none of ours. Idempotent.
  void Drain(absl::Duration timeout);

  /// Ends the queues. Call it after Drain, once nothing below will answer a call any more.
  void Close();

  /// The TCP port that it listens on.
  int port() const { return port_; }
  int64_t calls_in_flight() const { return in_flight_.calls(); }

  /// The calls of one method, by whatever they came.
  struct MethodCalls {
    std::string service;
    std::string method;
    base::CallStats::Snapshot calls;
  };
  std::vector<MethodCalls> calls() const;

 private:
  Server(const Options& options, Deps deps);

  void CancelForgotten(const std::atomic<bool>& shut_down);

  const Options options_;
  InFlight in_flight_;
  std::vector<std::unique_ptr<Service>> services_;
  std::unique_ptr<LaneService> lanes_;  // carries the methods of services_
  std::unique_ptr<HealthService> health_;
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues_;
  int socket_folder_ = -1;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::thread> threads_;  // last: they run on the members above
};

}  // namespace ecom::rpc
