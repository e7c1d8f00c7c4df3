#pragma once

#include "absl/status/status.h"

namespace ecom::base {

/// What a port promises that knows no other failure, as for calls that may simply be made again:
/// everything but OK becomes UNAVAILABLE with the same text.
inline absl::Status Unavailable(const absl::Status& status) {
  if (status.ok()) return status;
  return absl::UnavailableError(status.message());
}

}  // namespace ecom::base
