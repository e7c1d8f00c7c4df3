#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/batcher.h"
#include "base/clock.h"
#include "coupon/claim_writer.h"
#include "coupon/coupon.h"
#include "coupon/directory.h"
#include "coupon/gate.h"
#include "coupon/load_shedder.h"
#include "coupon/reconciler.h"
#include "coupon/store.h"

namespace ecom::coupon {

struct IssueRequest {
  Holder holder;
  /// 1 to 128 visible ASCII characters, or absent.
  std::optional<std::string> idempotency_key;
  /// W3C trace context, as its `traceparent` header has it; empty: none.
  std::string trace_parent;
  /// On Clock::Monotonic. A request that is past it is dropped before the gate.
  absl::Duration deadline = absl::InfiniteDuration();
};

enum class IssueOutcome { kQueued, kDuplicate, kUnknownCoupon, kNotOpen, kSoldOut };

struct IssueAnswer {
  IssueOutcome outcome = IssueOutcome::kQueued;
  RequestId request;  ///< only for kQueued
};

/// Takes claims from the callers to the gate and on to the log, in batches that form by
/// themselves. kQueued is a promise: the claim is durable. Thread-safe.
class Issuer {
 public:
  struct Options {
    /// Claims that wait at each stage; more are refused with UNAVAILABLE.
    size_t claims_waiting_max = 8192;
    /// Of those, the ones that wait while a gate is armed, which may take seconds.
    size_t claims_arming_max = 256;
    /// Claims that one call of a port gets.
    size_t batch_claims_max = 256;
    /// How long claims may be on their way to gate and log before newcomers are refused.
    absl::Duration claim_wait_target = absl::Milliseconds(200);
    /// How long after the gate was asked kQueued may still be answered. A rebuild of the gate
    /// waits as long, so no late acknowledgement promises a unit that it has given away.
    absl::Duration ack_deadline = absl::Seconds(2);
  };

  struct Deps {
    CouponGate& gate;
    ClaimWriter& writer;
    ClaimLog& log;
    CouponStore& store;
    CouponDirectory& directory;
    Reconciler& reconciler;
    const base::Clock& clock;
  };

  /// Counts since the start, by how requests ended.
  struct Stats {
    int64_t requested = 0;
    int64_t admitted = 0;
    int64_t queued = 0;
    int64_t replayed = 0;
    int64_t duplicate = 0;
    int64_t unknown_coupon = 0;
    int64_t not_open = 0;
    int64_t sold_out = 0;
    int64_t unavailable = 0;
    int64_t unknown_outcome = 0;
    /// Of those that were unavailable, the ones for which a queue had no place.
    int64_t full = 0;
    LoadShedder::Stats load;
  };

  using Done = absl::AnyInvocable<void(absl::StatusOr<IssueAnswer>)>;
  using FindDone = absl::AnyInvocable<void(absl::StatusOr<std::optional<coupon::Issue>>)>;

  /// What `deps` names must outlive the issuer.
  Issuer(Options options, Deps deps);
  ~Issuer();

  /// Asks for one unit. Returns at once; `done` is called exactly once, on any thread, and must
  /// not block. Costs one gate and one log round trip, shared with all that wait.
  ///
  /// Answers, or
  /// * INVALID_ARGUMENT: a malformed id or key; nothing was changed.
  /// * UNAVAILABLE: nothing was promised; ask again.
  /// * DEADLINE_EXCEEDED: unknown outcome; ask again with the same key.
  void Issue(IssueRequest request, Done done);

  /// Tells where the holder's claim is on its way: the reservation first, then the store (the
  /// other order could miss both). nullopt: never accepted. `done` as for Issue.
  ///
  /// Errors: INVALID_ARGUMENT: a malformed id. UNAVAILABLE: ask again; also where there is no row
  /// and the gate, which ought to be open, cannot say whether there is a reservation.
  void Find(Holder holder, FindDone done);

  /// Finishes what has begun, then refuses. The writer is stopped after this. Idempotent.
  void Stop();

  Stats stats() const;

 private:
  /// One request on its way.
  struct Pending;
  using PendingPtr = std::unique_ptr<Pending>;
  struct Load;
  struct Query;

  void Enter(PendingPtr pending, std::shared_ptr<const Coupon> coupon);
  void LoadDefinitions(std::vector<Load>& loads);
  void AskGate(std::vector<PendingPtr>& batch);
  std::vector<PendingPtr> DropWhatIsTooLate(std::span<PendingPtr> claims);
  absl::Status AskGateFor(const Coupon& coupon, std::vector<PendingPtr>& group);
  void Decide(PendingPtr pending, const Admission& admission, const Coupon& coupon,
              std::vector<ClaimWriter::Entry>& entries);
  void ArmThenAskAgain(std::vector<PendingPtr>& batch);
  void CompareWithRows(std::vector<PendingPtr>& batch);
  void FindBatch(std::vector<Query>& queries);
  void FindOf(CouponId id, std::vector<Query> queries);
  absl::StatusOr<std::shared_ptr<const Coupon>> Definition(CouponId id);

  void Answer(PendingPtr pending, absl::StatusOr<IssueAnswer> answer);
  void HandToGate(PendingPtr pending);
  void LeaveGate(Pending& pending);
  std::unique_lock<std::mutex> OrderAdmissions();
  void Hand(base::Batcher<PendingPtr>& stage, PendingPtr pending);

  struct Counters {
    std::atomic<int64_t> requested, admitted, queued, replayed, duplicate, unknown_coupon, not_open,
        sold_out, unavailable, unknown_outcome, full;
  };

  const Options options_;
  const Deps deps_;
  Counters counters_{};
  LoadShedder shedder_;
  std::mutex admissions_mutex_;
  // The stages, in the order in which Stop ends them; each hands on to later ones.
  base::Batcher<Load> definitions_;
  base::Batcher<PendingPtr> arming_;
  base::Batcher<PendingPtr> gate_;
  base::Batcher<PendingPtr> rows_;
  base::Batcher<Query> queries_;
};

}  // namespace ecom::coupon
