#include "coupon/coupon.h"

#include <openssl/sha.h>

#include <algorithm>
#include <cstring>

#include "absl/random/random.h"

namespace ecom::coupon {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";
constexpr size_t kTextLength = 36;

/// Where the text form has its dashes (RFC 9562, section 4).
constexpr bool IsDash(size_t index) {
  return index == 8 || index == 13 || index == 18 || index == 23;
}

/// Stamps the version and the variant bits of RFC 9562.
RequestId Stamp(std::array<uint8_t, 16> bytes, uint8_t version) {
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | (version << 4));
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
  return RequestId(bytes);
}

int HexValue(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return -1;
}

}  // namespace

RequestId RequestId::Random() {
  thread_local absl::BitGen generator;
  const std::array<uint64_t, 2> random = {absl::Uniform<uint64_t>(generator),
                                          absl::Uniform<uint64_t>(generator)};
  std::array<uint8_t, 16> bytes;
  std::memcpy(bytes.data(), random.data(), bytes.size());
  return Stamp(bytes, 4);
}

RequestId RequestId::ForKey(std::string_view incarnation, UserId user, std::string_view key) {
  // Each part is preceded by its length, so that no two triples give the same bytes.
  const std::string user_text = std::to_string(user.value);
  std::string name;
  for (const std::string_view part : {incarnation, std::string_view(user_text), key}) {
    name += std::to_string(part.size());
    name += ':';
    name += part;
  }
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const uint8_t*>(name.data()), name.size(), digest.data());
  std::array<uint8_t, 16> bytes;
  std::copy_n(digest.begin(), bytes.size(), bytes.begin());
  return Stamp(bytes, 8);
}

std::optional<RequestId> RequestId::Parse(std::string_view text) {
  if (text.size() != kTextLength) return std::nullopt;
  std::array<uint8_t, 16> bytes{};
  size_t nibble = 0;
  for (size_t i = 0; i < kTextLength; ++i) {
    if (IsDash(i)) {
      if (text[i] != '-') return std::nullopt;
      continue;
    }
    const int value = HexValue(text[i]);
    if (value < 0) return std::nullopt;
    bytes[nibble / 2] = static_cast<uint8_t>(bytes[nibble / 2] << 4 | value);
    ++nibble;
  }
  return RequestId(bytes);
}

std::string RequestId::ToString() const {
  std::string text(kTextLength, '-');
  size_t nibble = 0;
  for (size_t i = 0; i < kTextLength; ++i) {
    if (IsDash(i)) continue;
    const uint8_t byte = bytes_[nibble / 2];
    text[i] = kHexDigits[nibble % 2 == 0 ? byte >> 4 : byte & 0x0f];
    ++nibble;
  }
  return text;
}

}  // namespace ecom::coupon
