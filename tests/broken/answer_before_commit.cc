// A log that says "durable" while the commit is still to come. A server with it must fail the
// ledger, or the ledger proves nothing.
#include <thread>
#include <vector>

#include "adapters/embedded/claim_log.h"

namespace ecom::adapters::embedded {

absl::Status EmbeddedClaimLog::Append(std::span<const coupon::AdmittedClaim> claims) {
  std::thread([this, late = std::vector<coupon::AdmittedClaim>(claims.begin(), claims.end())] {
    Insert(late).IgnoreError();
  }).detach();
  return absl::OkStatus();
}

}  // namespace ecom::adapters::embedded
