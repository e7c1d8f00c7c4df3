#include "app/config.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace ecom::app {
namespace {

/// One setting: all that is known of it.
struct Option {
  std::string_view section;
  std::string_view name;      ///< as a flag, without the dashes
  std::string_view env;       ///< as an environment variable
  std::string_view form;      ///< of its value, for --help
  std::string_view fallback;  ///< the default; <DATA_DIR> stands for the effective data-dir
  std::string_view help;
  std::string allowed = {};  ///< what values may be
  bool is_switch = false;    ///< the flag alone means true
  bool is_secret = false;    ///< may hold a password: its text is never shown
  /// Reads a value into the config; false, and the config untouched, when it is not allowed.
  std::function<bool(std::string_view text, Config& config)> parse = {};
  std::function<std::string(const Config& config)> show = {};
};

constexpr std::string_view kDataDirToken = "<DATA_DIR>";
constexpr std::string_view kMask = "****";

/// Far above any real file of settings; keeps a mistaken path from filling the memory.
constexpr size_t kConfigFileBytesMax = 1 << 20;

/// A path with a file name of ours behind it must fit PATH_MAX (4096).
constexpr size_t kPathBytesMax = 4000;

/// Settings that only the gateway reads: they may be in the environment and in the file, which
/// both processes share.
constexpr std::string_view kGatewayOnly[] = {
    "HTTP_ADDR",
    "GATEWAY_ADMIN_ADDR",
    "ECOM_SERVER_TARGET",
    "ECOM_UPSTREAM_TIMEOUT",
    "ECOM_DRAIN_GRACE",
    "ECOM_HTTP_CONNECTIONS_MAX",
    "ECOM_HTTP_IN_FLIGHT_MAX",
    "ECOM_HTTP_HEADER_TIMEOUT",
    "ECOM_LANES",
    "ECOM_PRODUCT_CACHE_MAX_AGE",
    "ECOM_PRODUCT_COPY_AGE_MAX",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
};

constexpr int kPortMax = 65535;
constexpr size_t kHostBytesMax = 253;  // RFC 1035, section 2.3.4

std::optional<int64_t> ParseNumber(std::string_view text) {
  int64_t number = 0;
  if (text.empty() || !std::ranges::all_of(text, absl::ascii_isdigit)) return std::nullopt;
  if (!absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &number)) return std::nullopt;
  return number;
}

bool HasControlCharacter(std::string_view text) {
  return std::ranges::any_of(text, absl::ascii_iscntrl);
}

bool IsHost(std::string_view host) {
  in6_addr address;
  if (host.find(':') != host.npos)
    return inet_pton(AF_INET6, std::string(host).c_str(), &address) == 1;
  return !host.empty() && host.size() <= kHostBytesMax &&
         std::ranges::all_of(host, [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
         });
}

/// Reads `host:port`; without `default_port` the port must be there.
std::optional<HostPort> ParseHostPort(std::string_view text, std::optional<int> default_port = {}) {
  HostPort result;
  std::string_view rest;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == text.npos) return std::nullopt;
    result.host = text.substr(1, end - 1);
    if (result.host.find(':') == std::string::npos) return std::nullopt;
    rest = text.substr(end + 1);
  } else {
    const size_t colon = std::min(text.find(':'), text.size());
    result.host = text.substr(0, colon);
    rest = text.substr(colon);
  }
  if (!IsHost(result.host)) return std::nullopt;
  if (rest.empty()) {
    if (!default_port) return std::nullopt;
    result.port = *default_port;
    return result;
  }
  const std::optional<int64_t> port = ParseNumber(rest.substr(1));
  if (rest[0] != ':' || !port || *port > kPortMax) return std::nullopt;
  result.port = static_cast<int>(*port);
  return result;
}

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size() || !absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 1])) ||
        !absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 2]))) {
      return std::nullopt;
    }
    decoded += absl::HexStringToBytes(std::string(text.substr(i + 1, 2)));
    i += 2;
  }
  return decoded;
}

std::string PercentEncode(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || std::strchr("-._~", c) != nullptr) {
      encoded += c;
    } else {
      absl::StrAppend(&encoded, "%",
                      absl::AsciiStrToUpper(absl::StrCat(absl::Hex(byte, absl::kZeroPad2))));
    }
  }
  return encoded;
}

/// The parts of a URL without query and fragment.
struct Url {
  std::string user;
  std::string password;
  HostPort address;
  std::string path;  ///< without the slash before it
};

std::optional<Url> ParseUrl(std::string_view text, std::string_view scheme, int default_port) {
  if (!text.starts_with(scheme)) return std::nullopt;
  text.remove_prefix(scheme.size());
  if (text.find_first_of("?# ") != text.npos || HasControlCharacter(text)) return std::nullopt;
  Url url;
  if (const size_t at = text.rfind('@'); at != text.npos) {
    const std::string_view user_info = text.substr(0, at);
    const size_t colon = std::min(user_info.find(':'), user_info.size());
    const std::optional<std::string> user = PercentDecode(user_info.substr(0, colon));
    const std::optional<std::string> password =
        colon < user_info.size() ? PercentDecode(user_info.substr(colon + 1)) : std::string();
    if (!user || !password) return std::nullopt;
    url.user = *user;
    url.password = *password;
    text.remove_prefix(at + 1);
  }
  const size_t slash = std::min(text.find('/'), text.size());
  const std::optional<HostPort> address = ParseHostPort(text.substr(0, slash), default_port);
  if (!address || address->port == 0) return std::nullopt;
  url.address = *address;
  if (slash < text.size()) url.path = text.substr(slash + 1);
  return url;
}

std::string ShowUserInfo(std::string_view user, std::string_view password) {
  if (user.empty() && password.empty()) return "";
  return absl::StrCat(PercentEncode(user), password.empty() ? "" : ":",
                      password.empty() ? "" : std::string(kMask), "@");
}

constexpr int kRedisDatabaseMax = 15;  // the most that a Redis has by default

std::optional<RedisUrl> ParseRedisUrl(std::string_view text) {
  constexpr std::string_view kSocketScheme = "unix://";
  if (text.starts_with(kSocketScheme)) {
    const std::string_view path = text.substr(kSocketScheme.size());
    if (path.empty() || path.size() > kPathBytesMax || HasControlCharacter(path))
      return std::nullopt;
    RedisUrl url;
    url.socket_path = path;
    return url;
  }
  const std::optional<Url> url = ParseUrl(text, "redis://", 6379);
  if (!url) return std::nullopt;
  const std::optional<int64_t> database = url->path.empty() ? 0 : ParseNumber(url->path);
  if (!database || *database > kRedisDatabaseMax) return std::nullopt;
  return RedisUrl{.address = url->address,
                  .socket_path = "",
                  .user = url->user,
                  .password = url->password,
                  .database = static_cast<int>(*database)};
}

constexpr size_t kMysqlNameBytesMax = 64;  // of a database; MySQL's limit

std::optional<MysqlUrl> ParseMysqlUrl(std::string_view text) {
  const std::optional<Url> url = ParseUrl(text, "mysql://", 3306);
  if (!url || url->user.empty() || url->path.empty() || url->path.size() > kMysqlNameBytesMax)
    return std::nullopt;
  const bool is_name = std::ranges::all_of(url->path, [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '$';
  });
  if (!is_name) return std::nullopt;
  return MysqlUrl{
      .user = url->user, .password = url->password, .address = url->address, .database = url->path};
}

// Each of the following completes an option with how its value is read and shown. `field` returns
// a reference to where the value is kept.

template <typename Field>
Option Number(Option option, int64_t smallest, int64_t largest, Field field) {
  option.allowed = absl::StrCat("a whole number from ", smallest, " to ", largest);
  option.parse = [=](std::string_view text, Config& config) -> bool {
    const std::optional<int64_t> number = ParseNumber(text);
    if (!number || *number < smallest || *number > largest) return false;
    field(config) = static_cast<std::decay_t<decltype(field(config))>>(*number);
    return true;
  };
  option.show = [=](const Config& config) { return absl::StrCat(field(config)); };
  return option;
}

template <typename Field>
Option Bytes(Option option, int64_t smallest, int64_t largest, Field field) {
  option.allowed = absl::StrCat("a number of bytes from ", smallest, " to ", largest,
                                ", with KiB, MiB or GiB behind it if you like");
  option.parse = [=](std::string_view text, Config& config) -> bool {
    int64_t unit = 1;
    for (const auto& [suffix, bytes] :
         {std::pair<std::string_view, int64_t>{"KiB", int64_t{1} << 10},
          {"MiB", int64_t{1} << 20},
          {"GiB", int64_t{1} << 30}}) {
      if (!text.ends_with(suffix)) continue;
      text.remove_suffix(suffix.size());
      unit = bytes;
      break;
    }
    const std::optional<int64_t> number = ParseNumber(text);
    if (!number || *number > largest / unit || *number * unit < smallest) return false;
    field(config) = *number * unit;
    return true;
  };
  option.show = [=](const Config& config) { return absl::StrCat(field(config)); };
  return option;
}

template <typename Field>
Option Duration(Option option, absl::Duration shortest, absl::Duration longest, Field field) {
  option.allowed =
      absl::StrCat("a duration such as 500ms, 5s or 1m30s, from ", absl::FormatDuration(shortest),
                   " to ", absl::FormatDuration(longest));
  option.parse = [=](std::string_view text, Config& config) -> bool {
    absl::Duration duration;
    if (!absl::ParseDuration(absl::string_view(text.data(), text.size()), &duration)) return false;
    if (duration < shortest || duration > longest) return false;
    field(config) = duration;
    return true;
  };
  option.show = [=](const Config& config) { return absl::FormatDuration(field(config)); };
  return option;
}

template <typename Value, typename Field>
Option Choice(Option option, std::vector<std::pair<std::string_view, Value>> choices, Field field) {
  option.allowed = absl::StrCat(
      "one of ", absl::StrJoin(choices, ", ", [](std::string* out, const auto& choice) {
        out->append(choice.first);
      }));
  option.parse = [=](std::string_view text, Config& config) -> bool {
    const auto found = std::ranges::find(choices, text, &std::pair<std::string_view, Value>::first);
    if (found == choices.end()) return false;
    field(config) = found->second;
    return true;
  };
  option.show = [=](const Config& config) {
    return std::string(
        std::ranges::find(choices, field(config), &std::pair<std::string_view, Value>::second)
            ->first);
  };
  return option;
}

template <typename Field>
Option Switch(Option option, Field field) {
  option.is_switch = true;
  return Choice<bool>(std::move(option), {{"true", true}, {"false", false}}, field);
}

template <typename Field>
Option Path(Option option, bool may_be_empty, Field field) {
  option.allowed =
      absl::StrCat("a path of at most ", kPathBytesMax, " bytes without control characters");
  option.parse = [=](std::string_view text, Config& config) -> bool {
    if (text.empty() && !may_be_empty) return false;
    if (text.size() > kPathBytesMax || HasControlCharacter(text)) return false;
    field(config) = text;
    return true;
  };
  option.show = [=](const Config& config) { return field(config); };
  return option;
}

template <typename Field>
Option ListenAddress(Option option, Field field) {
  option.allowed =
      "host:port with a port from 0 to 65535, the host a name, an IPv4 address or an [IPv6 "
      "address]";
  option.parse = [=](std::string_view text, Config& config) -> bool {
    const std::optional<HostPort> address = ParseHostPort(text);
    if (!address) return false;
    field(config) = *address;
    return true;
  };
  option.show = [=](const Config& config) { return field(config).ToString(); };
  return option;
}

Option Brokers(Option option) {
  constexpr size_t kBrokersMax = 16;
  option.allowed = absl::StrCat(
      "1 to ", kBrokersMax, " times host:port with a port from 1 to 65535, with commas between");
  option.parse = [=](std::string_view text, Config& config) -> bool {
    std::vector<HostPort> brokers;
    for (const std::string& part :
         std::vector<std::string>(absl::StrSplit(std::string(text), ','))) {
      const std::optional<HostPort> broker = ParseHostPort(part);
      if (!broker || broker->port == 0) return false;
      brokers.push_back(*broker);
    }
    if (brokers.size() > kBrokersMax) return false;
    config.kafka.brokers = std::move(brokers);
    return true;
  };
  option.show = [](const Config& config) {
    return absl::StrJoin(config.kafka.brokers, ",", [](std::string* out, const HostPort& broker) {
      out->append(broker.ToString());
    });
  };
  return option;
}

template <typename Field>
Option Redis(Option option, Field field) {
  option.is_secret = true;
  option.allowed =
      absl::StrCat("redis://[user[:password]@]host[:port][/database] with a database from 0 to ",
                   kRedisDatabaseMax, ", or unix://path; other characters as %XX");
  option.parse = [=](std::string_view text, Config& config) -> bool {
    std::optional<RedisUrl> url = ParseRedisUrl(text);
    if (!url) return false;
    field(config) = *std::move(url);
    return true;
  };
  option.show = [=](const Config& config) { return field(config).ToString(); };
  return option;
}

Option Mysql(Option option) {
  option.is_secret = true;
  option.allowed = "mysql://user[:password]@host[:port]/database; other characters as %XX";
  option.parse = [](std::string_view text, Config& config) -> bool {
    std::optional<MysqlUrl> url = ParseMysqlUrl(text);
    if (!url) return false;
    config.mysql.url = *std::move(url);
    return true;
  };
  option.show = [](const Config& config) { return config.mysql.url.ToString(); };
  return option;
}

constexpr std::pair<std::string_view, bool Roles::*> kRoles[] = {
    {"api", &Roles::api}, {"recorder", &Roles::recorder}, {"reconciler", &Roles::reconciler}};

Option RoleList(Option option) {
  option.allowed = "one or more of api, recorder and reconciler, with commas between";
  option.parse = [](std::string_view text, Config& config) -> bool {
    Roles roles;
    for (const std::string& name :
         std::vector<std::string>(absl::StrSplit(std::string(text), ','))) {
      const auto role =
          std::ranges::find(kRoles, name, &std::pair<std::string_view, bool Roles::*>::first);
      if (role == std::end(kRoles)) return false;
      roles.*role->second = true;
    }
    config.app.roles = roles;
    return true;
  };
  option.show = [](const Config& config) {
    std::vector<std::string> names;
    for (const auto& [name, role] : kRoles) {
      if (config.app.roles.*role) names.emplace_back(name);
    }
    return absl::StrJoin(names, ",");
  };
  return option;
}

Option Zone(Option option) {
  option.allowed = "a name of the IANA time zone database, such as Asia/Seoul or UTC";
  option.parse = [](std::string_view text, Config& config) -> bool {
    // The loader would read any file of the machine by its path; the gateway's does not.
    if (text.empty() || text.starts_with('/') || text.find("..") != text.npos) return false;
    if (!absl::LoadTimeZone(absl::string_view(text.data(), text.size()), &config.app.tz))
      return false;
    config.app.tz_name = text;
    return true;
  };
  option.show = [](const Config& config) { return config.app.tz_name; };
  return option;
}

#define ECOM_FIELD(path) \
  [](auto& config) -> auto& { return config.path; }

/// Every option, by sections, in the order of --help. data-dir is before those that derive from it.
std::vector<Option> MakeOptions() {
  constexpr std::string_view kGeneral = "General";
  constexpr std::string_view kListening = "Listening";
  constexpr std::string_view kCoupons = "Coupons";
  constexpr std::string_view kProducts = "Products";
  constexpr std::string_view kStack = "Stack (used with backend = stack)";
  constexpr std::string_view kLogging = "Logging";
  constexpr int64_t kMiB = 1 << 20;
  using base::Level;
  using base::LogFormat;
  return {
      Path({kGeneral, "config", "ECOM_CONFIG", "FILE", "",
            "A file with settings, one name = value a line."},
           true, ECOM_FIELD(app.config_file)),
      Choice<Backend>(
          {kGeneral, "backend", "BACKEND", "NAME", "embedded",
           "Where everything is kept: in one SQLite file, or in Redis, Kafka and MySQL."},
          {{"embedded", Backend::kEmbedded}, {"stack", Backend::kStack}}, ECOM_FIELD(app.backend)),
      RoleList({kGeneral, "roles", "ECOM_ROLES", "NAME,...", "api,recorder,reconciler",
                "What this process does. With backend = embedded it has to be all of it."}),
      Path({kGeneral, "data-dir", "DATA_DIR", "FOLDER", ".data",
            "The folder of the data file and the sockets."},
           false, ECOM_FIELD(app.data_dir)),
      Zone({kGeneral, "tz", "TZ", "ZONE", "Asia/Seoul",
            "The zone in which REST shows times. What is stored is UTC."}),
      Switch({kGeneral, "sample-data", "ECOM_SAMPLE_DATA", "BOOL", "false",
              "Loads the sample coupons and products at start, where they are not there yet."},
             ECOM_FIELD(sample_data.load)),
      Number({kGeneral, "coupon-stock", "COUPON_STOCK", "UNITS", "1000",
              "The stock of sample coupon 1 when it is first loaded."},
             1, 1'000'000'000, ECOM_FIELD(sample_data.coupon_stock)),
      Duration({kGeneral, "drain-timeout", "ECOM_DRAIN_TIMEOUT", "DURATION", "10s",
                "How long a stopping server waits for requests in flight."},
               absl::ZeroDuration(), absl::Minutes(10), ECOM_FIELD(app.drain_timeout)),

      ListenAddress({kListening, "grpc-addr", "GRPC_ADDR", "HOST:PORT", "127.0.0.1:50051",
                     "Where gRPC is served over TCP. Port 0 takes a free one."},
                    ECOM_FIELD(rpc.address)),
      Path({kListening, "grpc-socket", "ECOM_GRPC_SOCKET", "PATH", "<DATA_DIR>/server.sock",
            "The Unix socket on which gRPC is served to the gateway."},
           false, ECOM_FIELD(rpc.socket_path)),
      ListenAddress(
          {kListening, "admin-addr", "ADMIN_ADDR", "HOST:PORT", "127.0.0.1:8082",
           "Where health, info and metrics are served over HTTP. Port 0 takes a free one."},
          ECOM_FIELD(admin.address)),
      Number({kListening, "completion-queues", "ECOM_COMPLETION_QUEUES", "COUNT", "1",
              "Threads that take gRPC requests in."},
             1, 8, ECOM_FIELD(rpc.completion_queues)),
      Number({kListening, "requests-in-flight-max", "ECOM_REQUESTS_IN_FLIGHT_MAX", "COUNT", "4096",
              "Requests that are worked on at once; more are refused."},
             1, 100'000, ECOM_FIELD(rpc.requests_in_flight_max)),

      Number({kCoupons, "claim-batch-max", "ECOM_CLAIM_BATCH_MAX", "COUNT", "256",
              "Claims that go to the gate and to the log in one call."},
             1, 10'000, ECOM_FIELD(coupon.claim_batch_max)),
      Number({kCoupons, "claims-queued-max", "ECOM_CLAIMS_QUEUED_MAX", "COUNT", "8192",
              "Claims that wait for their batch; more are refused. Not below claim-batch-max."},
             1, 1'000'000, ECOM_FIELD(coupon.claims_queued_max)),
      Duration(
          {kCoupons, "claim-wait-target", "ECOM_CLAIM_WAIT_TARGET", "DURATION", "200ms",
           "When a claim has been on its way to gate and log for longer, this is overload: then "
           "more than come out within this time, and than claim-batch-max, are refused at once."},
          absl::Milliseconds(1), absl::Minutes(1), ECOM_FIELD(coupon.claim_wait_target)),
      Number({kCoupons, "reservations-max", "ECOM_RESERVATIONS_MAX", "COUNT", "100000",
              "Claims of one coupon that are accepted and not yet recorded; more are refused."},
             1, 10'000'000, ECOM_FIELD(coupon.reservations_max)),
      Number({kCoupons, "record-batch-max", "ECOM_RECORD_BATCH_MAX", "COUNT", "1000",
              "Claims that are recorded in one transaction."},
             1, 100'000, ECOM_FIELD(coupon.record_batch_max)),
      Number(
          {kCoupons, "recorders", "ECOM_RECORDERS", "COUNT", "3",
           "Consumers of the claim log in this process, with backend = stack: as many as the log "
           "has partitions, less what other processes have."},
          1, 64, ECOM_FIELD(coupon.recorders)),
      Duration({kCoupons, "ack-deadline", "ECOM_ACK_DEADLINE", "DURATION", "2s",
                "How long after the gate was asked QUEUED may still be sent."},
               absl::Milliseconds(50), absl::Minutes(1), ECOM_FIELD(coupon.ack_deadline)),
      Duration({kCoupons, "reconcile-interval", "ECOM_RECONCILE_INTERVAL", "DURATION", "1s",
                "How often gate, log and store are compared."},
               absl::Milliseconds(10), absl::Minutes(10), ECOM_FIELD(coupon.reconcile_interval)),

      Number({kProducts, "product-l1-entries-max", "ECOM_PRODUCT_L1_ENTRIES_MAX", "COUNT", "10000",
              "Products that are kept in the process."},
             1, 10'000'000, ECOM_FIELD(product.l1_entries_max)),
      Bytes({kProducts, "product-l1-bytes-max", "ECOM_PRODUCT_L1_BYTES_MAX", "BYTES", "64MiB",
             "Memory of the products that are kept in the process."},
            kMiB, int64_t{64} * 1024 * kMiB, ECOM_FIELD(product.l1_bytes_max)),
      Duration({kProducts, "product-soft-ttl", "ECOM_PRODUCT_SOFT_TTL", "DURATION", "5s",
                "Age from which a kept product is read again before it is answered. Not above "
                "product-hard-ttl."},
               absl::ZeroDuration(), absl::Hours(1), ECOM_FIELD(product.soft_ttl)),
      Duration({kProducts, "product-read-ahead", "ECOM_PRODUCT_READ_AHEAD", "DURATION", "1m",
                "How long after it was last asked for a kept product is read again before it is "
                "old; 0: only while it is hot."},
               absl::ZeroDuration(), absl::Hours(1), ECOM_FIELD(product.read_ahead)),
      Duration({kProducts, "product-hard-ttl", "ECOM_PRODUCT_HARD_TTL", "DURATION", "60s",
                "Age from which a kept product is not answered any more."},
               absl::ZeroDuration(), absl::Hours(1), ECOM_FIELD(product.hard_ttl)),
      Duration({kProducts, "product-negative-ttl", "ECOM_PRODUCT_NEGATIVE_TTL", "DURATION", "1s",
                "How long it is remembered that a product does not exist."},
               absl::ZeroDuration(), absl::Minutes(10), ECOM_FIELD(product.negative_ttl)),
      Number({kProducts, "product-loads-queued-max", "ECOM_PRODUCT_LOADS_QUEUED_MAX", "COUNT",
              "4096", "Products that wait to be read from the store; more are refused."},
             1, 1'000'000, ECOM_FIELD(product.loads_queued_max)),
      Duration({kProducts, "view-flush-interval", "ECOM_VIEW_FLUSH_INTERVAL", "DURATION", "500ms",
                "How often counted views are added to the totals."},
               absl::Milliseconds(10), absl::Seconds(10), ECOM_FIELD(product.view_flush_interval)),

      Redis({kStack, "redis-url", "REDIS_URL", "URL", "redis://127.0.0.1:6379",
             "The Redis of the gate."},
            ECOM_FIELD(redis.gate)),
      Switch({kStack, "redis-cluster", "ECOM_REDIS_CLUSTER", "BOOL", "false",
              "Puts the coupon's id in braces in the gate's keys, as Redis Cluster needs it."},
             ECOM_FIELD(redis.gate_cluster)),
      Redis({kStack, "cache-url", "CACHE_URL", "URL", "unix://<DATA_DIR>/cache.sock",
             "The Redis of the product cache; never the gate's, whose keys must not be evicted."},
            ECOM_FIELD(redis.cache)),
      Brokers({kStack, "kafka-brokers", "KAFKA_BROKERS", "HOST:PORT,...", "127.0.0.1:9092",
               "Brokers of the Kafka that holds the claim log."}),
      Mysql({kStack, "mysql-url", "MYSQL_URL", "URL", "mysql://ecom:ecom@127.0.0.1:3306/ecommerce",
             "The MySQL or MariaDB that holds coupons and products."}),

      Choice<LogFormat>(
          {kLogging, "log-format", "ECOM_LOG_FORMAT", "NAME", "auto",
           "How log lines look; auto is text on a terminal, else json."},
          {{"auto", LogFormat::kAuto}, {"json", LogFormat::kJson}, {"text", LogFormat::kText}},
          ECOM_FIELD(log.format)),
      Choice<Level>(
          {kLogging, "log-level", "ECOM_LOG_LEVEL", "NAME", "info", "Which log lines are written."},
          {{"debug", Level::kDebug},
           {"info", Level::kInfo},
           {"warn", Level::kWarn},
           {"error", Level::kError}},
          ECOM_FIELD(log.level)),
  };
}

#undef ECOM_FIELD

const std::vector<Option>& Options() {
  static const auto& options = *new std::vector<Option>(MakeOptions());
  return options;
}

constexpr std::string_view kConfigName = "config";

/// The one form of a name that flags, environment and file agree on: `ECOM_LOG_LEVEL`,
/// `log-level` and `LOG_LEVEL` are all log-level.
std::string PlainName(std::string_view name) {
  std::string plain = absl::AsciiStrToLower(absl::StrReplaceAll(std::string(name), {{"_", "-"}}));
  if (plain.starts_with("ecom-")) plain.erase(0, 5);
  return plain;
}

const Option* FindOption(std::string_view plain_name) {
  const auto found = std::ranges::find(Options(), plain_name, &Option::name);
  return found == Options().end() ? nullptr : &*found;
}

bool IsGatewayOnly(std::string_view plain_name) {
  return std::ranges::any_of(kGatewayOnly,
                             [&](std::string_view name) { return PlainName(name) == plain_name; });
}

/// The number of single-character edits between two names (Levenshtein).
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row.back();
}

constexpr size_t kNameBytesMax = 64;  // longer ones resemble none of ours

/// "; did you mean …?" with the option that is at most two edits away, or nothing.
std::string DidYouMean(std::string_view plain_name, std::string_view prefix,
                       std::string_view Option::*spelling) {
  if (plain_name.size() > kNameBytesMax) return "";
  const auto distance = [&](const Option& option) { return EditDistance(plain_name, option.name); };
  const auto nearest = std::ranges::min_element(Options(), {}, distance);
  if (distance(*nearest) > 2) return "";
  return absl::StrCat("; did you mean ", std::string(prefix), std::string((*nearest).*spelling),
                      "?");
}

/// Text of others, fit for one line of a message.
std::string Quote(std::string_view text) {
  constexpr size_t kShownBytesMax = 120;
  const bool is_long = text.size() > kShownBytesMax;
  return absl::StrCat("\"", absl::Utf8SafeCEscape(std::string(text.substr(0, kShownBytesMax))),
                      is_long ? "…" : "", "\"");
}

/// The text that one source gives for an option, and how to name that source.
struct Given {
  std::string text;
  std::string source;
};

/// What one source gives, by the name of the option.
using Givens = std::map<std::string_view, Given>;

/// All that is wrong, one line each.
using Problems = std::vector<std::string>;

struct Arguments {
  Action action = Action::kRun;
  Givens given;
};

Arguments ReadArguments(std::span<const std::string> args, Problems& problems) {
  Arguments result;
  const auto ask_for = [&](Action action) {
    result.action = result.action == Action::kHelp ? Action::kHelp : action;
  };
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string_view arg = args[i];
    if (arg == "--help" || arg == "-h") {
      ask_for(Action::kHelp);
      continue;
    }
    if (arg == "--version") {
      ask_for(Action::kVersion);
      continue;
    }
    if (arg == "--print-config") {
      if (result.action == Action::kRun) result.action = Action::kPrintConfig;
      continue;
    }
    if (!arg.starts_with("--")) {
      // Not shown: it may be a password that a missing quote split off.
      problems.push_back(absl::StrCat("argument ", i + 1, ": not a flag; flags begin with --"));
      continue;
    }
    const size_t equals = std::min(arg.find('='), arg.size());
    const std::string_view name = arg.substr(2, equals - 2);
    const bool has_value = equals < arg.size();
    const bool next_is_value = i + 1 < args.size() && !args[i + 1].starts_with("--");
    const Option* option = FindOption(name);
    if (option == nullptr) {
      problems.push_back(absl::StrCat("flag ",
                                      absl::Utf8SafeCEscape(std::string(arg.substr(0, equals))),
                                      ": no such flag", DidYouMean(name, "--", &Option::name)));
      if (!has_value && next_is_value) ++i;
      continue;
    }
    Given given{.text = "true", .source = absl::StrCat("flag --", std::string(name))};
    if (has_value) {
      given.text = arg.substr(equals + 1);
    } else if (!option->is_switch) {
      if (!next_is_value) {
        problems.push_back(absl::StrCat(given.source, ": needs a value: ", option->allowed));
        continue;
      }
      given.text = args[++i];
    }
    result.given[option->name] = std::move(given);
  }
  return result;
}

Givens ReadVariables(const Environment& environment, Problems& problems) {
  Givens result;
  for (const auto& [name, text] : environment) {
    const auto option = std::ranges::find(Options(), name, &Option::env);
    if (option != Options().end()) {
      if (!text.empty())
        result[option->name] = {.text = text, .source = absl::StrCat("environment ", name)};
      continue;
    }
    const bool is_ours = absl::StartsWith(name, "ECOM_");
    if (!is_ours || std::ranges::find(kGatewayOnly, name) != std::end(kGatewayOnly)) continue;
    problems.push_back(absl::StrCat("environment ", absl::Utf8SafeCEscape(name),
                                    ": no such setting",
                                    DidYouMean(PlainName(name), "", &Option::env)));
  }
  return result;
}

Givens ReadLines(const std::string& path, std::string_view text, Problems& problems) {
  Givens result;
  size_t number = 0;
  std::set<std::string> seen;
  for (const auto& piece : std::vector<std::string>(absl::StrSplit(std::string(text), '\n'))) {
    const std::string source = absl::StrCat(path, ":", ++number);
    const std::string line(absl::StripAsciiWhitespace(piece));
    if (line.empty() || line[0] == '#') continue;
    const size_t equals = line.find('=');
    if (equals == std::string::npos) {
      problems.push_back(absl::StrCat(source, ": not of the form name = value"));
      continue;
    }
    const std::string name(absl::StripAsciiWhitespace(line.substr(0, equals)));
    const std::string plain_name = PlainName(name);
    if (!seen.insert(plain_name).second) {
      problems.push_back(absl::StrCat(source, ": ", Quote(name), " is set a second time"));
      continue;
    }
    if (plain_name == kConfigName) {
      problems.push_back(absl::StrCat(source, ": a file of settings cannot name another one"));
      continue;
    }
    if (IsGatewayOnly(plain_name)) continue;
    const Option* option = FindOption(plain_name);
    if (option == nullptr) {
      problems.push_back(absl::StrCat(source, ": no such setting: ", Quote(name),
                                      DidYouMean(plain_name, "", &Option::name)));
      continue;
    }
    result[option->name] = {
        .text = std::string(absl::StripAsciiWhitespace(line.substr(equals + 1))), .source = source};
  }
  return result;
}

/// The sources by precedence: the first that gives an option a value wins.
struct Sources {
  Givens flags;
  Givens variables;
  Givens file;

  const Given* Find(std::string_view name) const {
    for (const Givens* givens : {&flags, &variables, &file}) {
      if (const auto found = givens->find(name); found != givens->end()) return &found->second;
    }
    return nullptr;
  }
};

Givens ReadFileOf(const Sources& sources, const ReadFile& read_file, Problems& problems) {
  const Given* path = sources.Find(kConfigName);
  if (path == nullptr || path->text.empty()) return {};
  const absl::StatusOr<std::string> text = read_file(path->text);
  if (!text.ok()) {
    problems.push_back(absl::StrCat(path->source, ": ", Quote(path->text), ": ",
                                    std::string(text.status().message())));
    return {};
  }
  return ReadLines(path->text, *text, problems);
}

/// Reads every option from its source into the config; what is not allowed is a problem.
std::vector<Setting> Resolve(const Sources& sources, Config& config, Problems& problems) {
  std::vector<Setting> settings;
  for (const Option& option : Options()) {
    const Given* found = sources.Find(option.name);
    const Given given = found != nullptr
                            ? *found
                            : Given{.text = absl::StrReplaceAll(
                                        std::string(option.fallback),
                                        {{std::string(kDataDirToken), config.app.data_dir}}),
                                    .source = "default"};
    if (!option.parse(given.text, config)) {
      problems.push_back(absl::StrCat(given.source, ": ",
                                      option.is_secret ? std::string(kMask) : Quote(given.text),
                                      " is not allowed: must be ", option.allowed));
      continue;
    }
    settings.push_back({.name = option.name, .value = option.show(config), .source = given.source});
  }
  return settings;
}

/// What no option can check alone. Runs on a config in which each option is allowed.
void CheckTogether(const Config& config, const std::vector<Setting>& settings, Problems& problems) {
  const auto complain = [&](std::string_view name, std::string_view rule, std::string_view other) {
    const Setting& setting = *std::ranges::find(settings, name, &Setting::name);
    const Setting& against = *std::ranges::find(settings, other, &Setting::name);
    problems.push_back(absl::StrCat(setting.source, ": ", std::string(name), " = ", setting.value,
                                    std::string(rule), std::string(other), " = ", against.value,
                                    " (", against.source, ")"));
  };
  if (config.coupon.claim_batch_max > config.coupon.claims_queued_max) {
    complain("claims-queued-max", " must not be below ", "claim-batch-max");
  }
  if (config.app.backend == Backend::kEmbedded &&
      config.app.roles != Roles{.api = true, .recorder = true, .reconciler = true}) {
    complain("roles", " must be all of them with ", "backend");
  }
  if (config.product.soft_ttl > config.product.hard_ttl) {
    complain("product-soft-ttl", " must not be above ", "product-hard-ttl");
  }
  if (config.rpc.address.port != 0 && config.rpc.address == config.admin.address) {
    complain("admin-addr", " must differ from ", "grpc-addr");
  }
}

}  // namespace

std::string HostPort::ToString() const {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return is_ipv6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

std::string RedisUrl::ToString() const {
  if (!socket_path.empty()) return absl::StrCat("unix://", socket_path);
  return absl::StrCat("redis://", ShowUserInfo(user, password), address.ToString(), "/", database);
}

std::string MysqlUrl::ToString() const {
  return absl::StrCat("mysql://", ShowUserInfo(user, password), address.ToString(), "/", database);
}

absl::StatusOr<ParsedConfig> ParseConfig(std::span<const std::string> args,
                                         const Environment& environment,
                                         const ReadFile& read_file) {
  Problems problems;
  Sources sources;
  Arguments arguments = ReadArguments(args, problems);
  ParsedConfig parsed{.action = arguments.action, .config = {}, .settings = {}};
  if (parsed.action == Action::kHelp || parsed.action == Action::kVersion) return parsed;

  sources.flags = std::move(arguments.given);
  sources.variables = ReadVariables(environment, problems);
  sources.file = ReadFileOf(sources, read_file, problems);
  parsed.settings = Resolve(sources, parsed.config, problems);
  if (problems.empty()) CheckTogether(parsed.config, parsed.settings, problems);
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
  return parsed;
}

std::string ParsedConfig::Print() const {
  std::string text;
  for (const Setting& setting : settings) {
    // A file of settings cannot name one, so this line would be refused.
    const std::string_view comment = setting.name == kConfigName ? "# " : "";
    absl::StrAppend(&text, "# from ", setting.source, "\n", std::string(comment),
                    std::string(setting.name), " = ", setting.value, "\n");
  }
  return text;
}

std::string ParsedConfig::Digest() const {
  std::string text;
  for (const Setting& setting : settings) {
    absl::StrAppend(&text, std::string(setting.name), "=", setting.value, "\n");
  }
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const uint8_t*>(text.data()), text.size(), digest.data());
  constexpr size_t kDigestBytes = 6;
  return absl::BytesToHexString(std::string(digest.begin(), digest.begin() + kDigestBytes));
}

std::string HelpText() {
  std::string text =
      "Usage: ecom-server [flags]\n"
      "\n"
      "Serves coupons and products over gRPC.\n"
      "\n"
      "A setting is taken from its flag, else from its environment variable, else from the file\n"
      "that --config names, else it is the default. In the file, a line is name = value or a\n"
      "# comment; names are those of the flags or of the environment.\n"
      "\n"
      "  --help          prints this and ends\n"
      "  --version       prints the version and ends\n"
      "  --print-config  prints every setting with its source, passwords masked, and ends\n";
  std::string_view section;
  for (const Option& option : Options()) {
    if (option.section != section) absl::StrAppend(&text, "\n", std::string(option.section), ":\n");
    section = option.section;
    const std::string form =
        option.is_switch ? "[=BOOL]" : absl::StrCat("=", std::string(option.form));
    absl::StrAppend(&text, "  --", std::string(option.name), form, "\n      ",
                    std::string(option.help), "\n      Is ", option.allowed, ".\n");
    absl::StrAppend(&text, "      Environment: ", std::string(option.env),
                    ". Default: ", option.fallback.empty() ? "none" : std::string(option.fallback),
                    ".\n");
  }
  return text;
}

absl::StatusOr<std::string> ReadConfigFile(const std::string& path) {
  const int fd =
      open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO must not hold us up
  if (fd < 0) return absl::ErrnoToStatus(errno, "cannot open the file of settings");
  std::string text;
  absl::Status status = absl::OkStatus();
  struct stat file {};
  if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) {
    status = absl::InvalidArgumentError("not a regular file");
  }
  char chunk[16384];
  while (status.ok()) {
    const ssize_t count = read(fd, chunk, sizeof chunk);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      status = absl::UnavailableError(absl::StrCat("reading failed: ", std::strerror(errno)));
    if (count <= 0) break;
    text.append(chunk, static_cast<size_t>(count));
    if (text.size() > kConfigFileBytesMax) {
      status =
          absl::InvalidArgumentError(absl::StrCat("larger than ", kConfigFileBytesMax, " bytes"));
    }
  }
  close(fd);
  if (!status.ok()) return status;
  return text;
}

Environment CopyEnvironment(const char* const* variables) {
  Environment environment;
  for (; *variables != nullptr; ++variables) {
    const std::string_view variable = *variables;
    const size_t equals = std::min(variable.find('='), variable.size());
    const std::string_view value =
        equals < variable.size() ? variable.substr(equals + 1) : std::string_view();
    environment.emplace(variable.substr(0, equals), value);
  }
  return environment;
}

}  // namespace ecom::app
