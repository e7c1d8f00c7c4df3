#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <string>
#include <string_view>

namespace ecom::adapters::mysql {

/// Values in one statement at most: some 10 KB of parameters. Statements come in powers of two up
/// to it, so that a connection keeps few texts.
inline constexpr size_t kValuesInStatement = 512;

/// The size of a statement that takes `count` values when the last one may be repeated.
inline size_t PaddedSize(size_t count) {
  return std::bit_ceil(std::min(count, kValuesInStatement));
}

/// The size of the next statement when `count` rows are left and none may be repeated.
inline size_t ExactSize(size_t count) {
  return std::bit_floor(std::min(count, kValuesInStatement));
}

/// "item, item, …", `count` times, with another `separator` if need be.
inline std::string Repeated(std::string_view item, size_t count,
                            std::string_view separator = ", ") {
  std::string text;
  text.reserve(count * (item.size() + separator.size()));
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) text += separator;
    text += item;
  }
  return text;
}

}  // namespace ecom::adapters::mysql
