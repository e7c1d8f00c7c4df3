#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace ecom::app {

/// How one part of the server is.
struct ComponentHealth {
  std::string name;
  bool up = false;
  std::string detail;  ///< why, for the operator; may be empty
};

/// What is known of the program and how it was started.
struct ServerInfo {
  std::string name;
  std::string version;
  std::string commit;
  std::string compiler;
  absl::Time started_at;
  std::string backend;
  std::string config_digest;
};

/// One meter in the shape of Spring Boot's /actuator/metrics/{name}.
struct Meter {
  struct Measurement {
    std::string statistic;  ///< "COUNT", "TOTAL_TIME", "MAX", "VALUE"
    double value = 0;
  };
  struct Tag {
    std::string name;
    std::vector<std::string> values;
  };

  std::string name;  ///< such as http.server.requests
  std::string description;
  std::string base_unit;  ///< such as "seconds"; empty: none
  std::vector<Measurement> measurements;
  std::vector<Tag> tags;
};

/// Tells operators and their tools how the server is, over HTTP: /metrics, /health/live,
/// /health/ready, /info, and the same under Spring Boot's /actuator. GET only, but for
/// /actuator/loggers/ROOT: a POST of {"configuredLevel":"DEBUG"} changes the level of the log.
///
/// Has two threads for requests and one that accepts; a connection serves one request of at most
/// 32 KiB.
class AdminServer {
 public:
  struct Options {
    std::string host = "127.0.0.1";
    /// 0 takes a free one.
    int port = 8082;
    /// From accepting a connection to the last byte of its answer: bounds slow clients, and Stop.
    absl::Duration connection_time_max = absl::Seconds(5);
    ServerInfo info;
  };

  /// Called from the server's two threads, also at once; should answer within a second or so.
  struct Deps {
    /// The metrics in Prometheus's text format.
    std::function<std::string()> metrics;
    /// The parts that must be up for the server to be ready.
    std::function<std::vector<ComponentHealth>()> health;
    /// The meters for /actuator/metrics.
    std::function<std::vector<Meter>()> meters;
    /// The hottest products with their views in the last minute, for /products/hot; may be empty.
    std::function<std::vector<std::pair<int64_t, int64_t>>()> hot_products;
  };

  /// Binds the address and answers from then on.
  ///
  /// FAILED_PRECONDITION, with a message for the operator: the address is taken, unknown, not of
  /// this machine, or not permitted.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Create(Options options, Deps deps);

  /// Stops.
  ~AdminServer();

  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  /// The port that is listened on.
  int port() const;

  /// Closes the port and finishes the requests that have begun, which takes up to
  /// connection_time_max and as long as a callback. No callback is called afterwards. Idempotent;
  /// for one thread at a time.
  void Stop();

 private:
  class Http;

  explicit AdminServer(std::unique_ptr<Http> http);

  std::unique_ptr<Http> http_;
};

}  // namespace ecom::app
