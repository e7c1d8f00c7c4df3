#include "coupon/directory.h"

#include <utility>
#include <vector>

#include "base/status_macros.h"

namespace ecom::coupon {

CouponDirectory::CouponDirectory(Options options, CouponStore& store, const base::Clock& clock)
    : options_(options), store_(store), clock_(clock) {}

std::optional<CouponDirectory::Found> CouponDirectory::Find(CouponId id) {
  const absl::Duration now = clock_.Monotonic();
  std::lock_guard lock(mutex_);
  const auto position = entries_.find(id);
  if (position == entries_.end()) return std::nullopt;
  Entry& entry = position->second;
  const absl::Duration age = now - entry.loaded_at;
  if (entry.coupon == nullptr) {
    if (age > options_.absent_for) return std::nullopt;
    return Found{};
  }
  if (age <= options_.fresh_for) return Found{.coupon = entry.coupon, .reload = false};
  // The next one to be told is the first that comes another `fresh_for` later: a store that is
  // down is asked at that pace.
  entry.loaded_at = now;
  return Found{.coupon = entry.coupon, .reload = true};
}

absl::Status CouponDirectory::Load(std::span<const CouponId> ids) {
  ASSIGN_OR_RETURN(std::vector<std::optional<Coupon>> coupons, store_.FindCoupons(ids));
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < ids.size(); ++i) {
    PutLocked(ids[i],
              coupons[i] ? std::make_shared<const Coupon>(*std::move(coupons[i])) : nullptr);
  }
  return absl::OkStatus();
}

void CouponDirectory::Put(Coupon coupon) {
  const CouponId id = coupon.id;
  std::lock_guard lock(mutex_);
  PutLocked(id, std::make_shared<const Coupon>(std::move(coupon)));
}

void CouponDirectory::PutLocked(CouponId id, std::shared_ptr<const Coupon> coupon) {
  if (coupon == nullptr && absent_ >= options_.absent_max) {
    absl::erase_if(entries_, [](const auto& entry) { return entry.second.coupon == nullptr; });
    absent_ = 0;
  }
  const auto [position, is_new] = entries_.try_emplace(id);
  Entry& entry = position->second;
  // Definitions may arrive out of order: the gate's generation only grows, so it tells.
  if (coupon != nullptr && entry.coupon != nullptr &&
      coupon->incarnation == entry.coupon->incarnation &&
      coupon->gate_generation < entry.coupon->gate_generation) {
    return;
  }
  if (!is_new && entry.coupon == nullptr) --absent_;
  if (coupon == nullptr) ++absent_;
  entry = {.coupon = std::move(coupon), .loaded_at = clock_.Monotonic()};
}

}  // namespace ecom::coupon
