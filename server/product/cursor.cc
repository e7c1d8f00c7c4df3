#include "product/cursor.h"

#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "absl/strings/escaping.h"

namespace ecom::product {
namespace {

// What the text stands for: version, filters and sort, category, sort key, id (big-endian), then
// the first bytes of the SHA-256 over all that.
constexpr uint8_t kVersion = 1;
constexpr size_t kCategoryOffset = 2;
constexpr size_t kSortKeyOffset = 10;
constexpr size_t kIdOffset = 18;
constexpr size_t kChecksumOffset = 26;
constexpr size_t kChecksumBytes = 8;
constexpr size_t kCursorBytes = kChecksumOffset + kChecksumBytes;
constexpr size_t kCursorCharacters = (kCursorBytes * 8 + 5) / 6;  // base64 without padding

void WriteInt64(int64_t value, char* bytes) {
  for (int shift = 56; shift >= 0; shift -= 8) {
    *bytes++ = static_cast<char>(static_cast<uint64_t>(value) >> shift);
  }
}

int64_t ReadInt64(const char* bytes) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return static_cast<int64_t>(value);
}

uint8_t SortBits(Sort sort) {
  switch (sort) {
    case Sort::kPrice: return 0;
    case Sort::kViews: return 1;
    case Sort::kNewest: return 2;
  }
  return 3;
}

uint8_t FilterBits(const ListQuery& query) {
  const int active = query.is_active ? 1 + static_cast<int>(*query.is_active) : 0;
  return static_cast<uint8_t>(SortBits(query.sort) | active << 2 |
                              static_cast<int>(query.category.has_value()) << 4);
}

}  // namespace

std::string EncodeCursor(const ListQuery& query, const PageStart& start) {
  std::array<char, kCursorBytes> bytes{};
  bytes[0] = kVersion;
  bytes[1] = static_cast<char>(FilterBits(query));
  WriteInt64(query.category.value_or(CategoryId{}).value, &bytes[kCategoryOffset]);
  WriteInt64(start.sort_key, &bytes[kSortKeyOffset]);
  WriteInt64(start.id.value, &bytes[kIdOffset]);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), kChecksumOffset, digest.data());
  std::copy_n(digest.begin(), kChecksumBytes, bytes.begin() + kChecksumOffset);
  std::string text;
  absl::WebSafeBase64Escape(absl::string_view(bytes.data(), bytes.size()), &text);
  return text;
}

absl::StatusOr<PageStart> DecodeCursor(const ListQuery& query, std::string_view cursor) {
  const absl::Status invalid =
      absl::InvalidArgumentError("the cursor is malformed, or of another list");
  if (cursor.size() != kCursorCharacters) return invalid;
  std::string bytes;
  if (!absl::WebSafeBase64Unescape(absl::string_view(cursor.data(), cursor.size()), &bytes) ||
      bytes.size() != kCursorBytes) {
    return invalid;
  }
  const PageStart start{.sort_key = ReadInt64(&bytes[kSortKeyOffset]),
                        .id = {ReadInt64(&bytes[kIdOffset])}};
  // One comparison for version, filters, sort, checksum and the one spelling that is ours.
  if (EncodeCursor(query, start) != cursor) return invalid;
  return start;
}

}  // namespace ecom::product
