#include "coupon/gate_history.h"

#include <algorithm>
#include <utility>

namespace ecom::coupon {
namespace {

/// Looks in a row that must see the same difference between gate and rows before it counts.
constexpr int kSuspiciousLooks = 2;

}  // namespace

bool GateHistory::Contradicts(const Coupon& coupon, const GateState& state) {
  if (generation_ != state.generation) told_ = 0;
  generation_ = state.generation;
  const int64_t told = std::exchange(told_, state.participants - state.reservations);
  const int64_t allowed_min = std::min(coupon.total_quantity, coupon.available_quantity + told);
  const int64_t allowed_max =
      std::max(state.participants,
               std::min(coupon.total_quantity, coupon.available_quantity + state.participants));
  if (state.stock + state.participants != state.total) return true;
  if (state.total < allowed_min || state.total > allowed_max) return true;
  if (state.reservations > 0) return false;
  return KeepsDiffering(state.stock - coupon.available_quantity, state.participants);
}

bool GateHistory::KeepsDiffering(int64_t difference, int64_t participants) {
  const bool moved = difference != difference_ || participants != participants_;
  looks_ = moved ? 1 : looks_ + 1;
  difference_ = difference;
  participants_ = participants;
  if (difference == 0) uncured_ = 0;
  if (difference == uncured_ || looks_ < kSuspiciousLooks) return false;
  uncured_ = difference;
  return true;
}

}  // namespace ecom::coupon
