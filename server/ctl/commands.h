#pragma once

#include <iosfwd>
#include <span>
#include <string>

#include "app/config.h"

namespace ecom::ctl {

/// What ecomctl exits with.
enum class Exit {
  kClean = 0,
  kBroken = 1,  ///< a promise is broken, or what was asked for did not happen
  kUnable = 2,  ///< it cannot tell: bad arguments, or a dependency that does not answer
};

/// Runs one command of ecomctl; prints its answer to `out`, and to `error` one line that says what
/// to do when there is none. Addresses come from `environment`, as the server takes them. Blocks,
/// each command for a bounded time.
Exit Run(std::span<const std::string> args, const app::Environment& environment, std::ostream& out,
         std::ostream& error);

/// What `ecomctl --help` prints.
std::string HelpText();

}  // namespace ecom::ctl
