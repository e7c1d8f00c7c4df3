#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "coupon/coupon.h"
#include "coupon/store.h"

namespace ecom::coupon {

/// Remembers coupon definitions, so that a claim asks the store for none. Thread-safe.
class CouponDirectory {
 public:
  struct Options {
    /// An older definition is still used, but loaded again in the background.
    absl::Duration fresh_for = absl::Seconds(1);
    /// How long an id that does not exist is remembered as such.
    absl::Duration absent_for = absl::Seconds(1);
    /// Ids that do not exist and are remembered; beyond, all of them are forgotten.
    size_t absent_max = 10000;
  };

  struct Found {
    /// nullptr: there is no such coupon.
    std::shared_ptr<const Coupon> coupon;
    /// The caller, and no other one for now, should load the definition again.
    bool reload = false;
  };

  /// `store` and `clock` must outlive the directory.
  CouponDirectory(Options options, CouponStore& store, const base::Clock& clock);

  /// Finds a definition without asking the store; nullopt when it must be loaded first.
  std::optional<Found> Find(CouponId id);

  /// Loads definitions: one query. UNAVAILABLE: the store can't be asked; what was known stays.
  absl::Status Load(std::span<const CouponId> ids);

  /// Remembers a definition that was just read from the store.
  void Put(Coupon coupon);

 private:
  struct Entry {
    std::shared_ptr<const Coupon> coupon;
    absl::Duration loaded_at;  // monotonic
  };

  void PutLocked(CouponId id, std::shared_ptr<const Coupon> coupon);

  const Options options_;
  CouponStore& store_;
  const base::Clock& clock_;
  std::mutex mutex_;
  absl::flat_hash_map<CouponId, Entry> entries_;
  size_t absent_ = 0;
};

}  // namespace ecom::coupon
