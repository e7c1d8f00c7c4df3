#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/log.h"

namespace ecom::app {

enum class Backend {
  kEmbedded,  ///< one SQLite file in the data folder, and nothing else
  kStack,     ///< Redis, Kafka and MySQL
};

/// What a process does; each may run in several.
struct Roles {
  bool api = false;         ///< serves gRPC
  bool recorder = false;    ///< turns the log into rows
  bool reconciler = false;  ///< repairs gates and reservations

  friend bool operator==(const Roles&, const Roles&) = default;
};

/// Where to listen or to connect to over TCP.
struct HostPort {
  std::string host;  ///< a name, an IPv4 address, or an IPv6 address without its brackets
  int port = 0;      ///< 0 to 65535; 0 takes a free one, where that is allowed

  /// As `host:port`, an IPv6 address in brackets.
  std::string ToString() const;

  friend bool operator==(const HostPort&, const HostPort&) = default;
};

/// Where a Redis is.
struct RedisUrl {
  HostPort address;         ///< unused when `socket_path` is set
  std::string socket_path;  ///< of a Unix socket; empty: over TCP
  std::string user;
  std::string password;
  int database = 0;

  /// As a URL, the password masked.
  std::string ToString() const;
};

/// Where a MySQL or MariaDB is.
struct MysqlUrl {
  std::string user;
  std::string password;
  HostPort address;
  std::string database;

  /// As a URL, the password masked.
  std::string ToString() const;
};

/// The settings of the server. Each nested struct holds what one room uses, and only that; what
/// each means, with its default and bounds, stands once, in the table in config.cc.
struct Config {
  struct App {
    Backend backend = Backend::kEmbedded;
    Roles roles;
    std::string config_file;  ///< empty: none
    std::string data_dir;
    std::string tz_name;
    absl::TimeZone tz;
    absl::Duration drain_timeout;
  } app;

  struct SampleData {
    bool load = false;
    int64_t coupon_stock = 0;
  } sample_data;

  struct Rpc {
    HostPort address;
    std::string socket_path;
    int completion_queues = 0;
    int requests_in_flight_max = 0;
  } rpc;

  struct Admin {
    HostPort address;
  } admin;

  struct Coupon {
    int claim_batch_max = 0;
    int claims_queued_max = 0;
    absl::Duration claim_wait_target;
    int64_t reservations_max = 0;
    int record_batch_max = 0;
    int recorders = 0;
    absl::Duration ack_deadline;
    absl::Duration reconcile_interval;
  } coupon;

  struct Product {
    int64_t l1_entries_max = 0;
    int64_t l1_bytes_max = 0;
    absl::Duration soft_ttl;
    absl::Duration read_ahead;
    absl::Duration hard_ttl;
    absl::Duration negative_ttl;
    int loads_queued_max = 0;
    absl::Duration view_flush_interval;
  } product;

  struct Redis {
    RedisUrl gate;
    bool gate_cluster = false;
    RedisUrl cache;
  } redis;

  struct Kafka {
    std::vector<HostPort> brokers;
  } kafka;

  struct Mysql {
    MysqlUrl url;
  } mysql;

  struct Log {
    base::LogFormat format = base::LogFormat::kAuto;
    base::Level level = base::Level::kInfo;
  } log;
};

/// One effective setting, as --print-config shows it.
struct Setting {
  std::string_view name;
  std::string value;  ///< passwords masked
  std::string
      source;  ///< such as "flag --grpc-addr", "environment GRPC_ADDR", "ecom.conf:3", "default"
};

/// What the caller asked the program to do.
enum class Action { kRun, kHelp, kVersion, kPrintConfig };

struct ParsedConfig {
  Action action = Action::kRun;
  Config config;  ///< for kRun and kPrintConfig
  std::vector<Setting>
      settings;  ///< for kRun and kPrintConfig; every option, in the order of --help

  /// What --print-config prints: lines that a file of settings may hold, passwords apart.
  std::string Print() const;

  /// Tells two configurations apart: 12 hexadecimal digits of a SHA-256 over names and values,
  /// passwords left out.
  std::string Digest() const;
};

using Environment = std::map<std::string, std::string, std::less<>>;
using ReadFile = std::function<absl::StatusOr<std::string>(const std::string& path)>;

/// Works out the settings from the arguments (without the program's name), the environment and
/// the file that one of them names; the flag wins over the environment, that over the file, that
/// over the default. An empty environment variable counts as not set. --help and --version win
/// over everything, errors too. Of a flag that is given twice the last one counts.
///
/// The file has `name = value` lines; a line that begins with # is a comment. Names are those of
/// the flags or of the environment: case, dashes for underscores and ECOM_ make no difference.
///
/// A pure function but for `read_file`, which is called at most once, and the time zone database.
///
/// INVALID_ARGUMENT: the message has one line for each problem: its source, the value (masked
/// where it may hold a password) and what is allowed. Names that nobody knows are problems;
/// those that only the gateway knows are not.
absl::StatusOr<ParsedConfig> ParseConfig(std::span<const std::string> args,
                                         const Environment& environment, const ReadFile& read_file);

/// What --help prints.
std::string HelpText();

/// Reads a file of settings of at most 1 MiB. NOT_FOUND, PERMISSION_DENIED, INVALID_ARGUMENT when
/// it is larger or no regular file, UNAVAILABLE when reading failed. Blocks.
absl::StatusOr<std::string> ReadConfigFile(const std::string& path);

/// Copies a C environment such as `environ`; of a name that is there twice, the first counts.
Environment CopyEnvironment(const char* const* variables);

}  // namespace ecom::app
