#include "app/admin_server.h"

#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <future>
#include <nlohmann/json.hpp>
#include <semaphore>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"

#if !defined(CPPHTTPLIB_OPENSSL_SUPPORT) || !defined(CPPHTTPLIB_ZLIB_SUPPORT) || \
    !defined(CPPHTTPLIB_BROTLI_SUPPORT)
#error \
    "compile with pkg-config's flags of cpp-httplib: its classes have another layout without them"
#endif

namespace ecom::app {
namespace {

using Json = nlohmann::ordered_json;
using SteadyClock = std::chrono::steady_clock;

/// Two, so that a slow scrape does not hold up a health check.
constexpr size_t kThreads = 2;

/// Connections that are accepted and wait for a thread; more wait in the kernel's backlog.
constexpr ptrdiff_t kConnectionsWaitingMax = 16;

/// The library listens with 5, and a connection that finds no place there is tried again by its
/// client a second later.
constexpr int kBacklog = 64;

/// Request line, headers and body together; no request of ours needs a tenth of it.
constexpr size_t kRequestBytesMax = 32 << 10;
constexpr size_t kBodyBytesMax = 1 << 10;

/// What an accepted socket reads and writes, within a bound of time and of bytes read.
class BoundedStream final : public httplib::Stream {
 public:
  BoundedStream(socket_t socket, absl::Duration time_max)
      : socket_(socket), deadline_(SteadyClock::now() + absl::ToChronoNanoseconds(time_max)) {}

  bool is_readable() const override { return begin_ < end_ || WaitFor(POLLIN); }
  bool is_writable() const override { return WaitFor(POLLOUT); }

  ssize_t read(char* bytes, size_t size) override {
    if (begin_ == end_ && !Fill()) return -1;
    const size_t count = std::min(size, end_ - begin_);
    std::memcpy(bytes, buffer_.data() + begin_, count);
    begin_ += count;
    return static_cast<ssize_t>(count);
  }

  ssize_t write(const char* bytes, size_t size) override {
    while (WaitFor(POLLOUT)) {
      const ssize_t count = send(socket_, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count >= 0 || (errno != EINTR && errno != EAGAIN)) return count;
    }
    return -1;
  }

  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return socket_; }

 private:
  /// Reads what is there into the empty buffer; false at the end, at a bound, or at an error.
  bool Fill() {
    begin_ = end_ = 0;
    while (bytes_read_ < kRequestBytesMax && WaitFor(POLLIN)) {
      const size_t room = std::min(buffer_.size(), kRequestBytesMax - bytes_read_);
      const ssize_t count = recv(socket_, buffer_.data(), room, MSG_DONTWAIT);
      if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (count <= 0) return false;
      end_ = static_cast<size_t>(count);
      bytes_read_ += end_;
      return true;
    }
    return false;
  }

  bool WaitFor(short event) const {
    for (;;) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline_ - SteadyClock::now());
      if (left.count() <= 0) return false;
      pollfd ready{.fd = socket_, .events = event, .revents = 0};
      const int count = poll(&ready, 1, static_cast<int>(left.count()));
      if (count > 0) return true;
      if (count < 0 && errno != EINTR) return false;
    }
  }

  const socket_t socket_;
  const SteadyClock::time_point deadline_;
  std::array<char, 4096> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  size_t bytes_read_ = 0;
};

/// The library's pool with a bound: when it is full, the thread that accepts waits.
class BoundedPool final : public httplib::TaskQueue {
 public:
  void enqueue(std::function<void()> task) override {
    free_places_.acquire();
    pool_.enqueue([this, task = std::move(task)] {
      task();
      free_places_.release();
    });
  }

  void shutdown() override { pool_.shutdown(); }

 private:
  std::counting_semaphore<> free_places_{kThreads + kConnectionsWaitingMax};
  httplib::ThreadPool pool_{kThreads};
};

/// Holds back all signals in the threads that are started while it lives: they are main's.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

void SendJson(httplib::Response& response, int status, const Json& json) {
  response.status = status;
  response.set_content(json.dump(-1, ' ', false, Json::error_handler_t::replace),
                       "application/json");
}

void SendError(httplib::Response& response, int status, std::string_view code,
               std::string_view message) {
  SendJson(response, status, {{"code", code}, {"message", message}});
}

std::string_view StatusWord(bool up) { return up ? "UP" : "DOWN"; }

Json ToJson(const Meter& meter) {
  Json json = {{"name", meter.name}};
  if (!meter.description.empty()) json["description"] = meter.description;
  if (!meter.base_unit.empty()) json["baseUnit"] = meter.base_unit;
  json["measurements"] = Json::array();
  for (const Meter::Measurement& measurement : meter.measurements) {
    json["measurements"].push_back(
        {{"statistic", measurement.statistic}, {"value", measurement.value}});
  }
  json["availableTags"] = Json::array();
  for (const Meter::Tag& tag : meter.tags) {
    json["availableTags"].push_back({{"tag", tag.name}, {"values", tag.values}});
  }
  return json;
}

std::string Utc(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

constexpr std::string_view kMeterPrefix = "/actuator/metrics/";
constexpr std::string_view kLoggerPath = "/actuator/loggers/ROOT";

struct NamedLevel {
  std::string_view name;
  base::Level level;
};

/// As Spring Boot names them.
constexpr NamedLevel kLevels[] = {
    {"DEBUG", base::Level::kDebug},
    {"INFO", base::Level::kInfo},
    {"WARN", base::Level::kWarn},
    {"ERROR", base::Level::kError},
};

}  // namespace

/// The library's server with our routes, our streams and a thread that accepts.
class AdminServer::Http final : public httplib::Server {
 public:
  Http(AdminServer::Options options, Deps deps)
      : options_(std::move(options)), deps_(std::move(deps)) {
    set_payload_max_length(kBodyBytesMax);
    // The library's default sets SO_REUSEPORT, with which two servers share a port unnoticed.
    set_socket_options([](socket_t socket) {
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      if (request.method == "GET" && Answer(request.path, response))
        return HandlerResponse::Handled;
      // The library finds no route either, but reads a body away before it asks for the error;
      // one that has no length it would wait for.
      if (request.has_header("Content-Length") || request.has_header("Transfer-Encoding")) {
        return HandlerResponse::Unhandled;
      }
      response.status = request.method == "POST" && request.path == kLoggerPath ? 400 : 404;
      return HandlerResponse::Handled;
    });
    Post(std::string(kLoggerPath), SetLevel);
    set_error_handler(
        HandlerWithResponse([this](const httplib::Request& request, httplib::Response& response) {
          if (response.body.empty()) Explain(request, response);
          return HandlerResponse::Handled;
        }));
    set_exception_handler([](const httplib::Request& request, httplib::Response& response,
                             const std::exception_ptr& thrown) {
      std::string what = "not an exception";
      try {
        std::rethrow_exception(thrown);
      } catch (const std::exception& error) {
        what = error.what();
      } catch (...) {
      }
      base::Log(base::Level::kError, "an admin request failed",
                {{"path", request.path}, {"error", what}});
      response.status = 500;
    });
  }

  ~Http() override { Stop(); }

  absl::Status Bind() {
    const std::string& host = options_.host;
    errno = 0;
    if (options_.port == 0) {
      port_ = bind_to_any_port(host);
    } else {
      port_ = bind_to_port(host, options_.port) ? options_.port : -1;
    }
    if (port_ > 0 && ::listen(svr_sock_, kBacklog) == 0) return absl::OkStatus();
    const int error = errno;
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen on ", host, " port ", options_.port, ": ",
                     error != 0 ? std::strerror(error) : "unknown address"));
  }

  /// Returns when connections are accepted, and Stop would end that.
  void Start() {
    std::promise<void> accepting;
    new_task_queue = [&accepting] {
      auto pool = std::make_unique<BoundedPool>();
      accepting.set_value();
      return pool.release();
    };
    const SignalsBlocked blocked;
    acceptor_ = std::thread([this] {
      pthread_setname_np(pthread_self(), "admin");
      listen_after_bind();
      if (!stopping_)
        base::Log(base::Level::kError, "the admin port is closed: accepting failed",
                  {{"port", port_}});
    });
    accepting.get_future().wait();
  }

  void Stop() {
    stopping_ = true;
    if (!acceptor_.joinable()) return;
    stop();
    acceptor_.join();
  }

  int port() const { return port_; }

 private:
  using HandlerResponse = httplib::Server::HandlerResponse;

  bool process_and_close_socket(socket_t socket) override {
    bool served = false;
    if (!stopping_) {
      BoundedStream stream(socket, options_.connection_time_max);
      bool closed = false;
      served = process_request(stream, /*close_connection=*/true, closed, nullptr);
    }
    shutdown(socket, SHUT_RDWR);
    close(socket);
    return served;
  }

  struct Route {
    std::string_view path;
    void (Http::*send)(httplib::Response& response) const;
  };

  static const Route* FindRoute(std::string_view path) {
    static constexpr Route kRoutes[] = {
        {"/metrics", &Http::SendMetrics},
        {"/health/live", &Http::SendLive},
        {"/health/ready", &Http::SendReady},
        {"/info", &Http::SendInfo},
        {"/products/hot", &Http::SendHotProducts},
        {"/actuator/health", &Http::SendReady},
        {"/actuator/health/liveness", &Http::SendLive},
        {"/actuator/health/readiness", &Http::SendReady},
        {"/actuator/info", &Http::SendActuatorInfo},
        {"/actuator/prometheus", &Http::SendMetrics},
        {"/actuator/metrics", &Http::SendMeterNames},
        {kLoggerPath, &Http::SendLevel},
    };
    const auto* const found = std::ranges::find(kRoutes, path, &Route::path);
    return found == std::end(kRoutes) ? nullptr : found;
  }

  /// Answers a GET; false when there is nothing of that path.
  bool Answer(const std::string& path, httplib::Response& response) const {
    if (const Route* route = FindRoute(path)) {
      (this->*route->send)(response);
      return true;
    }
    return path.starts_with(kMeterPrefix) && SendMeter(path.substr(kMeterPrefix.size()), response);
  }

  /// Gives an error that has no body yet the one of the contract.
  void Explain(const httplib::Request& request, httplib::Response& response) const {
    const bool is_read = request.method == "GET";
    const bool is_known =
        FindRoute(request.path) != nullptr || request.path.starts_with(kMeterPrefix);
    if (response.status == 404 && !is_read && is_known) {
      response.set_header("Allow", request.path == kLoggerPath ? "GET, POST" : "GET");
      SendError(response, 405, "CM405", "허용되지 않은 메서드입니다.");
      return;
    }
    if (response.status == 404) {
      SendError(response, 404, "CM404", "요청하신 경로를 찾을 수 없습니다.");
      return;
    }
    if (response.status == 413) {
      SendError(response, 413, "CM413", "요청 본문이 너무 큽니다.");
      return;
    }
    if (response.status < 500) {
      SendError(response, 400, "CM400", "잘못된 요청입니다.");
      return;
    }
    SendError(response, 500, "CM500", "서버 오류가 발생했습니다.");
  }

  void SendMetrics(httplib::Response& response) const {
    response.status = 200;
    response.set_content(deps_.metrics(), "text/plain; version=0.0.4; charset=utf-8");
  }

  void SendLive(httplib::Response& response) const {
    SendJson(response, 200, {{"status", StatusWord(true)}});
  }

  void SendReady(httplib::Response& response) const {
    const std::vector<ComponentHealth> components = deps_.health();
    const bool up = std::ranges::all_of(components, &ComponentHealth::up);
    Json json = {{"status", StatusWord(up)}, {"components", Json::object()}};
    for (const ComponentHealth& component : components) {
      Json& entry = json["components"][component.name];
      entry["status"] = StatusWord(component.up);
      if (!component.detail.empty()) entry["details"] = {{"message", component.detail}};
    }
    SendJson(response, up ? 200 : 503, json);
  }

  void SendInfo(httplib::Response& response) const {
    SendJson(response, 200,
             {{"name", options_.info.name},
              {"version", options_.info.version},
              {"commit", options_.info.commit},
              {"compiler", options_.info.compiler},
              {"started_at", Utc(options_.info.started_at)},
              {"backend", options_.info.backend},
              {"config_digest", options_.info.config_digest}});
  }

  void SendActuatorInfo(httplib::Response& response) const {
    SendJson(response, 200,
             {{"build", {{"name", options_.info.name}, {"version", options_.info.version}}},
              {"git", {{"commit", {{"id", options_.info.commit}}}}},
              {"app",
               {{"backend", options_.info.backend},
                {"compiler", options_.info.compiler},
                {"startedAt", Utc(options_.info.started_at)},
                {"configDigest", options_.info.config_digest}}}});
  }

  void SendLevel(httplib::Response& response) const {
    const std::string_view name =
        std::ranges::find(kLevels, base::LogLevel(), &NamedLevel::level)->name;
    SendJson(response, 200, {{"configuredLevel", name}, {"effectiveLevel", name}});
  }

  /// Takes {"configuredLevel":"DEBUG"}; anything else changes nothing and is CM400.
  static void SetLevel(const httplib::Request& request, httplib::Response& response) {
    const Json wanted = Json::parse(request.body, nullptr, /*allow_exceptions=*/false);
    const auto name = wanted.is_object() ? wanted.find("configuredLevel") : wanted.end();
    response.status = 400;
    if (name == wanted.end() || !name->is_string()) return;
    const auto* const level =
        std::ranges::find(kLevels, name->get_ref<const std::string&>(), &NamedLevel::name);
    if (level == std::end(kLevels)) return;
    base::SetLogLevel(level->level);
    response.status = 204;
  }

  void SendHotProducts(httplib::Response& response) const {
    Json products = Json::array();
    for (const auto& [id, views] : deps_.hot_products()) {
      products.push_back({{"id", id}, {"views", views}});
    }
    SendJson(response, 200, {{"window_seconds", 60}, {"products", products}});
  }

  void SendMeterNames(httplib::Response& response) const {
    std::vector<std::string> names;
    for (const Meter& meter : deps_.meters()) names.push_back(meter.name);
    std::ranges::sort(names);
    SendJson(response, 200, {{"names", names}});
  }

  bool SendMeter(std::string_view name, httplib::Response& response) const {
    const std::vector<Meter> meters = deps_.meters();
    const auto found = std::ranges::find(meters, name, &Meter::name);
    if (found == meters.end()) return false;
    SendJson(response, 200, ToJson(*found));
    return true;
  }

  const AdminServer::Options options_;
  const Deps deps_;
  int port_ = -1;
  std::atomic<bool> stopping_{false};
  std::thread acceptor_;  // last: runs on the members above
};

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Create(Options options, Deps deps) {
  auto http = std::make_unique<Http>(std::move(options), std::move(deps));
  if (absl::Status status = http->Bind(); !status.ok()) return status;
  http->Start();
  return std::unique_ptr<AdminServer>(new AdminServer(std::move(http)));
}

AdminServer::AdminServer(std::unique_ptr<Http> http) : http_(std::move(http)) {}

AdminServer::~AdminServer() = default;

int AdminServer::port() const { return http_->port(); }

void AdminServer::Stop() { http_->Stop(); }

}  // namespace ecom::app
