#pragma once

#include <optional>
#include <string>
#include <string_view>

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

/// Text of others, fit for one line of a terminal: it may hold any bytes, and have any length. What
/// is no UTF-8, and what a terminal might obey, is escaped; only whole characters are kept.
std::string Shown(std::string_view text);

}  // namespace ecom::ctl
