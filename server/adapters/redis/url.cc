#include "adapters/redis/url.h"

#include <algorithm>

#include "absl/strings/numbers.h"

namespace ecom::adapters::redis {
namespace {

constexpr std::string_view kTcp = "redis://";
constexpr std::string_view kUnix = "unix://";
constexpr int kDefaultPort = 6379;

bool ConsumePrefix(std::string_view& text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// Does not repeat the URL, which may hold a password.
absl::Status Invalid() {
  return absl::InvalidArgumentError(
      "a Redis URL must be redis://host[:port] or unix:///path/of/socket, without user, password "
      "and database number");
}

}  // namespace

absl::StatusOr<Address> ParseUrl(std::string_view url) {
  Address address;
  if (ConsumePrefix(url, kUnix)) {
    if (url.empty() || url.front() != '/') return Invalid();
    address.socket_path = url;
    return address;
  }
  if (!ConsumePrefix(url, kTcp)) return Invalid();
  if (!url.empty() && url.back() == '/') url.remove_suffix(1);
  if (url.find_first_of("@/?#") != url.npos) return Invalid();

  std::string_view port;
  if (ConsumePrefix(url, "[")) {
    const size_t end = url.find(']');
    if (end == url.npos) return Invalid();
    address.host = url.substr(0, end);
    port = url.substr(end + 1);
  } else {
    const size_t end = std::min(url.find(':'), url.size());
    address.host = url.substr(0, end);
    port = url.substr(end);
  }
  if (address.host.empty()) return Invalid();
  address.port = kDefaultPort;
  if (port.empty()) return address;
  if (port.front() != ':' || !absl::SimpleAtoi(std::string(port.substr(1)), &address.port) ||
      address.port < 1 || address.port > 65535) {
    return Invalid();
  }
  return address;
}

}  // namespace ecom::adapters::redis
