#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "product/cursor.h"

namespace ecom::tests {

/// What must hold for any bytes that come as a cursor: they are refused as INVALID_ARGUMENT, or
/// are exactly what EncodeCursor writes for what was read, and fit no other list. Aborts
/// otherwise. The first two bytes choose the list, the rest is the cursor.
inline void CheckCursorBytes(const uint8_t* data, size_t size) {
  if (size < 2) return;
  product::ListQuery query{.sort = static_cast<product::Sort>(data[0] % 3)};
  if (data[0] & 0x80) query.category = product::CategoryId{1 + data[1]};
  if (data[0] & 0x40) query.is_active = (data[1] & 1) != 0;
  const std::string_view cursor(reinterpret_cast<const char*>(data) + 2, size - 2);

  const auto start = product::DecodeCursor(query, cursor);
  if (!start.ok()) {
    if (!absl::IsInvalidArgument(start.status())) std::abort();
    return;
  }
  if (product::EncodeCursor(query, *start) != cursor) std::abort();
  product::ListQuery other = query;
  other.sort = static_cast<product::Sort>((data[0] % 3 + 1) % 3);
  if (product::DecodeCursor(other, cursor).ok()) std::abort();
}

}  // namespace ecom::tests
