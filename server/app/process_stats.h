#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace ecom::app {

/// What the kernel knows of this process.
struct ProcessStats {
  absl::Duration cpu;
  int64_t resident_bytes = 0;
  int64_t virtual_bytes = 0;
  int64_t threads = 0;
  int64_t open_fds = 0;
  int64_t fds_max = 0;
};

/// Reads it, from /proc; what cannot be read is 0. Some system calls. Thread-safe.
ProcessStats ReadProcessStats();

}  // namespace ecom::app
