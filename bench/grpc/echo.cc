// ecom-bench-echo: the least that a C++ gRPC server can do with our messages, as the limit of the
// real one in the same run. One completion queue and one thread, as the server has; answers
// GetProduct with a fixed product of the id that was asked, IssueCoupon with a fixed promise, and
// keeps nothing.
#include <absl/flags/flag.h>
#include <absl/flags/parse.h>
#include <absl/flags/usage.h>
#include <absl/strings/str_format.h>
#include <absl/synchronization/mutex.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "ecom/coupon/v1/coupon_service.grpc.pb.h"
#include "ecom/product/v1/product_service.grpc.pb.h"

ABSL_FLAG(std::string, address, "127.0.0.1:50061", "where to listen");

namespace {

using ecom::coupon::v1::CouponService;
using ecom::coupon::v1::IssueCouponRequest;
using ecom::coupon::v1::IssueCouponResponse;
using ecom::product::v1::GetProductRequest;
using ecom::product::v1::GetProductResponse;
using ecom::product::v1::ProductService;

// As many as the server keeps ready.
constexpr int kCallsPosted = 32;
constexpr std::chrono::seconds kDrain{5};

void Answer(const GetProductRequest& request, GetProductResponse& response) {
  auto& product = *response.mutable_product();
  product.set_id(request.product_id());
  product.set_name("부하테스트상품");
  product.set_price_minor(1'010'000);
  product.set_stock_quantity(1'000);
  product.set_is_active(true);
  product.set_view_count(1'234'567);
  product.mutable_created_at()->set_seconds(1'766'653'343);
  product.mutable_updated_at()->set_seconds(1'766'653'343);
  product.set_category_id(1);
}

void Answer(const IssueCouponRequest& request, IssueCouponResponse& response) {
  response.set_user_id(request.user_id());
  response.set_coupon_id(request.coupon_id());
  response.set_request_id("00000000-0000-7000-8000-000000000000");
  response.set_status(ecom::coupon::v1::COUPON_ISSUE_STATUS_QUEUED);
}

/// What the queue hands back.
class Event {
 public:
  virtual ~Event() = default;
  virtual void Proceed(bool ok) = 0;
};

/// A call of one method, used again when it was answered. Belongs to the queue's thread.
template <typename Service, typename Request, typename Response>
class Call final : public Event {
 public:
  /// The Request… function of the service.
  using Post = void (Service::*)(grpc::ServerContext*, Request*,
                                 grpc::ServerAsyncResponseWriter<Response>*, grpc::CompletionQueue*,
                                 grpc::ServerCompletionQueue*, void*);

  Call(Service& service, Post post, grpc::ServerCompletionQueue& queue)
      : service_(service), post_(post), queue_(queue) {
    Arm();
  }

  void Proceed(bool ok) override {
    if (answering_) return Arm();
    if (!ok) return;  // the server stops
    answering_ = true;
    Answer(request_, response_);
    responder_->Finish(response_, grpc::Status::OK, this);
  }

 private:
  void Arm() {
    answering_ = false;
    responder_.reset();
    context_.emplace();
    responder_.emplace(&*context_);
    request_.Clear();
    response_.Clear();
    (service_.*post_)(&*context_, &request_, &*responder_, &queue_, &queue_, this);
  }

  Service& service_;
  const Post post_;
  grpc::ServerCompletionQueue& queue_;
  std::optional<grpc::ServerContext> context_;
  Request request_;
  Response response_;
  std::optional<grpc::ServerAsyncResponseWriter<Response>> responder_;
  bool answering_ = false;
};

void Run(grpc::ServerCompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) static_cast<Event*>(tag)->Proceed(ok);
}

int Serve(const std::string& address) {
  CouponService::AsyncService coupons;
  ProductService::AsyncService products;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.RegisterService(&coupons);
  builder.RegisterService(&products);
  const std::unique_ptr<grpc::ServerCompletionQueue> queue = builder.AddCompletionQueue();
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    absl::FPrintF(stderr, "ecom-bench-echo: cannot listen on %s\n", address);
    return 69;
  }

  std::vector<std::unique_ptr<Event>> calls;
  for (int i = 0; i < kCallsPosted; ++i) {
    calls.push_back(
        std::make_unique<Call<ProductService::AsyncService, GetProductRequest, GetProductResponse>>(
            products, &ProductService::AsyncService::RequestGetProduct, *queue));
    calls.push_back(std::make_unique<
                    Call<CouponService::AsyncService, IssueCouponRequest, IssueCouponResponse>>(
        coupons, &CouponService::AsyncService::RequestIssueCoupon, *queue));
  }
  std::thread thread([&queue] { Run(*queue); });

  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT);
  sigaddset(&stop, SIGTERM);
  int signal = 0;
  sigwait(&stop, &signal);
  server->Shutdown(std::chrono::system_clock::now() + kDrain);
  queue->Shutdown();
  thread.join();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as the client does
  absl::SetProgramUsageMessage("Answers GetProduct and IssueCoupon and does nothing else.");
  absl::ParseCommandLine(argc, argv);
  // Before any thread is: so that only sigwait sees them.
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT);
  sigaddset(&stop, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  return Serve(absl::GetFlag(FLAGS_address));
}
