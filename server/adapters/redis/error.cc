#include "adapters/redis/error.h"

#include <hiredis/hiredis.h>

#include <array>
#include <cerrno>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace ecom::adapters::redis {
namespace {

struct Row {
  std::string_view code;
  absl::StatusCode status;
};

constexpr std::array kReplies = {
    Row{"NOTREADY", absl::StatusCode::kFailedPrecondition},
    Row{"FENCED", absl::StatusCode::kFailedPrecondition},
    Row{"OVER", absl::StatusCode::kFailedPrecondition},
    Row{"MISFIT", absl::StatusCode::kFailedPrecondition},
    Row{"WRONGTYPE", absl::StatusCode::kFailedPrecondition},
    Row{"NOSCRIPT", absl::StatusCode::kNotFound},
    Row{"BUSY", absl::StatusCode::kUnavailable},
    Row{"LOADING", absl::StatusCode::kUnavailable},
    Row{"OOM", absl::StatusCode::kUnavailable},
    Row{"READONLY", absl::StatusCode::kUnavailable},
    Row{"MASTERDOWN", absl::StatusCode::kUnavailable},
    Row{"MISCONF", absl::StatusCode::kUnavailable},
    Row{"NOREPLICAS", absl::StatusCode::kUnavailable},
    Row{"CLUSTERDOWN", absl::StatusCode::kUnavailable},
    Row{"TRYAGAIN", absl::StatusCode::kUnavailable},
    Row{"MOVED", absl::StatusCode::kUnavailable},
    Row{"ASK", absl::StatusCode::kUnavailable},
    Row{"NOAUTH", absl::StatusCode::kUnavailable},
    Row{"WRONGPASS", absl::StatusCode::kUnavailable},
    Row{"NOPERM", absl::StatusCode::kUnavailable},
};

constexpr std::string_view kClientLimit = "ERR max number of clients reached";

std::string Describe(int hiredis_error, int system_error) {
  switch (hiredis_error) {
    case REDIS_ERR_IO:
      if (system_error == EAGAIN || system_error == ETIMEDOUT) return "timed out";
      return std::generic_category().message(system_error);
    case REDIS_ERR_EOF: return "Redis closed the connection";
    case REDIS_ERR_PROTOCOL: return "an answer that is no RESP";
    case REDIS_ERR_OOM: return "out of memory";
    default: return absl::StrCat("hiredis error ", hiredis_error);
  }
}

}  // namespace

absl::Status RedisStatus(std::string_view error_reply) {
  const std::string_view code = error_reply.substr(0, error_reply.find(' '));
  const std::string message = absl::StrCat("Redis: ", std::string(error_reply));
  for (const Row& row : kReplies) {
    if (row.code == code) return {row.status, message};
  }
  if (error_reply.substr(0, kClientLimit.size()) == kClientLimit) {
    return absl::UnavailableError(message);
  }
  return absl::InternalError(message);
}

absl::Status RedisStatus(int hiredis_error, int system_error, Progress progress,
                         std::string_view what) {
  const std::string message =
      absl::StrCat("Redis: ", std::string(what), ": ", Describe(hiredis_error, system_error));
  if (progress == Progress::kSent) return absl::DeadlineExceededError(message);
  if (hiredis_error == REDIS_ERR_OOM) return absl::ResourceExhaustedError(message);
  return absl::UnavailableError(message);
}

}  // namespace ecom::adapters::redis
