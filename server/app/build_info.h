#pragma once

namespace ecom::app {

/// What was built, for /info, /metrics and --version. Set by the build.
inline constexpr char kVersion[] = ECOM_VERSION;
inline constexpr char kCommit[] = ECOM_COMMIT;
inline constexpr char kCompiler[] = "g++ " __VERSION__;

}  // namespace ecom::app
