#pragma once

#include <compare>
#include <cstdint>
#include <utility>

namespace ecom::base {

/// A number that cannot be taken for another one: `StrongId<struct UserTag>` and
/// `StrongId<struct CouponTag>` do not mix. Hashable by absl; costs what an int64_t costs.
template <typename Tag>
struct StrongId {
  int64_t value = 0;

  friend auto operator<=>(const StrongId&, const StrongId&) = default;

  template <typename H>
  friend H AbslHashValue(H state, const StrongId& id) {
    return H::combine(std::move(state), id.value);
  }
};

}  // namespace ecom::base
