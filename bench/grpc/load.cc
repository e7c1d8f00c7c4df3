#include "grpc/load.h"

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/time/time.h>
#include <grpcpp/channel.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace ecom::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Past this, memory and file descriptors rather than the server are what is measured.
constexpr int kCallersMax = 10'000;
constexpr int kThreadsMax = 64;
// A user per call, 10 hours at 100,000 calls/s: far away from the largest user id.
constexpr int64_t kUserBaseMax = int64_t{1} << 60;

struct Window {
  Clock::time_point begin;
  Clock::time_point end;
};

// One call in flight at a time; starts the next one itself.
class Caller {
 public:
  Caller(const std::shared_ptr<grpc::Channel>& channel, std::unique_ptr<CallKind> kind,
         std::chrono::nanoseconds timeout, grpc::CompletionQueue& queue)
      : stub_(channel),
        kind_(std::move(kind)),
        method_(kind_->Method()),
        timeout_(timeout),
        queue_(queue) {}

  void Start() {
    const grpc::ByteBuffer request = kind_->NextRequest();
    context_.emplace();
    context_->set_deadline(std::chrono::system_clock::now() + timeout_);
    answer_.Clear();
    begin_ = Clock::now();
    call_ = stub_.PrepareUnaryCall(&*context_, method_, request, &queue_);
    call_->StartCall();
    call_->Finish(&answer_, &status_, this);
  }

  Verdict Judge() { return kind_->Judge(status_, answer_); }
  const grpc::Status& status() const { return status_; }
  Clock::time_point begin() const { return begin_; }

 private:
  grpc::GenericStub stub_;
  std::unique_ptr<CallKind> kind_;
  const std::string method_;
  const std::chrono::nanoseconds timeout_;
  grpc::CompletionQueue& queue_;
  std::optional<grpc::ClientContext> context_;
  grpc::ByteBuffer answer_;
  grpc::Status status_;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> call_;
  Clock::time_point begin_;
};

// A completion queue, its callers and what they saw. Run() belongs to one thread.
class Worker {
 public:
  void AddCaller(const std::shared_ptr<grpc::Channel>& channel, std::unique_ptr<CallKind> kind,
                 std::chrono::nanoseconds timeout) {
    callers_.push_back(std::make_unique<Caller>(channel, std::move(kind), timeout, queue_));
  }

  void Run(const Window& window) {
    for (const auto& caller : callers_) caller->Start();
    size_t in_flight = callers_.size();
    void* tag = nullptr;
    bool ok = false;
    while (in_flight > 0 && queue_.Next(&tag, &ok)) {
      Caller& caller = *static_cast<Caller*>(tag);
      const auto now = Clock::now();
      Count(caller, now, window);
      if (now < window.end) {
        caller.Start();
      } else {
        --in_flight;
      }
    }
    queue_.Shutdown();
    while (queue_.Next(&tag, &ok)) {
    }
  }

  void AddTo(LoadReport& report) const {
    for (size_t i = 0; i < kOutcomes; ++i) {
      report.measured[i].Merge(report_.measured[i]);
      report.total[i] += report_.total[i];
    }
    for (const auto& [code, count] : report_.total_by_code) report.total_by_code[code] += count;
    if (report.error_example.empty()) report.error_example = report_.error_example;
  }

 private:
  void Count(Caller& caller, Clock::time_point now, const Window& window) {
    const Verdict verdict = caller.Judge();
    const auto outcome = static_cast<size_t>(verdict.outcome);
    ++report_.total[outcome];
    ++report_.total_by_code[verdict.code];
    if (verdict.outcome == Outcome::kError && report_.error_example.empty()) {
      report_.error_example = absl::StrCat(verdict.code, " ", caller.status().error_message());
    }
    if (now < window.begin || now >= window.end) return;
    report_.measured[outcome].Record(
        std::chrono::duration_cast<std::chrono::nanoseconds>(now - caller.begin()).count());
  }

  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<Caller>> callers_;
  LoadReport report_;
};

absl::Status Validate(const LoadOptions& options) {
  if (options.callers < 1 || options.callers > kCallersMax) {
    return absl::InvalidArgumentError(absl::StrFormat("callers must be 1 to %d", kCallersMax));
  }
  if (options.connections < 1 || options.connections > options.callers) {
    return absl::InvalidArgumentError("connections must be 1 to the number of callers");
  }
  if (options.threads < 1 || options.threads > std::min(kThreadsMax, options.callers)) {
    return absl::InvalidArgumentError("threads must be 1 to 64, and no more than callers");
  }
  if (options.call.first_user < 1 || options.call.first_user > kUserBaseMax) {
    return absl::InvalidArgumentError("the first user must be 1 to 2^60");
  }
  if (options.duration <= absl::ZeroDuration() || options.duration > absl::Hours(1) ||
      options.warm_up < absl::ZeroDuration() || options.warm_up > absl::Minutes(10) ||
      options.timeout <= absl::ZeroDuration() || options.timeout > absl::Minutes(10)) {
    return absl::InvalidArgumentError(
        "duration must be up to 1 h, timeout and warm-up up to 10 min");
  }
  if (MakeCallKind(options.method, options.call) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("there is no method ", options.method));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::shared_ptr<grpc::Channel>>> Connect(const LoadOptions& options) {
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < options.connections; ++i) {
    grpc::ChannelArguments arguments;
    // Otherwise channels to the same target share one connection.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channels.push_back(
        grpc::CreateCustomChannel(options.target, grpc::InsecureChannelCredentials(), arguments));
  }
  const auto deadline =
      std::chrono::system_clock::now() + absl::ToChronoNanoseconds(options.timeout);
  for (const auto& channel : channels) {
    if (!channel->WaitForConnected(deadline)) {
      return absl::UnavailableError(absl::StrCat("no connection to ", options.target, " within ",
                                                 absl::FormatDuration(options.timeout)));
    }
  }
  return channels;
}

}  // namespace

absl::StatusOr<LoadReport> RunLoad(const LoadOptions& options) {
  if (absl::Status valid = Validate(options); !valid.ok()) return valid;
  auto channels = Connect(options);
  if (!channels.ok()) return channels.status();

  std::vector<Worker> workers(static_cast<size_t>(options.threads));
  for (int i = 0; i < options.callers; ++i) {
    CallOptions call = options.call;
    call.first_user += i;
    call.user_stride = options.callers;
    call.seed += static_cast<uint64_t>(i);
    workers[static_cast<size_t>(i % options.threads)].AddCaller(
        (*channels)[static_cast<size_t>(i % options.connections)],
        MakeCallKind(options.method, call), absl::ToChronoNanoseconds(options.timeout));
  }

  Window window;
  window.begin = Clock::now() + absl::ToChronoNanoseconds(options.warm_up);
  window.end = window.begin + absl::ToChronoNanoseconds(options.duration);
  std::vector<std::thread> threads;
  threads.reserve(workers.size());
  for (Worker& worker : workers) threads.emplace_back([&] { worker.Run(window); });
  for (std::thread& thread : threads) thread.join();

  LoadReport report;
  report.elapsed = options.duration;
  for (const Worker& worker : workers) worker.AddTo(report);
  return report;
}

}  // namespace ecom::bench
