#include "coupon/claim_log.h"

#include <algorithm>

namespace ecom::coupon {

int64_t LagOf(const LogPositions& ends, const LogPositions& committed) {
  int64_t lag = 0;
  for (const auto& [partition, end] : ends) {
    const auto position = committed.find(partition);
    if (position != committed.end()) lag += std::max<int64_t>(0, end - position->second);
  }
  return lag;
}

bool Reached(const LogPositions& committed, const LogPositions& target) {
  return std::all_of(target.begin(), target.end(), [&](const auto& wanted) {
    const auto position = committed.find(wanted.first);
    return position != committed.end() && position->second >= wanted.second;
  });
}

}  // namespace ecom::coupon
