#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "base/status.h"

namespace ecom::adapters::redis {

/// How far a call had come when its connection failed.
enum class Progress {
  kNothingSent,  ///< Redis has not seen the call
  kSent,         ///< Redis may have run it, or may still
};

/// The one table from Redis' error replies (the line without its '-') to statuses.
///
/// * NOTREADY, FENCED, OVER, MISFIT (our scripts'), WRONGTYPE: FAILED_PRECONDITION, the gate is not
///   what it has to be; nothing was changed.
/// * NOSCRIPT: NOT_FOUND, nothing was changed; send the script's text.
/// * BUSY, LOADING, OOM, READONLY, MASTERDOWN, MISCONF, NOREPLICAS, CLUSTERDOWN, TRYAGAIN, MOVED,
///   ASK, NOAUTH, WRONGPASS, NOPERM, and the limit on clients: UNAVAILABLE, nothing was changed.
/// * the rest: INTERNAL, our own bug; what was changed is unknown.
absl::Status RedisStatus(std::string_view error_reply);

/// The one table from a failed connection to statuses: hiredis' error code, and errno where that
/// is REDIS_ERR_IO. `what` describes it.
///
/// * nothing was sent: UNAVAILABLE.
/// * sent, then a timeout, a lost connection or an answer that makes no sense: DEADLINE_EXCEEDED,
///   the outcome is unknown.
/// * out of memory: RESOURCE_EXHAUSTED before, DEADLINE_EXCEEDED after sending.
absl::Status RedisStatus(int hiredis_error, int system_error, Progress progress,
                         std::string_view what);

using base::Unavailable;

}  // namespace ecom::adapters::redis
