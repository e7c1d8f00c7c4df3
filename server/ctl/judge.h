#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/time/time.h"
#include "coupon/audit.h"
#include "coupon/coupon.h"
#include "coupon/gate.h"

namespace ecom::ctl {

/// What was answered to one user's requests with one key.
struct ToldKey {
  std::vector<std::string> queued;                             ///< the distinct request ids
  int64_t queued_by_ns = std::numeric_limits<int64_t>::max();  ///< the first QUEUED was there
  int64_t refused_after_ns =
      std::numeric_limits<int64_t>::min();  ///< the last refused one was sent
  bool duplicate = false;                   ///< CP102
};

/// What the clients of a run were told about one user of one coupon.
struct ToldUser {
  /// The distinct request ids that were answered QUEUED; empty text: it was none.
  std::vector<std::string> queued;
  bool duplicate = false;      ///< CP102
  bool indeterminate = false;  ///< 503, 504, or no answer
  bool asked_without_key = false;
  int64_t queued_without_key = 0;  ///< answers
  absl::btree_map<std::string, ToldKey> keys;
};

/// What the clients of a run were told about one coupon.
struct Told {
  absl::btree_map<coupon::UserId, ToldUser> users;
  int64_t sold_out = 0;  ///< answers CP101
  int64_t queued = 0;    ///< answers QUEUED, of whatever coupon
};

/// An event that names a user and the request that became the user's row.
using Announcement = std::pair<coupon::UserId, coupon::RequestId>;

/// How long after it was made a reservation is left over, when nothing is on its way in the log: a
/// reconciler that runs has long appended it again.
inline constexpr absl::Duration kReservationLeftAfter = absl::Minutes(1);

/// All that is known of one coupon.
struct CouponFacts {
  coupon::CouponRecords records;
  bool gate_seen = true;       ///< false: it is in the memory of a server
  bool gate_expected = false;  ///< by its window and the time, the coupon has a gate
  std::optional<coupon::GateState> gate;
  std::vector<coupon::UserId> participants;
  /// False: the gate was built anew while it was read; nothing is judged by its participants.
  bool participants_known = true;
  std::vector<std::string> foreign_participants;  ///< members that are no users
  std::vector<coupon::Reservation> reservations;  ///< by user
  /// Participants whose claims were on their way while the rows were read; their rows may follow.
  absl::btree_set<coupon::UserId> on_their_way;
  /// Nothing was on its way while the facts were read. Else what may yet come true is not judged.
  bool quiet = true;
  std::optional<Told> told;  ///< nullopt: nobody kept a journal
  /// What was announced of this coupon; nullopt: the feed does not go back far enough.
  std::optional<absl::btree_set<Announcement>> announced;
};

/// One broken rule, and whom it concerns: each user once, in order. Empty: it concerns a number.
struct Finding {
  std::string invariant;
  std::string what;
  std::vector<coupon::UserId> users;

  friend bool operator==(const Finding&, const Finding&) = default;
};

/// Holds the facts against the promises: one row a user with one request id of its own (I2), within
/// the stock and with an honest `available_quantity` (I3), nothing rejected, a gate that says what
/// the rows say and holds no reservation (I7); with a journal also that each QUEUED is its row (I1,
/// I2), that no row is unasked (I4), that sold out was true (I5), that a duplicate has a row (I6),
/// and that a key was answered the same each time (P5); with the feed, that it names each row and
/// nobody else (I8). Empty: all hold. Does no I/O; linear in the facts, but for sorting.
std::vector<Finding> Judge(const CouponFacts& facts);

/// What became of one invariant.
enum class Holding {
  kHolds,
  kBroken,
  kNotYetKnown,  ///< claims are on their way
  kNotJudged,    ///< what it takes is not there; `text` says what
};

struct InvariantLine {
  std::string invariant;
  Holding holding = Holding::kHolds;
  std::string text;  ///< the numbers, or what is missing
};

/// Sums the findings up: a line for each of I1 to I8 and P5, in order, with its numbers.
std::vector<InvariantLine> Summarize(const CouponFacts& facts,
                                     const std::vector<Finding>& findings);

}  // namespace ecom::ctl
