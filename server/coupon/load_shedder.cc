#include "coupon/load_shedder.h"

#include <algorithm>

namespace ecom::coupon {
namespace {

constexpr absl::Duration kSlice = absl::Milliseconds(100);

/// How long overload outlasts its last sign. Without it, those who are let in the moment it seems
/// to be over would wait for long: the wait shows only once the first of them is through.
constexpr absl::Duration kCalmAfter = absl::Seconds(1);

int64_t SliceOf(absl::Duration now) { return now / kSlice; }

}  // namespace

LoadShedder::LoadShedder(const Options& options, const base::Clock& clock)
    : options_(options), clock_(clock), calm_at_(-absl::InfiniteDuration()) {}

std::optional<LoadShedder::Ticket> LoadShedder::TryEnter() {
  const absl::Duration now = clock_.Monotonic();
  std::lock_guard lock(mutex_);
  if (!entries_.empty() && now - entries_.front().entered_at > options_.wait_target) {
    calm_at_ = now + kCalmAfter;
  }
  if (IsOverloaded(now) && IsAboveLimit(now)) {
    calm_at_ = now + kCalmAfter;
    ++shed_at_once_;
    return std::nullopt;
  }
  ++on_their_way_;
  entries_.push_back({.entered_at = now});
  return first_ + static_cast<Ticket>(entries_.size()) - 1;
}

void LoadShedder::Leave(Ticket ticket) {
  const absl::Duration now = clock_.Monotonic();
  std::lock_guard lock(mutex_);
  entries_[static_cast<size_t>(ticket - first_)].left = true;
  --on_their_way_;
  while (!entries_.empty() && entries_.front().left) {
    entries_.pop_front();
    ++first_;
  }
  CountLeaving(now);
}

bool LoadShedder::ShouldDrop(Ticket ticket, absl::Duration deadline) {
  const absl::Duration now = clock_.Monotonic();
  std::lock_guard lock(mutex_);
  const absl::Duration waited = now - entries_[static_cast<size_t>(ticket - first_)].entered_at;
  if (!IsOverloaded(now) || !IsAboveLimit(now) || waited < deadline - now) return false;
  ++shed_waiting_;
  return true;
}

LoadShedder::Stats LoadShedder::stats() const {
  const absl::Duration now = clock_.Monotonic();
  std::lock_guard lock(mutex_);
  return {
      .shed_at_once = shed_at_once_,
      .shed_waiting = shed_waiting_,
      .on_their_way = on_their_way_,
      .oldest_wait = entries_.empty() ? absl::ZeroDuration() : now - entries_.front().entered_at};
}

bool LoadShedder::IsOverloaded(absl::Duration now) const { return now < calm_at_; }

bool LoadShedder::IsAboveLimit(absl::Duration now) const {
  const double in_time = LeavingPerSecond(now) * absl::ToDoubleSeconds(options_.wait_target);
  return on_their_way_ >= std::max(options_.claims_always, static_cast<int64_t>(in_time));
}

/// Over the last second. Overload that has just begun after a quiet time makes it too low; what the
/// limit then lets in soon shows how fast it is.
double LoadShedder::LeavingPerSecond(absl::Duration now) const {
  const int64_t first = SliceOf(now) - static_cast<int64_t>(kSlices) + 1;
  int64_t left = 0;
  for (const Slice& slice : slices_) {
    if (slice.number >= first) left += slice.left;
  }
  return static_cast<double>(left) / absl::ToDoubleSeconds(now - first * kSlice);
}

void LoadShedder::CountLeaving(absl::Duration now) {
  const int64_t number = SliceOf(now);
  Slice& slice = slices_[static_cast<size_t>(number) % kSlices];
  if (slice.number != number) slice = {.number = number, .left = 0};
  ++slice.left;
}

}  // namespace ecom::coupon
