#include "coupon/record_rules.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/container/flat_hash_set.h"

namespace ecom::coupon {

RecordRules::RecordRules(std::span<const LogRecord> batch, const LogPositions& announced)
    : batch_(batch) {
  for (const auto& [partition, position] : announced) {
    partitions_[partition].announced = position;
  }
  for (const LogRecord& record : batch) {
    PartitionFacts& facts = partitions_[record.partition];
    PartitionProgress& in_batch = facts.in_batch;
    if (in_batch.recorded == 0) in_batch.announced = record.position;
    in_batch.recorded = std::max(in_batch.recorded, record.position + 1);
    if (const auto* claim = std::get_if<AdmittedClaim>(&record.record)) {
      coupons_.try_emplace(claim->holder.coupon);
    } else if (const auto* barrier = std::get_if<Barrier>(&record.record)) {
      coupons_.try_emplace(barrier->coupon);
    }
  }
}

std::vector<CouponId> RecordRules::coupons() const {
  std::vector<CouponId> ids;
  for (const auto& [id, facts] : coupons_) ids.push_back(id);
  return ids;
}

std::vector<LogPartition> RecordRules::partitions() const {
  std::vector<LogPartition> partitions;
  for (const auto& [partition, facts] : partitions_) partitions.push_back(partition);
  return partitions;
}

std::vector<Holder> RecordRules::holders() const {
  std::vector<Holder> holders;
  absl::flat_hash_set<Holder> seen;
  for (const LogRecord& record : batch_) {
    const auto* claim = std::get_if<AdmittedClaim>(&record.record);
    if (claim != nullptr && seen.insert(claim->holder).second) holders.push_back(claim->holder);
  }
  return holders;
}

void RecordRules::KnowCoupon(CouponId id, std::string_view incarnation, int64_t available) {
  coupons_[id] = {
      .exists = true, .incarnation = std::string(incarnation), .available = available, .taken = 0};
}

void RecordRules::KnowBarrier(CouponId id, LogPartition partition, Generation passed) {
  passed_[{id, partition}] = passed;
}

void RecordRules::KnowProgress(LogPartition partition, PartitionProgress progress) {
  partitions_[partition].known = progress;
}

/// Marks grow; but in a log that was made anew, they begin again with the batch that shows it. What
/// a recorder announced beyond all that is recorded, it announced in the log before.
PartitionProgress RecordRules::PartitionFacts::Next() const {
  if (restarts) return in_batch;
  const LogPosition recorded = std::max(known.recorded, in_batch.recorded);
  const LogPosition to = announced <= recorded ? announced : 0;
  return {.recorded = recorded, .announced = std::max(known.announced, to)};
}

void RecordRules::KnowRow(const Holder& holder, RequestId request, absl::Time issued_at) {
  rows_[holder] = {.request = request, .issued_at = issued_at};
}

std::vector<RecordResult> RecordRules::Decide(absl::Time now) {
  std::vector<RecordResult> results;
  results.reserve(batch_.size());
  for (const LogRecord& record : batch_) results.push_back(DecideOne(record, now));
  return results;
}

RecordResult RecordRules::DecideOne(const LogRecord& record, absl::Time now) {
  if (const auto* barrier = std::get_if<Barrier>(&record.record)) {
    return {.outcome = Pass(*barrier, record.partition)};
  }
  if (const auto* claim = std::get_if<AdmittedClaim>(&record.record)) {
    return DecideClaim(*claim, record, now);
  }
  return {.outcome = RecordOutcome::kMalformed};
}

RecordOutcome RecordRules::Pass(const Barrier& barrier, LogPartition partition) {
  // One of an earlier coupon with this id may be above the generations of this one.
  const CouponFacts& coupon = coupons_[barrier.coupon];
  const bool is_its_own = barrier.incarnation.empty() || barrier.incarnation == coupon.incarnation;
  if (!coupon.exists || !is_its_own) return RecordOutcome::kBarrier;
  const BarrierKey key = {barrier.coupon, partition};
  Generation& passed = passed_[key];
  if (passed < barrier.generation) {
    passed = barrier.generation;
    passed_now_[key] = passed;
  }
  return RecordOutcome::kBarrier;
}

RecordResult RecordRules::DecideClaim(const AdmittedClaim& claim, const LogRecord& record,
                                      absl::Time now) {
  CouponFacts& coupon = coupons_[claim.holder.coupon];
  PartitionFacts& partition = partitions_[record.partition];
  if (!coupon.exists || coupon.incarnation != claim.incarnation) {
    return {.outcome = RecordOutcome::kUnknownCoupon};
  }
  if (const auto row = rows_.find(claim.holder); row != rows_.end()) {
    const PartitionProgress& known = partition.known;
    const bool told_perhaps_not =
        record.position < known.recorded && record.position >= known.announced;
    if (told_perhaps_not && row->second.request == claim.request) {
      return {.outcome = RecordOutcome::kIssuedEarlier, .issued_at = row->second.issued_at};
    }
    return {.outcome = RecordOutcome::kDuplicate};
  }
  const auto passed = passed_.find({claim.holder.coupon, record.partition});
  if (passed != passed_.end() && claim.generation < passed->second) {
    return {.outcome = RecordOutcome::kStale};
  }
  if (coupon.taken >= coupon.available) {
    rejections_.push_back({.claim = &claim, .reason = "over-admitted"});
    return {.outcome = RecordOutcome::kOverAdmitted};
  }
  // Everything up to the mark was decided before, and would be decided alike.
  if (record.position < partition.known.recorded) partition.restarts = true;
  ++coupon.taken;
  rows_[claim.holder] = {.request = claim.request, .issued_at = now};
  new_rows_.push_back(&claim);
  return {.outcome = RecordOutcome::kIssued, .issued_at = now};
}

std::vector<std::pair<CouponId, int64_t>> RecordRules::taken() const {
  std::vector<std::pair<CouponId, int64_t>> taken;
  for (const auto& [id, facts] : coupons_) {
    if (facts.taken > 0) taken.push_back({id, facts.taken});
  }
  return taken;
}

std::vector<RecordRules::ProgressMove> RecordRules::progress() const {
  std::vector<ProgressMove> moves;
  for (const auto& [partition, facts] : partitions_) {
    const PartitionProgress next = facts.Next();
    if (next == facts.known) continue;
    moves.push_back({.partition = partition, .to = next, .restarts = facts.restarts});
  }
  return moves;
}

}  // namespace ecom::coupon
