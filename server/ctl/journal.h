#pragma once

#include <string>

#include "absl/status/status.h"
#include "coupon/coupon.h"
#include "ctl/judge.h"

namespace ecom::ctl {

/// Adds to `told` what a journal says of one coupon: a JSON object a line, with `user`, `coupon`,
/// `answer` (such as QUEUED or DUPLICATE), `invoke_ns` and `done_ns`, where there was one `key`,
/// and of a QUEUED `request_id`. Blocks for the file's I/O.
///
/// NOT_FOUND: there is no such file. INVALID_ARGUMENT, with the line's number: it is no journal.
absl::Status ReadJournal(const std::string& path, coupon::CouponId coupon, Told& told);

}  // namespace ecom::ctl
