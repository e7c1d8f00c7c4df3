#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "coupon/claim_log.h"
#include "coupon/gate.h"
#include "coupon/store.h"

namespace ecom::tests {

/// A claim log that does what a test tells it: refuse, lose, or wait. Thread-safe.
class FaultyLog final : public coupon::ClaimLog {
 public:
  explicit FaultyLog(coupon::ClaimLog& log) : log_(log) {}

  /// Every later Append is carried out and then answered with `answer`.
  void AnswerAppends(absl::Status answer) {
    Set([&] { answer_ = std::move(answer); });
  }
  /// Every later Append is not carried out; it is answered with UNAVAILABLE.
  void LoseAppends(bool lose) {
    Set([&] { lose_ = lose; });
  }
  /// What Ready answers.
  void AnswerReady(absl::Status ready) {
    Set([&] { ready_ = std::move(ready); });
  }
  /// Appends wait, from now until Release.
  void Hold() {
    Set([&] { held_ = true; });
  }
  void Release() {
    Set([&] { held_ = false; });
  }
  /// Called before each Append is carried out.
  void OnAppend(std::function<void(std::span<const coupon::AdmittedClaim>)> callback) {
    Set([&] { on_append_ = std::move(callback); });
  }
  /// Waits until an Append is held.
  void WaitUntilOneIsHeld() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ > 0; });
  }
  int appends() {
    std::lock_guard lock(mutex_);
    return appends_;
  }

  absl::Status Append(std::span<const coupon::AdmittedClaim> claims) override {
    absl::Status answer;
    {
      std::unique_lock lock(mutex_);
      ++appends_;
      if (on_append_) on_append_(claims);
      ++waiting_;
      changed_.notify_all();
      changed_.wait(lock, [this] { return !held_; });
      --waiting_;
      if (lose_) return absl::UnavailableError("lost by the test");
      answer = answer_;
    }
    if (absl::Status appended = log_.Append(claims); !appended.ok()) return appended;
    return answer;
  }
  absl::StatusOr<int> AppendBarrier(const coupon::Barrier& barrier) override {
    return log_.AppendBarrier(barrier);
  }
  absl::Status Ready() const override {
    std::lock_guard lock(mutex_);
    return ready_;
  }

 private:
  template <typename Change>
  void Set(Change change) {
    {
      std::lock_guard lock(mutex_);
      change();
    }
    changed_.notify_all();
  }

  coupon::ClaimLog& log_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  absl::Status answer_;
  absl::Status ready_;
  bool lose_ = false;
  bool held_ = false;
  int waiting_ = 0;
  int appends_ = 0;
  std::function<void(std::span<const coupon::AdmittedClaim>)> on_append_;
};

/// A gate that counts the round trips of its callers. Thread-safe.
class CountingGate final : public coupon::CouponGate {
 public:
  explicit CountingGate(coupon::CouponGate& gate) : gate_(gate) {}

  int calls() const { return calls_; }

  absl::StatusOr<std::vector<coupon::Admission>> Admit(
      const coupon::Coupon& coupon, std::span<const coupon::Claim> claims) override {
    ++calls_;
    return gate_.Admit(coupon, claims);
  }
  absl::StatusOr<std::vector<std::optional<coupon::RequestId>>> FindReservations(
      const coupon::Coupon& coupon, std::span<const coupon::UserId> users) override {
    ++calls_;
    return gate_.FindReservations(coupon, users);
  }
  absl::Status Recorded(std::span<const coupon::Claim> claims) override {
    ++calls_;
    return gate_.Recorded(claims);
  }
  bool Durable() const override { return gate_.Durable(); }

 private:
  coupon::CouponGate& gate_;
  std::atomic<int> calls_ = 0;
};

/// Keeps what is published; fails when told to. Thread-safe.
class RecordingFeed final : public coupon::IssueFeed {
 public:
  void Fail(int count) {
    std::lock_guard lock(mutex_);
    failures_ = count;
  }
  std::vector<coupon::RequestId> published() {
    std::lock_guard lock(mutex_);
    return published_;
  }

  absl::Status Publish(std::span<const coupon::IssuedCoupon> issued) override {
    std::lock_guard lock(mutex_);
    if (failures_ > 0) {
      --failures_;
      return absl::UnavailableError("failed by the test");
    }
    for (const coupon::IssuedCoupon& coupon : issued) published_.push_back(coupon.request);
    return absl::OkStatus();
  }

 private:
  std::mutex mutex_;
  int failures_ = 0;
  std::vector<coupon::RequestId> published_;
};

/// A coupon store that counts its calls, and fails when told to. Thread-safe.
class FaultyStore final : public coupon::CouponStore {
 public:
  explicit FaultyStore(coupon::CouponStore& store) : store_(store) {}

  /// The next `count` calls of Record fail: before they do anything, or after the commit.
  void FailRecords(int count, bool after_commit) {
    std::lock_guard lock(mutex_);
    record_failures_ = count;
    after_commit_ = after_commit;
  }
  /// Every later call of Record is refused so; OK: no more.
  void RefuseRecords(absl::Status refusal) {
    std::lock_guard lock(mutex_);
    refusal_ = std::move(refusal);
  }
  int records_refused() {
    std::lock_guard lock(mutex_);
    return records_refused_;
  }
  /// While true, every reading call fails.
  void FailReads(bool fail) {
    std::lock_guard lock(mutex_);
    fail_reads_ = fail;
  }
  /// While true, every reading call waits.
  void HoldReads(bool hold) {
    std::lock_guard lock(mutex_);
    hold_reads_ = hold;
    changed_.notify_all();
  }
  void WaitUntilAReadIsHeld() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return held_reads_ > 0; });
  }
  int reads() {
    std::lock_guard lock(mutex_);
    return reads_;
  }
  /// A batch with a claim of this user cannot be recorded. Set it before any is.
  coupon::UserId refused;

  absl::StatusOr<std::vector<std::optional<coupon::Coupon>>> FindCoupons(
      std::span<const coupon::CouponId> ids) override {
    if (absl::Status status = Read(); !status.ok()) return status;
    return store_.FindCoupons(ids);
  }
  absl::StatusOr<std::vector<std::optional<coupon::Issue>>> FindIssues(
      std::span<const coupon::Holder> holders) override {
    if (absl::Status status = Read(); !status.ok()) return status;
    return store_.FindIssues(holders);
  }
  absl::StatusOr<std::vector<coupon::Coupon>> FindArmable(absl::Time now) override {
    if (absl::Status status = Read(); !status.ok()) return status;
    return store_.FindArmable(now);
  }
  absl::StatusOr<std::vector<coupon::RecordResult>> Record(
      std::span<const coupon::LogRecord> batch, const coupon::LogPositions& announced) override {
    bool fail = false;
    bool after_commit = false;
    {
      std::lock_guard lock(mutex_);
      if (!refusal_.ok()) {
        ++records_refused_;
        return refusal_;
      }
      fail = record_failures_ > 0;
      if (fail) --record_failures_;
      after_commit = after_commit_;
    }
    const absl::Status failure = absl::UnavailableError("failed by the test");
    if (fail && !after_commit) return failure;
    for (const coupon::LogRecord& record : batch) {
      const auto* claim = std::get_if<coupon::AdmittedClaim>(&record.record);
      if (claim != nullptr && claim->holder.user == refused) {
        return absl::InvalidArgumentError("refused by the test");
      }
    }
    auto outcomes = store_.Record(batch, announced);
    if (fail) return failure;
    return outcomes;
  }

 private:
  absl::Status Read() {
    std::unique_lock lock(mutex_);
    ++reads_;
    ++held_reads_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !hold_reads_; });
    --held_reads_;
    return fail_reads_ ? absl::UnavailableError("failed by the test") : absl::OkStatus();
  }

  coupon::CouponStore& store_;
  std::mutex mutex_;
  int record_failures_ = 0;
  absl::Status refusal_;
  int records_refused_ = 0;
  bool after_commit_ = false;
  std::condition_variable changed_;
  bool fail_reads_ = false;
  bool hold_reads_ = false;
  int held_reads_ = 0;
  int reads_ = 0;
};

}  // namespace ecom::tests
