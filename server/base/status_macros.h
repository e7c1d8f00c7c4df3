#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

/// Returns from the function when `expression` is an error status.
#define RETURN_IF_ERROR(expression) \
  RETURN_IF_ERROR_INNER(ECOM_CONCAT(status_, __LINE__), expression)
#define RETURN_IF_ERROR_INNER(status, expression) \
  if (absl::Status status = (expression); !status.ok()) return status

#define ECOM_CONCAT_INNER(a, b) a##b
#define ECOM_CONCAT(a, b) ECOM_CONCAT_INNER(a, b)

/// Assigns the value of a StatusOr to `target`, which may be a declaration; returns its error.
#define ASSIGN_OR_RETURN(target, expression) \
  ASSIGN_OR_RETURN_INNER(ECOM_CONCAT(status_or_, __LINE__), target, expression)
#define ASSIGN_OR_RETURN_INNER(result, target, expression) \
  auto result = (expression);                              \
  if (!result.ok()) return result.status();                \
  target = *std::move(result)
