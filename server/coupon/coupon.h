#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/time/time.h"
#include "base/strong_id.h"

/// The coupon's story: the words that gate, log, store, issuer and recorder share.
namespace ecom::coupon {

using CouponId = base::StrongId<struct CouponTag>;
using UserId = base::StrongId<struct UserTag>;

/// Counts how often a coupon's gate was built anew. Grows by one with each rebuild.
using Generation = base::StrongId<struct GenerationTag>;

/// Identifies one claim: the 16 bytes of a UUID.
class RequestId {
 public:
  RequestId() = default;
  explicit RequestId(const std::array<uint8_t, 16>& bytes) : bytes_(bytes) {}

  /// A random one (UUID version 4). Thread-safe.
  static RequestId Random();

  /// The one that belongs to a user's idempotency key: a name-based UUID (version 8, RFC 9562,
  /// SHA-256 over incarnation, user and key), so that "same key again" needs no memory.
  static RequestId ForKey(std::string_view incarnation, UserId user, std::string_view key);

  /// Reads the 36-character text form; nullopt when it is not one.
  static std::optional<RequestId> Parse(std::string_view text);

  /// The 36-character lower-case text form.
  std::string ToString() const;

  const std::array<uint8_t, 16>& bytes() const { return bytes_; }

  friend auto operator<=>(const RequestId&, const RequestId&) = default;

 private:
  std::array<uint8_t, 16> bytes_{};
};

/// A coupon as its store defines it.
struct Coupon {
  CouponId id;
  std::string name;
  /// Tells this coupon from an earlier one with the same id.
  std::string incarnation;
  int64_t total_quantity = 0;
  /// Units that no row has taken yet.
  int64_t available_quantity = 0;
  /// Open from `starts_at` (inclusive) to `ends_at` (exclusive).
  absl::Time starts_at;
  absl::Time ends_at;
  /// The generation that the coupon's gate must be at.
  Generation gate_generation;
  /// Where the gate of that generation was built: see ClosedGate::home. A gate elsewhere may look
  /// alike and yet have lost what it admitted last.
  std::string gate_home;

  friend bool operator==(const Coupon&, const Coupon&) = default;
};

/// How long past its end a coupon's gate stays armed; from then on the store alone answers.
inline constexpr absl::Duration kArmedPastEnd = absl::Hours(24);

/// One user of one coupon.
struct Holder {
  CouponId coupon;
  UserId user;

  friend auto operator<=>(const Holder&, const Holder&) = default;

  template <typename H>
  friend H AbslHashValue(H state, const Holder& holder) {
    return H::combine(std::move(state), holder.coupon, holder.user);
  }
};

/// A user's wish for one unit of a coupon, as the gate sees it.
struct Claim {
  Holder holder;
  RequestId request;
};

/// A claim that the gate admitted, as the log carries it and the store records it.
struct AdmittedClaim {
  Holder holder;
  RequestId request;
  std::string incarnation;
  Generation generation;
  absl::Time claimed_at;
  /// W3C trace context of the request, as its `traceparent` header has it; empty: none.
  std::string trace_parent;
};

/// How a claim ended, or where it is on its way.
enum class IssueState {
  kQueued,    ///< durable, not yet a row
  kIssued,    ///< a row
  kRejected,  ///< accepted beyond the stock: a broken promise
};

/// What the store knows of one holder.
struct Issue {
  RequestId request;
  IssueState state = IssueState::kIssued;
  absl::Time issued_at;  ///< only for kIssued

  friend bool operator==(const Issue&, const Issue&) = default;
};

}  // namespace ecom::coupon
