#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "app/admin_server.h"
#include "base/log.h"

namespace ecom::app {
namespace {

using Json = nlohmann::ordered_json;

struct Answer {
  int status = 0;
  std::string headers;
  std::string body;
};

/// A plain TCP client, so that the tests see the bytes.
class Connection {
 public:
  explicit Connection(int port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~Connection() { close(socket_); }

  bool connected() const { return connected_; }

  /// False when the server does not take the bytes.
  bool Send(std::string_view bytes) {
    return send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0;
  }

  /// Reads until the server closes, for at most 20 s.
  std::string ReadAll() {
    std::string text;
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (absl::Now() < deadline) {
      pollfd readable{.fd = socket_, .events = POLLIN, .revents = 0};
      if (poll(&readable, 1, 100) == 0) continue;
      char bytes[4096];
      const ssize_t count = recv(socket_, bytes, sizeof bytes, 0);
      if (count <= 0) return text;
      text.append(bytes, static_cast<size_t>(count));
    }
    ADD_FAILURE() << "the server neither answered nor closed";
    return text;
  }

 private:
  const int socket_;
  bool connected_ = false;
};

Answer Exchange(int port, std::string_view request) {
  Connection connection(port);
  EXPECT_TRUE(connection.connected());
  connection.Send(request);
  const std::string text = connection.ReadAll();
  const size_t end = text.find("\r\n\r\n");
  if (!absl::StartsWith(text, "HTTP/1.1 ") || end == std::string::npos) return {};
  return {.status = std::stoi(text.substr(9, 3)),
          .headers = text.substr(0, end + 2),
          .body = text.substr(end + 4)};
}

Answer Request(int port, const std::string& method, const std::string& path,
               const std::string& more = "\r\n") {
  return Exchange(port, method + " " + path + " HTTP/1.1\r\nHost: x\r\n" + more);
}

class AdminServerTest : public testing::Test {
 protected:
  AdminServerTest() {
    deps_ = {.metrics = [] { return std::string("ecom_up 1\n"); },
             .health = [this] { return health_; },
             .meters = [this] { return meters_; }};
  }

  void Start() {
    auto server = AdminServer::Create({.host = "127.0.0.1",
                                       .port = 0,
                                       .connection_time_max = connection_time_max_,
                                       .info = {.name = "ecom-server",
                                                .version = "1.2.3",
                                                .commit = "abc",
                                                .compiler = "gcc",
                                                .started_at = absl::FromUnixSeconds(1766653343),
                                                .backend = "embedded",
                                                .config_digest = "0123456789ab"}},
                                      deps_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  Answer Get(const std::string& path) { return Request(server_->port(), "GET", path); }

  std::vector<ComponentHealth> health_ = {{"store", true, ""}, {"gate", true, ""}};
  std::vector<Meter> meters_;
  absl::Duration connection_time_max_ = absl::Seconds(10);
  AdminServer::Deps deps_;
  std::unique_ptr<AdminServer> server_;
};

TEST_F(AdminServerTest, ShowsTheMetricsUnderBothOfTheirPaths) {
  Start();
  for (const std::string path : {"/metrics", "/actuator/prometheus"}) {
    const Answer answer = Get(path);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "ecom_up 1\n");
    EXPECT_NE(answer.headers.find("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
              std::string::npos)
        << answer.headers;
  }
}

TEST_F(AdminServerTest, IsReadyWhileEachComponentIsUp) {
  Start();
  for (const std::string path :
       {"/health/ready", "/actuator/health", "/actuator/health/readiness"}) {
    const Answer answer = Get(path);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body,
              R"({"status":"UP","components":{"store":{"status":"UP"},"gate":{"status":"UP"}}})");
  }
}

TEST_F(AdminServerTest, IsNotReadyAndSaysWhyWhenOneIsDownButStaysAlive) {
  health_[1] = {"gate", false, "rebuilding \xff"};
  Start();
  for (const std::string path : {"/health/ready", "/actuator/health"}) {
    const Answer answer = Get(path);
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(
        answer.body,
        "{\"status\":\"DOWN\",\"components\":{\"store\":{\"status\":\"UP\"},"
        "\"gate\":{\"status\":\"DOWN\",\"details\":{\"message\":\"rebuilding \xEF\xBF\xBD\"}}}}");
  }
  for (const std::string path : {"/health/live", "/actuator/health/liveness"}) {
    EXPECT_EQ(Get(path).status, 200);
    EXPECT_EQ(Get(path).body, R"({"status":"UP"})");
  }
}

TEST_F(AdminServerTest, TellsWhatItIs) {
  Start();
  EXPECT_EQ(
      Get("/info").body,
      R"({"name":"ecom-server","version":"1.2.3","commit":"abc","compiler":"gcc",)"
      R"("started_at":"2025-12-25T09:02:23Z","backend":"embedded","config_digest":"0123456789ab"})");
  const Json info = Json::parse(Get("/actuator/info").body);
  EXPECT_EQ(info["build"]["version"], "1.2.3");
  EXPECT_EQ(info["git"]["commit"]["id"], "abc");
}

TEST_F(AdminServerTest, ShowsMetersInSpringBootsShape) {
  meters_ = {{.name = "http.server.requests",
              .description = "Requests",
              .base_unit = "seconds",
              .measurements = {{"COUNT", 3}, {"TOTAL_TIME", 0.25}},
              .tags = {{"uri", {"/a", "/b"}}}},
             {.name = "a.gauge",
              .description = "",
              .base_unit = "",
              .measurements = {{"VALUE", 1}},
              .tags = {}}};
  Start();
  EXPECT_EQ(Get("/actuator/metrics").body, R"({"names":["a.gauge","http.server.requests"]})");
  EXPECT_EQ(
      Get("/actuator/metrics/http.server.requests?tag=uri:/a").body,
      R"({"name":"http.server.requests","description":"Requests","baseUnit":"seconds",)"
      R"("measurements":[{"statistic":"COUNT","value":3.0},{"statistic":"TOTAL_TIME","value":0.25}],)"
      R"("availableTags":[{"tag":"uri","values":["/a","/b"]}]})");
  EXPECT_EQ(
      Get("/actuator/metrics/a.gauge").body,
      R"({"name":"a.gauge","measurements":[{"statistic":"VALUE","value":1.0}],"availableTags":[]})");
  EXPECT_EQ(Get("/actuator/metrics/unknown").status, 404);
}

TEST_F(AdminServerTest, ChangesTheLevelOfTheLog) {
  Start();
  const std::string path = "/actuator/loggers/ROOT";
  const auto post = [&](const std::string& body) {
    return Request(server_->port(), "POST", path,
                   "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  };
  const base::Level before = base::LogLevel();
  EXPECT_EQ(post(R"({"configuredLevel":"WARN"})").status, 204);
  EXPECT_FALSE(base::LogEnabled(base::Level::kInfo));
  EXPECT_EQ(Get(path).body, R"({"configuredLevel":"WARN","effectiveLevel":"WARN"})");
  for (const std::string wrong :
       {"", "{}", "DEBUG", R"({"configuredLevel":"LOUD"})", R"({"configuredLevel":1})", "[1]"}) {
    const Answer answer = post(wrong);
    EXPECT_EQ(answer.status, 400) << wrong;
    EXPECT_EQ(answer.body, R"({"code":"CM400","message":"잘못된 요청입니다."})") << wrong;
  }
  EXPECT_EQ(Request(server_->port(), "POST", path).status, 400);
  const Answer deleted = Request(server_->port(), "DELETE", path);
  EXPECT_EQ(deleted.status, 405);
  EXPECT_NE(deleted.headers.find("Allow: GET, POST\r\n"), std::string::npos) << deleted.headers;
  EXPECT_EQ(base::LogLevel(), base::Level::kWarn);
  base::SetLogLevel(before);
}

TEST_F(AdminServerTest, AnswersUnknownPathsAsTheContractDoes) {
  Start();
  for (const std::string path :
       {"/", "/metric", "/metrics/", "/actuator", "/actuator/metrics/", "/..%2finfo"}) {
    for (const std::string method : {"GET", "POST"}) {
      if (method == "POST" && path == "/actuator/metrics/") continue;
      const Answer answer = Request(server_->port(), method, path);
      EXPECT_EQ(answer.status, 404) << method << path;
      EXPECT_EQ(answer.body, R"({"code":"CM404","message":"요청하신 경로를 찾을 수 없습니다."})");
      EXPECT_NE(answer.headers.find("Content-Type: application/json\r\n"), std::string::npos);
    }
  }
}

TEST_F(AdminServerTest, AllowsNoMethodButGet) {
  Start();
  for (const std::string method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS"}) {
    const Answer answer = Request(server_->port(), method, "/info", "Content-Length: 3\r\n\r\nabc");
    EXPECT_EQ(answer.status, 405) << method;
    EXPECT_EQ(answer.body, R"({"code":"CM405","message":"허용되지 않은 메서드입니다."})");
    EXPECT_NE(answer.headers.find("Allow: GET\r\n"), std::string::npos);
  }
  const Answer head = Request(server_->port(), "HEAD", "/info");
  EXPECT_EQ(head.status, 405);
  EXPECT_EQ(head.body, "");
}

TEST_F(AdminServerTest, RefusesWhatIsTooLargeOrNoHttpAndGoesOn) {
  Start();
  EXPECT_EQ(Request(server_->port(), "POST", "/info",
                    "Content-Length: 2000\r\n\r\n" + std::string(2000, 'x'))
                .body,
            R"({"code":"CM413","message":"요청 본문이 너무 큽니다."})");
  EXPECT_EQ(Exchange(server_->port(), "nonsense\r\n\r\n").body,
            R"({"code":"CM400","message":"잘못된 요청입니다."})");
  EXPECT_EQ(Request(server_->port(), "BREW", "/info").status, 400);
  EXPECT_EQ(Request(server_->port(), "GET", "/" + std::string(9000, 'x')).status, 400);
  EXPECT_NE(Get("/info").status, 0);
}

TEST_F(AdminServerTest, CutsARequestWhoseHeadersAreTooLargeTogether) {
  Start();
  const std::string header = "X-Padding: " + std::string(1000, 'x') + "\r\n";
  std::string headers;
  for (int i = 0; i < 10; ++i) headers += header;
  EXPECT_EQ(Request(server_->port(), "GET", "/info", headers + "\r\n").status, 200);
  for (int i = 0; i < 30; ++i) headers += header;
  // 400, or nothing: closing with bytes unread may overtake the answer.
  EXPECT_NE(Request(server_->port(), "GET", "/info", headers + "\r\n").status, 200);
  EXPECT_EQ(Get("/info").status, 200);
}

TEST_F(AdminServerTest, CutsClientsThatSayNothingSoThatOthersAreServed) {
  connection_time_max_ = absl::Milliseconds(100);
  Start();
  const Connection first(server_->port());
  const Connection second(server_->port());  // both threads are taken
  EXPECT_EQ(Get("/info").status, 200);
}

TEST_F(AdminServerTest, ClosesTheConnectionAfterOneAnswer) {
  Start();
  EXPECT_NE(Get("/info").headers.find("Connection: close\r\n"), std::string::npos);
}

TEST_F(AdminServerTest, TurnsAnExceptionIntoTheContractsErrorAndLogsItOnce) {
  deps_.metrics = []() -> std::string { throw std::runtime_error("secret detail"); };
  const base::LogCapture log;
  Start();
  const Answer answer = Get("/metrics");
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ(answer.body, R"({"code":"CM500","message":"서버 오류가 발생했습니다."})");
  EXPECT_EQ(answer.headers.find("secret"), std::string::npos);
  ASSERT_EQ(log.Lines().size(), 1u);
  EXPECT_NE(log.Lines()[0].find("secret detail"), std::string::npos);
}

TEST_F(AdminServerTest, RefusesAPortThatIsTakenByAnotherAdminServer) {
  Start();
  const auto second = AdminServer::Create({.host = "127.0.0.1",
                                           .port = server_->port(),
                                           .connection_time_max = absl::Seconds(10),
                                           .info = {}},
                                          deps_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(second.status().message(), absl::StrCat("cannot listen on 127.0.0.1 port ",
                                                    server_->port(), ": Address already in use"));
  EXPECT_EQ(Get("/info").status, 200);
}

TEST_F(AdminServerTest, RefusesAnAddressThatIsNotThisMachines) {
  for (const std::string host : {"192.0.2.1", "no-such-host.invalid"}) {
    const auto server = AdminServer::Create(
        {.host = host, .port = 0, .connection_time_max = absl::Seconds(10), .info = {}}, deps_);
    EXPECT_EQ(server.status().code(), absl::StatusCode::kFailedPrecondition) << server.status();
  }
}

TEST_F(AdminServerTest, FreesThePortWhenItStopsAndMayBeStoppedTwice) {
  Start();
  const int port = server_->port();
  EXPECT_EQ(Get("/info").status, 200);
  server_->Stop();
  server_->Stop();
  EXPECT_FALSE(Connection(port).connected());
  const auto second = AdminServer::Create(
      {.host = "127.0.0.1", .port = port, .connection_time_max = absl::Seconds(10), .info = {}},
      deps_);
  EXPECT_TRUE(second.ok()) << second.status();
}

TEST_F(AdminServerTest, FinishesTheRequestThatHasBegunWhenItStops) {
  absl::Notification begun;
  absl::Notification may_end;
  deps_.metrics = [&] {
    begun.Notify();
    may_end.WaitForNotification();
    return std::string("slow\n");
  };
  Start();
  Answer answer;
  std::thread client([&] { answer = Get("/metrics"); });
  begun.WaitForNotification();
  std::thread stopper([&] { server_->Stop(); });
  may_end.Notify();
  client.join();
  stopper.join();
  EXPECT_EQ(answer.body, "slow\n");
}

TEST_F(AdminServerTest, ServesManyClientsAtOnce) {
  Start();
  std::atomic<int> served{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back([&] {
      for (int j = 0; j < 10; ++j) served += Get("/health/ready").status == 200 ? 1 : 0;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(served, 160);
}

}  // namespace
}  // namespace ecom::app
