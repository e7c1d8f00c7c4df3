#include "coupon/claim_writer.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

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
  DropWhatIsVoid(claims, entries);
  for (Entry& entry : entries) {
    if (entry.claim) claims.push_back(*std::move(entry.claim));
  }
  const absl::Status status = AppendInOrder(claims);
  for (Entry& entry : entries) entry.settled(status);
}

/// A claim that the next generation of a gate admitted shows that its barrier stands, behind which
/// the store takes none of an earlier one. Nobody was promised anything by what was kept: who asked
/// again, and was, had another entry.
void ClaimWriter::DropWhatIsVoid(std::vector<AdmittedClaim>& kept, std::span<const Entry> entries) {
  if (kept.empty()) return;
  absl::flat_hash_map<std::pair<CouponId, std::string>, Generation> newest;
  for (const Entry& entry : entries) {
    if (!entry.claim) continue;
    Generation& generation = newest[{entry.claim->holder.coupon, entry.claim->incarnation}];
    generation = std::max(generation, entry.claim->generation);
  }
  std::erase_if(kept, [&](const AdmittedClaim& claim) {
    const auto found = newest.find({claim.holder.coupon, claim.incarnation});
    return found != newest.end() && claim.generation < found->second;
  });
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
