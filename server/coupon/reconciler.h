#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "coupon/claim_log.h"
#include "coupon/coupon.h"
#include "coupon/directory.h"
#include "coupon/gate.h"
#include "coupon/gate_history.h"
#include "coupon/store.h"

namespace ecom::coupon {

/// Keeps gates and rows in agreement: arms the gates of open coupons, rebuilds a gate that
/// contradicts the store, and appends again what a reservation remembers and the log has lost.
/// Looks on its own thread at each interval, and when asked. Thread-safe.
class Reconciler {
 public:
  struct Options {
    absl::Duration interval = absl::Seconds(1);
    /// A rebuild waits this long after it closed an open gate: Issuer::Options::ack_deadline, so
    /// that nobody is promised a unit of the old gate afterwards.
    absl::Duration ack_deadline = absl::Seconds(2);
    /// How long a rebuild waits for the recorder to come to its barriers.
    absl::Duration drain_timeout = absl::Seconds(30);
    /// How long it waits while another server builds gates.
    absl::Duration lock_timeout = absl::Seconds(2);
    /// Whether to repair what is not a closed gate: gates that contradict the rows, and
    /// reservations that the log has lost. One server that does is enough; several take turns.
    bool repairs = true;
    /// A reservation that is older, and neither in the log nor a row, is appended again.
    absl::Duration reservation_age_max = absl::Seconds(10);
    /// Reservations of a coupon that one pass settles or appends again.
    int republish_max = 5000;
  };

  struct Deps {
    CouponStore& store;
    GateAuthority& authority;
    CouponGate& gate;
    GateControl& control;
    ClaimLog& log;
    LogProgress& progress;
    CouponDirectory& directory;
    const base::Clock& clock;
  };

  /// Counts since the start, and the last pass's view.
  struct Stats {
    int64_t rebuilds = 0;
    int64_t republished = 0;
    /// Reservations whose rows were there, and whose gate had not heard of it.
    int64_t settled = 0;
    int64_t gates_open = 0;
    /// Gates that ought to be open and are not.
    int64_t gates_closed = 0;
    int64_t reservations = 0;
    /// Units that open gates still have.
    int64_t stock = 0;
    /// Gates that contradicted the store in the last pass, and in all.
    int64_t drifting = 0;
    int64_t drifts = 0;
  };

  /// What `deps` names must outlive the reconciler.
  Reconciler(Options options, Deps deps);
  ~Reconciler();

  /// Begins to look at each interval.
  void Start();

  /// Ends what is under way, unfinished where it would wait. Idempotent.
  void Stop();

  /// One pass: arms, checks, repairs. Idempotent; blocks, for a rebuild up to ack_deadline +
  /// drain_timeout. UNAVAILABLE: a dependency can't be asked; the next pass tries again.
  absl::Status Reconcile();

  /// Makes sure that the coupon's gate is open at its valid generation; if it is not, a pass over
  /// all gates opens it. Blocks like Reconcile.
  ///
  /// NOT_FOUND: there is no such coupon. UNAVAILABLE: not armed; ask again.
  absl::Status EnsureArmed(CouponId id);

  /// Has the coupon's gate rebuilt in the next pass, which begins at once. Never blocks.
  void RequestRebuild(CouponId id);

  /// What a pass would do, in words, one line each; does none of it. Blocks for some round trips.
  /// UNAVAILABLE: a dependency can't be asked.
  absl::StatusOr<std::vector<std::string>> Preview();

  /// True once a pass found, or made, every gate open that ought to be, and while it stays so.
  bool AllOpen() const { return all_open_; }

  Stats stats() const;

 private:
  /// Reservations that were old by `since` (monotonic) are lost, unless they are settled once the
  /// log is committed up to `ends`.
  struct Suspects {
    absl::Duration since;
    LogPositions ends;
  };

  /// What becomes of reservations that the log has lost.
  struct Repair {
    std::vector<Claim> settled;         // rows, of which the gate has not heard
    std::vector<AdmittedClaim> append;  // neither in the log nor a row
  };

  /// A gate that is to be built anew if it is closed; with `force` also if it is open and still at
  /// the generation of `coupon`.
  struct Wish {
    Coupon coupon;
    bool force = false;
  };

  absl::Status ReconcileLocked();
  void AskAgain(const absl::flat_hash_set<CouponId>& requested);
  absl::StatusOr<bool> IsOpen(CouponId id);
  absl::Status RebuildLocked(const std::vector<Wish>& wishes);
  absl::StatusOr<std::vector<Coupon>> CloseAll(const std::vector<Wish>& wishes);
  absl::Status Open(const Coupon& coupon, GateLock& lock);
  void NoteThatItAdmitted(CouponId id);
  absl::Status WaitForPromises(const std::vector<Coupon>& coupons);
  absl::Status WaitForBarrier(const Coupon& coupon, int partitions, absl::Duration give_up);
  bool Contradicts(const Coupon& coupon, const GateState& state);
  absl::StatusOr<std::vector<std::string>> PreviewOf(const Coupon& coupon);
  absl::Status SettleOrRepublish(const Coupon& coupon);
  absl::StatusOr<std::vector<Reservation>> FindLost(const Coupon& coupon,
                                                    std::optional<Suspects>& suspects);
  absl::StatusOr<Repair> Judge(const Coupon& coupon, const std::vector<Reservation>& lost);
  absl::Status DisarmAllBut(const std::vector<Coupon>& armable);
  bool WaitUnlessStopped(absl::Duration duration);
  void Run();

  const Options options_;
  const Deps deps_;

  /// Held through a rebuild, I/O included: two rebuilds of one gate at once would undo each
  /// other. Nobody who answers a claim waits for it, but those whose gate is being built.
  std::mutex rebuild_mutex_;
  absl::flat_hash_set<CouponId> armed_;  // guarded by rebuild_mutex_
  /// Monotonic: until when claims that a gate had admitted may still be promised.
  absl::flat_hash_map<CouponId, absl::Duration> promises_until_;     // guarded by rebuild_mutex_
  absl::flat_hash_map<CouponId, GateHistory> histories_;             // guarded by rebuild_mutex_
  absl::flat_hash_map<CouponId, std::optional<Suspects>> suspects_;  // guarded by rebuild_mutex_

  std::mutex mutex_;
  std::condition_variable wake_;
  absl::flat_hash_set<CouponId> rebuild_requests_;
  bool stopping_ = false;

  std::atomic<int64_t> rebuilds_{0}, republished_{0}, settled_{0}, gates_open_{0}, gates_closed_{0},
      reservations_{0}, stock_{0}, drifting_{0}, drifts_{0};
  std::atomic<bool> all_open_{false};
  std::thread thread_;
};

}  // namespace ecom::coupon
