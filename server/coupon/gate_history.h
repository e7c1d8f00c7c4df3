#pragma once

#include <cstdint>

#include "coupon/coupon.h"
#include "coupon/gate.h"

namespace ecom::coupon {

/// What looks at one gate have shown, one after another. A value: a copy may look ahead, and nobody
/// else notices. Does no I/O. Not thread-safe.
class GateHistory {
 public:
  /// Adds one look, for which `coupon` was read from the store before `state` from its gate, and
  /// says whether the gate contradicts the rows.
  ///
  /// By itself and against what the store allows at once. A row is there before the gate hears of
  /// it: so when the store was read there were at least as many rows as the gate had been told of
  /// in an earlier look, and at most as many as it has participants now; between the two lies no
  /// contradiction.
  ///
  /// Against the rows only while nothing is on its way and nothing moves between two looks; a
  /// difference that a rebuild did not cure lies in the store, and no second rebuild would cure it.
  bool Contradicts(const Coupon& coupon, const GateState& state);

 private:
  bool KeepsDiffering(int64_t difference, int64_t participants);

  Generation generation_;
  /// Participants without a reservation: rows, since then at the latest.
  int64_t told_ = 0;
  /// The last difference between gate and rows while nothing was on its way, and in how many such
  /// looks nothing moved.
  int64_t difference_ = 0;
  int64_t participants_ = 0;
  int looks_ = 0;
  /// A difference that had the gate rebuilt: if it stays, it lies in the store.
  int64_t uncured_ = 0;
};

}  // namespace ecom::coupon
