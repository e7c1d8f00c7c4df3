#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace ecom::ctl {

/// What ecomctl exits with.
enum class Exit {
  kClean = 0,
  kBroken = 1,  ///< a promise is broken, or what was asked for did not happen
  kUnable = 2,  ///< it cannot tell: bad arguments, or a dependency that does not answer
};

/// A command with its flags, such as `verify --coupon 1 --journal a --journal b`.
struct CommandLine {
  std::string command;  ///< one of those that HelpText lists, such as "verify" or "gate show"
  std::map<std::string, std::vector<std::string>> flags;
  std::vector<std::string> settings;  ///< `--name=value` that the server has, too
  bool help = false;

  bool Has(const std::string& name) const { return flags.contains(name); }
  bool AsJson() const;
  /// The last value of a flag; nullopt: it is not there.
  std::optional<std::string> Text(const std::string& name) const;
  /// INVALID_ARGUMENT: it is not there, or no number from 0 on.
  absl::StatusOr<int64_t> Number(const std::string& name) const;
  absl::StatusOr<int64_t> Number(const std::string& name, int64_t fallback) const;
  /// INVALID_ARGUMENT: no duration from zero to an hour.
  absl::StatusOr<absl::Duration> Duration(const std::string& name, absl::Duration fallback) const;
};

/// Reads the arguments, without the program's name. A flag that the command does not have is an
/// error: one that was passed over in silence would make the answer another one than was asked for.
///
/// INVALID_ARGUMENT: the message says, in a line, what to write.
absl::StatusOr<CommandLine> ParseCommandLine(std::span<const std::string> args);

}  // namespace ecom::ctl
