#include "coupon/claim_writer.h"

#include <algorithm>
#include <utility>

#include "base/failpoint.h"

namespace ecom::coupon {

ClaimWriter::ClaimWriter(Options options, ClaimLog& log)
    : options_(options),
      log_(log),
      batcher_({.name = "claim-writer",
                .batch_items_max = options.batch_claims_max,
                .queue_items_max = options.entries_waiting_max},
               [this](std::vector<Entry>& entries) { Append(entries); }) {}

void ClaimWriter::Add(std::vector<Entry>& entries) {
  if (batcher_.AddAll(entries)) return;
  const absl::Status full = absl::UnavailableError("too many claims wait for the log");
  for (Entry& entry : entries) {
    if (entry.claim) Keep({&*entry.claim, 1});
    entry.settled(full);
  }
  entries.clear();
}

void ClaimWriter::Append(std::vector<Entry>& entries) {
  std::vector<AdmittedClaim> claims = TakeKept();
  for (Entry& entry : entries) {
    if (entry.claim) claims.push_back(*std::move(entry.claim));
  }
  const absl::Status status = AppendInOrder(claims);
  for (Entry& entry : entries) entry.settled(status);
}

/// After an outage there may be more than one append takes. Keeps what did not surely get there.
absl::Status ClaimWriter::AppendInOrder(std::span<const AdmittedClaim> claims) {
  while (!claims.empty()) {
    const std::span<const AdmittedClaim> next =
        claims.first(std::min(claims.size(), options_.append_claims_max));
    base::Failpoint("writer.before-append");
    absl::Status status = log_.Append(next);
    base::Failpoint("writer.after-append");
    if (!status.ok()) {
      Keep(claims);
      return status;
    }
    claims = claims.subspan(next.size());
  }
  return absl::OkStatus();
}

void ClaimWriter::Keep(std::span<const AdmittedClaim> claims) {
  std::lock_guard lock(mutex_);
  for (const AdmittedClaim& claim : claims) kept_.insert_or_assign(claim.holder, claim);
}

std::vector<AdmittedClaim> ClaimWriter::TakeKept() {
  std::vector<AdmittedClaim> claims;
  std::lock_guard lock(mutex_);
  for (auto& [holder, claim] : kept_) claims.push_back(std::move(claim));
  kept_.clear();
  return claims;
}

}  // namespace ecom::coupon
