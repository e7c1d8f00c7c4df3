#pragma once

#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "base/batcher.h"
#include "coupon/claim_log.h"

namespace ecom::coupon {

/// The batches in front of the claim log: everything that waits is appended as one. A claim whose
/// append failed is kept, and appended before all that comes later, unless its gate was built anew
/// meanwhile. Thread-safe; adding never blocks.
class ClaimWriter {
 public:
  struct Options {
    /// Claims that are taken from those who wait, for one append.
    size_t batch_claims_max = 256;
    /// Claims in one append together with those that were kept.
    size_t append_claims_max = 10000;
    /// Entries that wait for the append before theirs; more are refused.
    size_t entries_waiting_max = 16384;
  };

  /// Something that waits for the log.
  struct Entry {
    /// What to append; none: only wait until what was added earlier is durable.
    std::optional<AdmittedClaim> claim;
    /// Told OK once the claim, and all that was added before it, is durable; else the status of
    /// ClaimLog::Append. Called once, on the writer's thread or in Add; must not block.
    absl::AnyInvocable<void(const absl::Status&)> settled;
  };

  /// `log` must outlive the writer.
  ClaimWriter(Options options, ClaimLog& log);

  /// Adds the entries, in order. When they do not fit, all of them are told UNAVAILABLE.
  void Add(std::vector<Entry>& entries);

  /// Appends all that wait, then refuses more. Idempotent.
  void Stop() { batcher_.Stop(); }

 private:
  void Append(std::vector<Entry>& entries);
  static void DropWhatIsVoid(std::vector<AdmittedClaim>& kept, std::span<const Entry> entries);
  absl::Status AppendInOrder(std::span<const AdmittedClaim> claims);
  void Keep(std::span<const AdmittedClaim> claims);
  std::vector<AdmittedClaim> TakeKept();

  const Options options_;
  ClaimLog& log_;
  std::mutex mutex_;
  /// One a holder: what failed since an append last worked, of claims that the gate had admitted.
  absl::flat_hash_map<Holder, AdmittedClaim> kept_;
  base::Batcher<Entry> batcher_;
};

}  // namespace ecom::coupon
