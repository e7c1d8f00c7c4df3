#pragma once

namespace ecom::app {

/// What was built, for /info, /metrics and --version.
extern const char kVersion[];
extern const char kCommit[];
extern const char kCompiler[];

}  // namespace ecom::app
