#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coupon/coupon.h"

namespace ecom::coupon {

/// The log is one or more partitions, numbered from 0; only within one is there an order.
using LogPartition = int32_t;

/// Where a record stands in its partition: grows from record to record, not always by one.
using LogPosition = int64_t;

/// A position in each partition that is named: what stands before it is meant.
using LogPositions = absl::btree_map<LogPartition, LogPosition>;

/// Behind this mark, claims of older generations count no more.
struct Barrier {
  CouponId coupon;
  Generation generation;
  /// Which coupon of this id; empty, from a server that did not know yet: whichever there is.
  std::string incarnation;
};

/// Remembers every admitted claim until the store has it. Thread-safe.
class ClaimLog {
 public:
  virtual ~ClaimLog() = default;

  /// Appends the claims as one batch; those of one user keep their order. Blocks until they are
  /// durable.
  ///
  /// * OK: every claim is durable and will be delivered to the recorder at least once.
  /// * UNAVAILABLE, DEADLINE_EXCEEDED: unknown; each claim may or may not be in the log, or still
  ///   get there. Append it again: the store drops duplicates.
  virtual absl::Status Append(std::span<const AdmittedClaim> claims) = 0;

  /// Appends the barrier to every partition, behind everything that is there. Blocks until all are
  /// durable. Returns how many partitions there are; errors as Append.
  virtual absl::StatusOr<int> AppendBarrier(const Barrier& barrier) = 0;

  /// OK, or UNAVAILABLE when the log is known to be down: then a claim is refused before the
  /// gate, so that it takes no unit that nobody can be promised. Never blocks.
  virtual absl::Status Ready() const = 0;
};

/// A record that is none of ours, as it was found.
struct Malformed {
  std::string reason;
  std::string key;
  std::string payload;
};

/// One record as the log delivers it.
struct LogRecord {
  LogPartition partition = 0;
  LogPosition position = 0;
  std::variant<AdmittedClaim, Barrier, Malformed> record;
};

/// Delivers the log's records to one reader, who may be one of several that share the partitions.
/// In order within a partition, each record at least once. One caller at a time.
class ClaimSource {
 public:
  virtual ~ClaimSource() = default;

  /// Returns up to `records_max` records behind the last ones that it delivered; empty when none
  /// came within `timeout`. Returns UNAVAILABLE when the log cannot be read; ask again.
  virtual absl::StatusOr<std::vector<LogRecord>> Poll(int records_max, absl::Duration timeout) = 0;

  /// Says that these records, all that the last Poll returned, are settled: they will not be
  /// delivered again, but for those after whose Commit the reader or the log crashes within a
  /// moment. Returns UNAVAILABLE when that is unknown; harmless: they come again.
  virtual absl::Status Commit(std::span<const LogRecord> records) = 0;

  /// Goes back to what is committed, so that Poll delivers the rest again.
  virtual void Rewind() = 0;
};

/// How long the log is and how far it has been read. Thread-safe; for any process, not only for
/// the one that reads.
class LogProgress {
 public:
  virtual ~LogProgress() = default;

  /// The end of every partition: one past its last record. UNAVAILABLE: ask again.
  virtual absl::StatusOr<LogPositions> Ends() = 0;

  /// What the readers have committed in every partition: one past the last settled record. May lag
  /// behind Commit by a moment. UNAVAILABLE: ask again.
  virtual absl::StatusOr<LogPositions> Committed() = 0;
};

/// Records between what is committed and the ends.
int64_t LagOf(const LogPositions& ends, const LogPositions& committed);

/// Whether everything before `target` is committed.
bool Reached(const LogPositions& committed, const LogPositions& target);

/// A record that can become no row, and why.
struct DeadRecord {
  LogRecord record;
  std::string reason;
};

/// Keeps what the recorder cannot record, for a person to look at. Thread-safe.
class DeadLetters {
 public:
  virtual ~DeadLetters() = default;

  /// Blocks until the records are kept durably. UNAVAILABLE: unknown; add them again, which may
  /// keep one twice.
  virtual absl::Status Add(std::span<const DeadRecord> records) = 0;
};

/// A row that is there for good.
struct IssuedCoupon {
  Holder holder;
  RequestId request;
  absl::Time issued_at;
};

/// Tells the rest of the company who got a coupon. Thread-safe.
class IssueFeed {
 public:
  virtual ~IssueFeed() = default;

  /// Blocks until the events are durable. UNAVAILABLE: unknown; publish them again: whoever reads
  /// them tells repeated ones by their request.
  virtual absl::Status Publish(std::span<const IssuedCoupon> issued) = 0;
};

}  // namespace ecom::coupon
