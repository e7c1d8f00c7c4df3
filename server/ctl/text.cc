#include "ctl/text.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace ecom::ctl {
namespace {

constexpr size_t kShownBytesMax = 200;

/// Bytes of the UTF-8 character that `text` begins with; 0: it is none, or one of the controls
/// beyond ASCII (U+0080 to U+009F), by which terminals are steered, too.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t bytes = first < 0xC2   ? 0
                       : first < 0xE0 ? 2
                       : first < 0xF0 ? 3
                       : first < 0xF5 ? 4
                                      : 0;
  if (bytes == 0 || bytes > text.size()) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    if (byte(i) < 0x80 || byte(i) >= 0xC0) return 0;
  }
  const bool is_control = first == 0xC2 && byte(1) < 0xA0;
  return is_control ? 0 : bytes;
}

}  // namespace

std::string Shown(std::string_view text) {
  std::string shown;
  size_t at = 0;
  while (at < text.size()) {
    const size_t bytes = CharacterBytes(text.substr(at));
    const size_t next = at + std::max<size_t>(bytes, 1);
    if (next > kShownBytesMax) return absl::StrCat(shown, "…");
    const std::string piece(text.substr(at, next - at));
    shown += bytes == 0 ? absl::CEscape(piece) : absl::Utf8SafeCEscape(piece);
    at = next;
  }
  return shown;
}

}  // namespace ecom::ctl
