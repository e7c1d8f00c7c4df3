#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coupon/claim_log.h"
#include "coupon/coupon.h"

namespace ecom::coupon {

/// A row as it stands in the store, right or wrong.
struct RecordedIssue {
  UserId user;
  std::optional<RequestId> request;  ///< nullopt: the text there is no request id
  absl::Time issued_at;
};

/// A claim that was accepted beyond the stock.
struct RecordedRejection {
  UserId user;
  std::optional<RequestId> request;  ///< nullopt: the text there is no request id
  std::string reason;
  absl::Time rejected_at;
};

/// What the store holds of one coupon at one moment.
struct CouponRecords {
  std::optional<Coupon>
      coupon;  ///< nullopt: it is not defined; rows of it may be there all the same
  std::vector<RecordedIssue> rows;            ///< by user
  std::vector<RecordedRejection> rejections;  ///< by user
};

/// What the store holds of one holder at one moment.
struct HolderRecords {
  std::optional<Coupon> coupon;
  std::optional<RecordedIssue> row;
  std::vector<RecordedRejection> rejections;  ///< the oldest first
  /// The last barrier of the coupon that the recorder has passed in each partition.
  absl::btree_map<LogPartition, Generation> barriers;
};

/// Reads all that the store holds, as it is: for whoever checks it. Thread-safe.
class StoreAudit {
 public:
  virtual ~StoreAudit() = default;

  /// Reads one coupon with its rows and rejections. Locks nothing; blocks, for a query each 10,000
  /// rows. Memory: some 50 bytes a row.
  ///
  /// * RESOURCE_EXHAUSTED: more than `rows_max` rows and rejections.
  /// * FAILED_PRECONDITION: the place is not what this program reads; the message says what to do.
  /// * UNAVAILABLE: the store cannot be asked; ask again.
  virtual absl::StatusOr<CouponRecords> ReadCoupon(CouponId coupon, size_t rows_max) = 0;

  /// Reads what there is of one holder: four queries. Errors as ReadCoupon's.
  virtual absl::StatusOr<HolderRecords> ReadHolder(const Holder& holder) = 0;
};

}  // namespace ecom::coupon
