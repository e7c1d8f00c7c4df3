#pragma once

#include <grpcpp/support/status.h>

#include <string_view>

#include "absl/status/status.h"
#include "coupon/issuer.h"
#include "google/rpc/status.pb.h"

namespace ecom::rpc {

/// What a caller can be told, beside an answer. The one place that knows codes and wording.
enum class Error {
  kSoldOut,
  kDuplicate,
  kUnknownCoupon,
  kIssueNotFound,
  kNotOpen,
  kProductNotFound,
  kInvalid,
  kUnavailable,
  kDeadlineExceeded,
  kInternal,
};

grpc::StatusCode CodeOf(Error error);

/// The gRPC status of an error: its code, the message for users, and a google.rpc.ErrorInfo, which
/// names the request unless `request_id` is not 1 to 128 visible ASCII characters. Thread-safe.
grpc::Status ToGrpc(Error error, std::string_view request_id);

/// The same as a message, for where an answer is not the end of a gRPC call.
google::rpc::Status ToRpcStatus(Error error, std::string_view request_id);

/// Maps what the rooms below report: INVALID_ARGUMENT, UNAVAILABLE, DEADLINE_EXCEEDED and
/// NOT_FOUND (of a product) as they are; anything else is our own bug, kInternal.
Error ToError(const absl::Status& status);

/// Maps a refusal; `outcome` must not be kQueued.
Error ToError(coupon::IssueOutcome outcome);

}  // namespace ecom::rpc
