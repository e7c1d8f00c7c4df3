#include "rpc/server.h"

#include <fcntl.h>
#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "rpc/coupon_service.h"
#include "rpc/edge_service.h"
#include "rpc/health_service.h"
#include "rpc/product_service.h"

namespace ecom::rpc {
namespace {

/// The longest path that a Unix socket's address holds, without its final NUL.
constexpr size_t kSocketPathMax = sizeof(sockaddr_un::sun_path) - 1;

/// A path of the same socket that fits into an address: where it is too long, through a
/// descriptor of its folder, which is left in `folder`.
absl::StatusOr<std::string> ShortSocketPath(const std::string& path, int& folder) {
  if (path.size() <= kSocketPathMax) return path;
  const size_t slash = path.find_last_of('/');
  folder = open(path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the folder of the socket ", path, " can't be opened"));
  }
  return absl::StrCat("/proc/self/fd/", folder, path.substr(slash));
}

/// How long nothing must have been under way until calls that are left are taken for forgotten: far
/// longer than one takes from its arrival to its count.
constexpr absl::Duration kForgottenAfter = absl::Milliseconds(500);
constexpr absl::Duration kForgottenLook = absl::Milliseconds(5);

void Configure(grpc::ServerBuilder& builder, const Server::Options& options) {
  builder.SetMaxReceiveMessageSize(options.message_bytes_max);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.streams_per_connection_max);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // else a second server shares the port
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // saves PINGs; we are near
  // A gateway asks each 10 s whether we are still there. And so do we, with more patience: what the
  // network or a machine has forgotten without a word would keep its lanes open for ever.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 * 1024);
  grpc::ResourceQuota quota("ecom");
  quota.Resize(options.memory_bytes_max);
  builder.SetResourceQuota(quota);
  // For reflection, the one service of ours that blocks a thread.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
}

void RunQueue(grpc::ServerCompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) static_cast<Event*>(tag)->Proceed(ok);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Create(const Options& options, Deps deps) {
  grpc::EnableDefaultHealthCheckService(false);  // ours needs no threads of its own
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();

  auto server = std::unique_ptr<Server>(new Server(options, deps));
  grpc::ServerBuilder builder;
  Configure(builder, options);
  builder.AddListeningPort(options.address, grpc::InsecureServerCredentials(), &server->port_);
  int socket_bound = 1;
  std::string socket_path;
  if (!options.socket_path.empty()) {
    absl::StatusOr<std::string> path = ShortSocketPath(options.socket_path, server->socket_folder_);
    if (!path.ok()) return path.status();
    socket_path = *std::move(path);
    builder.AddListeningPort(absl::StrCat("unix:", socket_path), grpc::InsecureServerCredentials(),
                             &socket_bound);
  }
  for (const auto& service : server->services_) builder.RegisterService(&service->service());
  builder.RegisterService(&server->lanes_->service());
  builder.RegisterService(&server->health_->service());
  for (int i = 0; i < options.completion_queues; ++i) {
    server->queues_.push_back(builder.AddCompletionQueue());
  }
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || server->port_ == 0 || socket_bound == 0) {
    const std::string& failed = server->port_ == 0 ? options.address : options.socket_path;
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen on ", failed, ": it is taken, or can't be used here"));
  }
  if (!socket_path.empty()) chmod(socket_path.c_str(), S_IRUSR | S_IWUSR);
  for (const auto& queue : server->queues_) {
    for (const auto& service : server->services_) {
      for (const auto& method : service->methods()) method->Start(*queue, options.unary);
    }
    server->lanes_->Start(*queue);
    server->health_->Start(*queue);
    server->threads_.emplace_back([&queue = *queue] { RunQueue(queue); });
    pthread_setname_np(server->threads_.back().native_handle(), "rpc");
  }
  return server;
}

Server::Server(const Options& options, Deps deps)
    : options_(options), in_flight_(options.calls_in_flight_max) {
  services_.push_back(std::make_unique<CouponService>(deps.issuer, deps.clock, in_flight_));
  services_.push_back(std::make_unique<ProductService>(deps.catalog, in_flight_));
  services_.push_back(std::make_unique<EdgeService>(deps.catalog, in_flight_));
  std::vector<Method*> methods;
  for (const auto& service : services_) {
    for (const auto& method : service->methods()) methods.push_back(method.get());
  }
  lanes_ = std::make_unique<LaneService>(options.lanes, methods, deps.clock, in_flight_);
  health_ = std::make_unique<HealthService>(
      options.health,
      std::vector<std::string>{"ecom.coupon.v1.CouponService", "ecom.product.v1.ProductService"},
      in_flight_);
}

Server::~Server() {
  Drain(absl::ZeroDuration());
  Close();
  if (socket_folder_ >= 0) close(socket_folder_);
}

std::vector<Server::MethodCalls> Server::calls() const {
  std::vector<MethodCalls> calls;
  for (const auto& service : services_) {
    for (const auto& method : service->methods()) {
      const std::vector<std::string> path = absl::StrSplit(method->name(), '/');
      calls.push_back({.service = path[1], .method = path[2], .calls = method->stats().snapshot()});
    }
  }
  return calls;
}

void Server::SetServing(bool serving) { health_->SetServing(serving); }

void Server::Drain(absl::Duration timeout) {
  if (server_ == nullptr) return;
  SetServing(false);
  lanes_->Drain();
  health_->Drain();
  std::atomic<bool> shut_down = false;
  std::thread forgotten([&] { CancelForgotten(shut_down); });
  server_->Shutdown(absl::ToChronoTime(absl::Now() + timeout));
  shut_down = true;
  forgotten.join();
  in_flight_.StopPosting();
}

/// gRPC (1.51) leaves a call that arrives in the very moment of the shutdown waiting for somebody
/// to take it, which nobody may any more; and a stream of reflection lasts as long as its client
/// likes. Neither may keep a server that has answered everything from its end.
void Server::CancelForgotten(const std::atomic<bool>& shut_down) {
  absl::Duration idle;
  while (!shut_down) {
    absl::SleepFor(kForgottenLook);
    const bool busy = in_flight_.calls() > 0 || lanes_->open() > 0;
    idle = busy ? absl::ZeroDuration() : idle + kForgottenLook;
    if (idle < kForgottenAfter) continue;
    grpc_server_cancel_all_calls(server_->c_server());
    idle = absl::ZeroDuration();
  }
}

void Server::Close() {
  if (threads_.empty() && server_ != nullptr) {
    // Not started whole: nobody runs the queues, so they are emptied here.
    server_->Shutdown();
  }
  for (const auto& queue : queues_) queue->Shutdown();
  for (std::thread& thread : threads_) thread.join();
  if (threads_.empty()) {
    for (const auto& queue : queues_) {
      void* tag = nullptr;
      bool ok = false;
      while (queue->Next(&tag, &ok)) {
      }
    }
  }
  threads_.clear();
  queues_.clear();
  server_.reset();
}

}  // namespace ecom::rpc
