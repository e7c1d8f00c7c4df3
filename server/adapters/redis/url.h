#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace ecom::adapters::redis {

/// Where a Redis listens: a TCP address, or a Unix socket when `socket_path` is not empty.
struct Address {
  std::string host;
  int port = 0;
  std::string socket_path;
};

/// Reads `redis://host[:port]` (port 6379 by default; an IPv6 host in brackets) or
/// `unix:///path/of/socket`. INVALID_ARGUMENT for anything else, also for a URL with a user, a
/// password or a database number: these would be ignored otherwise.
absl::StatusOr<Address> ParseUrl(std::string_view url);

}  // namespace ecom::adapters::redis
