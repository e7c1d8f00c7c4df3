#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "product/product.h"

namespace ecom::product {

/// Writes where the next page begins as opaque text of 46 characters, [A-Za-z0-9_-]: the start,
/// bound to the filters and the sort order of `query` (its `limit` and `after` don't matter), and
/// a checksum. Thread-safe; a microsecond.
std::string EncodeCursor(const ListQuery& query, const PageStart& start);

/// Reads a cursor back. The checksum is no secret: it finds damage and guesses, and whoever forges
/// one merely names another place in the same public list. Thread-safe; never allocates much,
/// whatever the length of `cursor`.
///
/// INVALID_ARGUMENT: malformed, damaged, or of other filters or another sort order.
absl::StatusOr<PageStart> DecodeCursor(const ListQuery& query, std::string_view cursor);

}  // namespace ecom::product
