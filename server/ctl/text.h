#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "coupon/coupon.h"

namespace ecom::ctl {

/// As every answer shows times: UTC, to the microsecond.
inline std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone());
}

inline std::string IdText(const std::optional<coupon::RequestId>& request) {
  return request ? request->ToString() : "(malformed)";
}

/// Text of others, fit for one line of a terminal: it may hold any bytes, and have any length.
inline std::string Shown(std::string_view text) {
  constexpr size_t kShownBytesMax = 200;
  const bool is_long = text.size() > kShownBytesMax;
  return absl::StrCat(absl::Utf8SafeCEscape(std::string(text.substr(0, kShownBytesMax))),
                      is_long ? "…" : "");
}

}  // namespace ecom::ctl
