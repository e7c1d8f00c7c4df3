#pragma once

#include <iosfwd>
#include <span>
#include <string>

#include "app/config.h"
#include "ctl/command_line.h"

namespace ecom::ctl {

/// Runs one command of ecomctl; prints its answer to `out`, and to `error` one line that says what
/// to do when there is none. Settings come from flags of the form --name=value, from `environment`
/// and from the file that either names, as the server takes them; but the backend is the stack
/// where nobody says otherwise. Blocks, each command for a bounded time.
Exit Run(std::span<const std::string> args, const app::Environment& environment, std::ostream& out,
         std::ostream& error);

/// What `ecomctl --help` prints.
std::string HelpText();

}  // namespace ecom::ctl
