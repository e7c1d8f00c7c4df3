#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "base/clock.h"
#include "coupon/gate.h"

namespace ecom::adapters::embedded {

/// The gate in this process's memory: for a server that is alone. Ends with the process; the
/// reconciler builds it again from the rows. A verdict costs well under a microsecond.
class EmbeddedCouponGate final : public coupon::CouponGate, public coupon::GateControl {
 public:
  struct Options {
    /// Reservations of one coupon: claims that are accepted and not yet rows. Beyond, claims are
    /// refused as kBusy, so that the log stays short enough to be read again at a start.
    int64_t reservations_max = 100000;
  };

  /// `clock` must outlive the gate; it decides whether a coupon's window is open.
  EmbeddedCouponGate(Options options, const base::Clock& clock);

  absl::StatusOr<std::vector<coupon::Admission>> Admit(
      const coupon::Coupon& coupon, std::span<const coupon::Claim> claims) override;
  absl::StatusOr<std::vector<std::optional<coupon::RequestId>>> FindReservations(
      const coupon::Coupon& coupon, std::span<const coupon::UserId> users) override;
  absl::Status Recorded(std::span<const coupon::Claim> claims) override;
  bool Durable() const override { return false; }

  absl::Status Arm(const coupon::Coupon& coupon, coupon::GateContents contents) override;
  absl::StatusOr<coupon::ClosedGate> Close(const coupon::Coupon& coupon) override;
  absl::Status Disarm(coupon::CouponId coupon) override;
  absl::StatusOr<std::optional<coupon::GateState>> Inspect(const coupon::Coupon& coupon) override;
  absl::StatusOr<std::vector<coupon::Reservation>> FindReservationsOlderThan(
      coupon::CouponId coupon, absl::Duration age, int reservations_max) override;

 private:
  struct Held {
    coupon::RequestId request;
    absl::Time claimed_at;
    absl::Duration since;  // monotonic: the wall clock may jump
  };

  struct Gate {
    coupon::Generation generation;
    std::string incarnation;
    bool open = false;
    int64_t total = 0;
    int64_t stock = 0;
    absl::flat_hash_set<coupon::UserId> participants;
    absl::flat_hash_map<coupon::UserId, Held> reservations;
  };

  absl::StatusOr<Gate*> FindArmed(const coupon::Coupon& coupon);
  coupon::Admission Decide(Gate& gate, const coupon::Claim& claim, bool in_window, absl::Time now);

  const Options options_;
  const base::Clock& clock_;
  const std::string home_;  // another one in each process
  std::mutex mutex_;
  absl::flat_hash_map<coupon::CouponId, Gate> gates_;
};

}  // namespace ecom::adapters::embedded
