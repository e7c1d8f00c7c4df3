#include "coupon/claim_writer.h"

#include <utility>

namespace ecom::coupon {

ClaimWriter::ClaimWriter(Options options, ClaimLog& log)
    : log_(log),
      batcher_({.name = "claim-writer",
                .batch_items_max = options.batch_claims_max,
                .queue_items_max = options.entries_waiting_max},
               [this](std::vector<Entry>& entries) { Append(entries); }) {}

void ClaimWriter::Add(std::vector<Entry>& entries) {
  if (batcher_.AddAll(entries)) return;
  const absl::Status full = absl::UnavailableError("too many claims wait for the log");
  for (Entry& entry : entries) entry.settled(full);
  entries.clear();
}

void ClaimWriter::Append(std::vector<Entry>& entries) {
  claims_.clear();
  for (Entry& entry : entries) {
    if (entry.claim) claims_.push_back(*std::move(entry.claim));
  }
  const absl::Status status = claims_.empty() ? absl::OkStatus() : log_.Append(claims_);
  for (Entry& entry : entries) entry.settled(status);
}

}  // namespace ecom::coupon
