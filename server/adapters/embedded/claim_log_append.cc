// Apart from the rest of the log so that a test can link a broken one in its place.
#include "adapters/embedded/claim_log.h"

namespace ecom::adapters::embedded {

absl::Status EmbeddedClaimLog::Append(std::span<const coupon::AdmittedClaim> claims) {
  return Insert(claims);
}

}  // namespace ecom::adapters::embedded
