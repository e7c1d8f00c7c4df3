#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "product/product.h"

namespace ecom::product {

/// Tells one server which products were changed. Not thread-safe.
class ProductChanges {
 public:
  virtual ~ProductChanges() = default;

  /// Waits up to `timeout` for changes, of which it returns those that came: none is no error.
  ///
  /// UNAVAILABLE: it was cut off, or begins only now, and changes may have been missed: whatever is
  /// kept may be out of date. The next call goes on.
  virtual absl::StatusOr<std::vector<ProductVersion>> Next(absl::Duration timeout) = 0;
};

}  // namespace ecom::product
