#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "coupon/claim_log.h"
#include "coupon/coupon.h"
#include "coupon/store.h"

namespace ecom::coupon {

/// How far a partition is recorded, and published.
struct PartitionProgress {
  LogPosition recorded = 0;
  LogPosition announced = 0;

  friend bool operator==(const PartitionProgress&, const PartitionProgress&) = default;
};

/// Decides what becomes of one batch of the log, for every store alike. The store reads what the
/// batch is about, under its locks, and tells it by the Know… calls; then Decide; then it writes
/// what the results say, all in one transaction. Does no I/O. Not thread-safe.
class RecordRules {
 public:
  struct Rejection {
    const AdmittedClaim* claim;
    std::string_view reason;
  };

  struct ProgressMove {
    LogPartition partition;
    PartitionProgress to;
    /// The partition was made anew, so its marks go back; else they only grow.
    bool restarts;
  };

  using BarrierKey = std::pair<CouponId, LogPartition>;

  /// `batch` must outlive the rules.
  RecordRules(std::span<const LogRecord> batch, const LogPositions& announced);

  /// What the store must read: coupons and their barriers, in the order in which they are locked;
  /// partitions; and rows, each holder named once.
  std::vector<CouponId> coupons() const;
  std::vector<LogPartition> partitions() const;
  std::vector<Holder> holders() const;

  void KnowCoupon(CouponId id, std::string_view incarnation, int64_t available);
  void KnowBarrier(CouponId id, LogPartition partition, Generation passed);
  void KnowProgress(LogPartition partition, PartitionProgress progress);
  void KnowRow(const Holder& holder, RequestId request, absl::Time issued_at);

  /// Decides every record, in order; new rows are dated `now`. Call it once, when all is known.
  std::vector<RecordResult> Decide(absl::Time now);

  /// What must be written after Decide.
  const std::vector<const AdmittedClaim*>& new_rows() const { return new_rows_; }
  const std::vector<Rejection>& rejections() const { return rejections_; }
  /// Units to take from each coupon: no more than what it has.
  std::vector<std::pair<CouponId, int64_t>> taken() const;
  const absl::btree_map<BarrierKey, Generation>& passed_barriers() const { return passed_now_; }
  /// Only partitions whose progress moved.
  std::vector<ProgressMove> progress() const;

 private:
  struct CouponFacts {
    bool exists = false;
    std::string incarnation;
    int64_t available = 0;
    int64_t taken = 0;
  };
  struct Row {
    RequestId request;
    absl::Time issued_at;
  };
  struct PartitionFacts {
    PartitionProgress known;
    PartitionProgress in_batch;  // from the first record to the last; none: empty
    LogPosition announced = 0;   // as the recorder says
    bool restarts = false;

    PartitionProgress Next() const;
  };

  RecordResult DecideOne(const LogRecord& record, absl::Time now);
  RecordOutcome Pass(const Barrier& barrier, LogPartition partition);
  RecordResult DecideClaim(const AdmittedClaim& claim, const LogRecord& record, absl::Time now);

  const std::span<const LogRecord> batch_;
  absl::btree_map<CouponId, CouponFacts> coupons_;
  absl::btree_map<LogPartition, PartitionFacts> partitions_;
  absl::flat_hash_map<Holder, Row> rows_;
  absl::btree_map<BarrierKey, Generation> passed_;
  absl::btree_map<BarrierKey, Generation> passed_now_;
  std::vector<const AdmittedClaim*> new_rows_;
  std::vector<Rejection> rejections_;
};

}  // namespace ecom::coupon
