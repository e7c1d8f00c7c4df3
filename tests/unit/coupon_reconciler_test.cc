#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/log.h"
#include "support/coupon_pipeline.h"

namespace ecom::tests {
namespace {

using coupon::IssueOutcome;

class Reconciler : public testing::Test {
 protected:
  void SetUp() override { PutCoupon(10); }

  void PutCoupon(int64_t total) {
    pipeline_.backend.PutCoupon(OpenCoupon(pipeline_.backend.clock(), 1, total));
  }

  coupon::Coupon Stored() {
    return *(*pipeline_.store.FindCoupons(std::vector{coupon::CouponId{1}}))[0];
  }

  coupon::GateState State() { return **pipeline_.Inspect(1); }

  void Reconcile() {
    const absl::Status status = pipeline_.reconciler.Reconcile();
    ASSERT_TRUE(status.ok()) << status;
  }

  CouponPipeline pipeline_;
};

TEST_F(Reconciler, ArmsTheGatesOfOpenCoupons) {
  coupon::Coupon future = OpenCoupon(pipeline_.backend.clock(), 2, 5);
  future.starts_at = pipeline_.backend.clock().Now() + absl::Hours(5);
  future.ends_at = future.starts_at + absl::Hours(1);
  pipeline_.backend.PutCoupon(future);
  Reconcile();
  EXPECT_TRUE(State().open);
  EXPECT_EQ(State().stock, 10);
  EXPECT_EQ(*pipeline_.Inspect(2), std::nullopt);
  EXPECT_EQ(pipeline_.reconciler.stats().gates_open, 1);
  pipeline_.backend.clock().Advance(absl::Hours(5));
  Reconcile();
  EXPECT_NE(*pipeline_.Inspect(2), std::nullopt);
}

TEST_F(Reconciler, DropsAGateADayPastItsEnd) {
  Reconcile();
  pipeline_.backend.clock().Advance(absl::Hours(26));
  Reconcile();
  EXPECT_EQ(*pipeline_.Inspect(1), std::nullopt);
}

TEST_F(Reconciler, ChangesNothingWhenAllAgree) {
  Reconcile();
  ASSERT_TRUE(pipeline_.Issue(1, 1).ok());
  ASSERT_TRUE(pipeline_.Drain());
  for (int pass = 0; pass < 5; ++pass) Reconcile();
  EXPECT_EQ(pipeline_.reconciler.stats().rebuilds, 1);
  EXPECT_EQ(State().generation, coupon::Generation{1});
}

TEST_F(Reconciler, RecordsWhatAnEarlierProcessLeftInTheLogBeforeItOpensTheGate) {
  pipeline_.store.FailRecords(1, /*after_commit=*/false);
  const std::vector<coupon::AdmittedClaim> left = {{.holder = {{1}, {77}},
                                                    .request = coupon::RequestId::Random(),
                                                    .incarnation = "incarnation-1",
                                                    .generation = {0}}};
  ASSERT_TRUE(pipeline_.backend.log().Append(left).ok());
  Reconcile();
  EXPECT_EQ(State().stock, 9);
  EXPECT_EQ(State().participants, 1);
  EXPECT_EQ(pipeline_.Issue(1, 77)->outcome, IssueOutcome::kDuplicate);
}

TEST_F(Reconciler, RebuildsAGateOfAnotherTotal) {
  Reconcile();
  ASSERT_TRUE(pipeline_.Issue(1, 1).ok());
  ASSERT_TRUE(pipeline_.Drain());
  coupon::Coupon coupon = Stored();
  coupon.total_quantity = 20;
  coupon.available_quantity = 19;
  pipeline_.backend.PutCoupon(coupon);
  Reconcile();
  EXPECT_EQ(State().total, 20);
  EXPECT_EQ(State().stock, 19);
  EXPECT_EQ(State().participants, 1);
}

TEST_F(Reconciler, RebuildsAGateThatKeepsContradictingTheRows) {
  Reconcile();
  const coupon::Coupon coupon = Stored();
  ASSERT_TRUE(
      pipeline_.backend.control().Arm(coupon, {.stock = 8, .participants = {{100}, {101}}}).ok());
  Reconcile();
  Reconcile();
  EXPECT_EQ(State().stock, 10);
  EXPECT_EQ(State().participants, 0);
}

TEST_F(Reconciler, DoesNotRebuildForEverWhatARebuildDoesNotCure) {
  Reconcile();
  coupon::Coupon coupon = Stored();
  coupon.available_quantity = 7;  // by hand, without rows
  pipeline_.backend.PutCoupon(coupon);
  for (int pass = 0; pass < 10; ++pass) Reconcile();
  EXPECT_EQ(pipeline_.reconciler.stats().rebuilds, 2);
}

TEST_F(Reconciler, AppendsAgainAReservationThatTheLogHasLost) {
  Reconcile();
  pipeline_.log.LoseAppends(true);
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Issue(1, 1).status()));
  pipeline_.log.LoseAppends(false);
  Reconcile();
  EXPECT_EQ(pipeline_.reconciler.stats().republished, 0) << "it may still be on its way";
  pipeline_.backend.clock().Advance(absl::Seconds(11));
  ASSERT_TRUE(Eventually([this] {  // once the recorder has said how far it is
    Reconcile();
    return pipeline_.reconciler.stats().republished == 1;
  }));
  ASSERT_TRUE(pipeline_.Drain());
  ASSERT_TRUE(Eventually([this] { return State().reservations == 0; }));
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 1);
}

/// A log that ends, and is read, where the test says.
class FakeProgress final : public coupon::LogProgress {
 public:
  coupon::LogPositions ends;
  coupon::LogPositions committed;

  absl::StatusOr<coupon::LogPositions> Ends() override { return ends; }
  absl::StatusOr<coupon::LogPositions> Committed() override { return committed; }
};

TEST_F(Reconciler, FindsALostReservationInALogThatWasMadeAnew) {
  Reconcile();
  FakeProgress progress;
  coupon::Reconciler other(
      {}, {pipeline_.store, pipeline_.backend.authority(), pipeline_.backend.gate(),
           pipeline_.backend.control(), pipeline_.log, progress, pipeline_.directory,
           pipeline_.backend.clock()});
  pipeline_.log.LoseAppends(true);
  EXPECT_FALSE(pipeline_.Issue(1, 1).ok());
  pipeline_.log.LoseAppends(false);
  pipeline_.backend.clock().Advance(absl::Seconds(11));
  progress.ends = {{0, 1000}, {1, 1000}};
  progress.committed = {{0, 990}, {1, 1000}};
  ASSERT_TRUE(other.Reconcile().ok());
  progress.ends = progress.committed = {{0, 5}, {1, 1000}};
  for (int pass = 0; pass < 2; ++pass) ASSERT_TRUE(other.Reconcile().ok());
  EXPECT_EQ(other.stats().republished, 1);
  ASSERT_TRUE(pipeline_.Drain());
}

TEST_F(Reconciler, LeavesItToTheGatesClockHowOldAReservationIs) {
  pipeline_.backend.clock().Advance(absl::Minutes(30));  // so that the coupon is open for both
  for (const absl::Duration ahead : {absl::Hours(1), -absl::Hours(1)}) {
    FakeClock clock;
    clock.Advance(absl::Minutes(30) + ahead);
    coupon::Reconciler other({.ack_deadline = absl::Milliseconds(5)},
                             {pipeline_.store, pipeline_.backend.authority(),
                              pipeline_.backend.gate(), pipeline_.backend.control(), pipeline_.log,
                              pipeline_.backend.progress(), pipeline_.directory, clock});
    ASSERT_TRUE(other.EnsureArmed({1}).ok());
    pipeline_.log.LoseAppends(true);
    EXPECT_FALSE(pipeline_.Issue(1, ahead > absl::ZeroDuration() ? 1 : 2).ok());
    pipeline_.log.LoseAppends(false);
    ASSERT_TRUE(other.Reconcile().ok());
    EXPECT_EQ(other.stats().republished, 0) << ahead;
    pipeline_.backend.clock().Advance(absl::Seconds(11));
    clock.Advance(absl::Seconds(11));
    ASSERT_TRUE(other.Reconcile().ok());
    EXPECT_EQ(other.stats().republished, 1) << ahead;
    ASSERT_TRUE(pipeline_.Drain());
    ASSERT_TRUE(Eventually([this] { return State().reservations == 0; }));
  }
}

TEST_F(Reconciler, LeavesOldReservationsAloneWhileTheRecorderLags) {
  Reconcile();
  pipeline_.store.FailRecords(1000000, /*after_commit=*/false);
  ASSERT_TRUE(pipeline_.Issue(1, 1).ok());
  pipeline_.backend.clock().Advance(absl::Minutes(10));
  Reconcile();
  EXPECT_EQ(pipeline_.reconciler.stats().republished, 0);
  pipeline_.store.FailRecords(0, false);
  ASSERT_TRUE(pipeline_.Drain());
}

// The server that admitted under the old generation appends late: its claim was not promised to
// anybody, and the unit is somebody else's by now.
TEST_F(Reconciler, NobodyIsOverIssuedOrFalselyPromisedWhenAnAppendOutlivesARebuild) {
  PutCoupon(1);
  Reconcile();
  pipeline_.log.Hold();
  auto late = pipeline_.Begin(1, 1, "k");
  pipeline_.log.WaitUntilOneIsHeld();
  // Meanwhile another server rebuilds.
  FaultyLog other_log(pipeline_.backend.log());
  coupon::Reconciler other(
      {.ack_deadline = absl::Milliseconds(5)},
      {pipeline_.store, pipeline_.backend.authority(), pipeline_.backend.gate(),
       pipeline_.backend.control(), other_log, pipeline_.backend.progress(), pipeline_.directory,
       pipeline_.backend.clock()});
  other.RequestRebuild({1});
  ASSERT_TRUE(other.Reconcile().ok());
  EXPECT_EQ(State().stock, 1);
  pipeline_.backend.clock().Advance(absl::Seconds(3));  // the old ack deadline passes
  pipeline_.log.Release();
  EXPECT_TRUE(absl::IsDeadlineExceeded(late.get().status()));
  EXPECT_EQ(pipeline_.Issue(1, 2)->outcome, IssueOutcome::kQueued);
  ASSERT_TRUE(pipeline_.Drain());
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 1);
  EXPECT_EQ(pipeline_.backend.CountRejections({1}), 0);
  EXPECT_EQ(pipeline_.recorder->stats().stale, 1);
  EXPECT_EQ(pipeline_.Issue(1, 1, "k")->outcome, IssueOutcome::kSoldOut);
}

/// Forgets where a gate is built until it is told otherwise.
class FaultyAuthority final : public coupon::GateAuthority {
 public:
  explicit FaultyAuthority(coupon::GateAuthority& authority) : authority_(authority) {}
  std::atomic<bool> failing = true;

  absl::StatusOr<coupon::Coupon> AdvanceGeneration(coupon::CouponId id) override {
    return authority_.AdvanceGeneration(id);
  }
  absl::StatusOr<std::unique_ptr<coupon::GateLock>> LockGates(absl::Duration wait) override {
    return authority_.LockGates(wait);
  }
  absl::Status SetHome(coupon::CouponId id, coupon::Generation generation,
                       const std::string& home) override {
    if (failing) return absl::UnavailableError("failed by the test");
    return authority_.SetHome(id, generation, home);
  }
  absl::StatusOr<coupon::Generation> PassedBarrier(coupon::CouponId id, int partitions) override {
    return authority_.PassedBarrier(id, partitions);
  }
  absl::StatusOr<coupon::GateContents> ReadContents(coupon::CouponId id) override {
    return authority_.ReadContents(id);
  }

 private:
  coupon::GateAuthority& authority_;
};

// What was admitted before the gate closed, and is acknowledged within ack_deadline, was promised:
// so the barrier must come behind it, even when a first try of the rebuild failed meanwhile.
TEST_F(Reconciler, PutsItsBarrierBehindAllThatMayStillBePromised) {
  FaultyAuthority authority(pipeline_.backend.authority());
  FaultyLog other_log(pipeline_.backend.log());
  coupon::Reconciler other(
      {.ack_deadline = absl::Milliseconds(500)},
      {pipeline_.store, authority, pipeline_.backend.gate(), pipeline_.backend.control(), other_log,
       pipeline_.backend.progress(), pipeline_.directory, pipeline_.backend.clock()});
  Reconcile();
  pipeline_.log.Hold();
  auto claim = pipeline_.Begin(1, 1);
  pipeline_.log.WaitUntilOneIsHeld();
  other.RequestRebuild({1});
  EXPECT_FALSE(other.Reconcile().ok());
  EXPECT_FALSE(State().open);
  authority.failing = false;
  std::thread rebuild([&] { EXPECT_TRUE(other.EnsureArmed({1}).ok()); });
  // A rebuild that does not wait has its barrier in the log, or the gate open, within this.
  const auto look_until = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
  while (std::chrono::steady_clock::now() < look_until && !HasFailure()) {
    EXPECT_EQ(pipeline_.backend.Lag(), 0);
    EXPECT_FALSE(State().open);
  }
  pipeline_.log.Release();
  EXPECT_EQ(claim.get()->outcome, IssueOutcome::kQueued);
  rebuild.join();
  ASSERT_TRUE(pipeline_.Drain());
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 1);
  EXPECT_EQ(State().participants, 1);
}

TEST_F(Reconciler, SeesNoContradictionInRowsThatTheGateHasNotHeardOf) {
  Reconcile();
  pipeline_.recorder->Stop(absl::ZeroDuration());
  for (int64_t user = 1; user <= 4; ++user) ASSERT_TRUE(pipeline_.Issue(1, user).ok());
  auto batch = pipeline_.backend.source().Poll(100, absl::Seconds(10));
  ASSERT_TRUE(pipeline_.backend.store().Record(*batch, {}).ok());
  for (int pass = 0; pass < 5; ++pass) Reconcile();
  EXPECT_EQ(pipeline_.reconciler.stats().rebuilds, 1);
}

TEST_F(Reconciler, TakesUnitsBackThatAPersonTookFromTheStore) {
  Reconcile();
  coupon::Coupon stopped = Stored();
  stopped.available_quantity = 0;
  pipeline_.backend.PutCoupon(stopped);
  Reconcile();
  EXPECT_EQ(pipeline_.Issue(1, 1)->outcome, IssueOutcome::kSoldOut);
  for (int pass = 0; pass < 5; ++pass) Reconcile();
  EXPECT_EQ(pipeline_.reconciler.stats().rebuilds, 2);
}

TEST_F(Reconciler, RepairsTheSameDriftASecondTime) {
  for (int time = 1; time <= 2; ++time) {
    Reconcile();
    const coupon::Coupon coupon = Stored();
    ASSERT_TRUE(
        pipeline_.backend.control().Arm(coupon, {.stock = 8, .participants = {{100}, {101}}}).ok());
    Reconcile();
    Reconcile();
    EXPECT_EQ(State().stock, 10) << time;
  }
}

TEST_F(Reconciler, GivesUpARebuildWhenTheRecorderDoesNotComeToTheBarrier) {
  pipeline_.store.FailRecords(1000000, /*after_commit=*/false);
  coupon::Reconciler impatient(
      {.drain_timeout = absl::ZeroDuration()},
      {pipeline_.store, pipeline_.backend.authority(), pipeline_.backend.gate(),
       pipeline_.backend.control(), pipeline_.log, pipeline_.backend.progress(),
       pipeline_.directory, pipeline_.backend.clock()});
  EXPECT_TRUE(absl::IsUnavailable(impatient.EnsureArmed({1})));
  EXPECT_FALSE(State().open);
  EXPECT_TRUE(absl::IsNotFound(impatient.EnsureArmed({99})));
}

TEST_F(Reconciler, TellsTheGateOfRowsThatItHasNotHeardOf) {
  Reconcile();
  pipeline_.recorder->Stop(absl::ZeroDuration());
  ASSERT_TRUE(pipeline_.Issue(1, 1).ok());
  auto batch = pipeline_.backend.source().Poll(100, absl::Seconds(10));
  ASSERT_TRUE(pipeline_.backend.store().Record(*batch, {}).ok());
  pipeline_.backend.clock().Advance(absl::Seconds(11));
  Reconcile();
  EXPECT_EQ(State().reservations, 1) << "the log may not be read to its end yet";
  ASSERT_TRUE(pipeline_.backend.source().Commit(*batch).ok());
  Reconcile();
  EXPECT_EQ(State().reservations, 0);
  EXPECT_EQ(pipeline_.reconciler.stats().settled, 1);
  EXPECT_EQ(pipeline_.reconciler.stats().republished, 0);
}

TEST_F(Reconciler, FindsALostReservationWhileOthersKeepComing) {
  Reconcile();
  pipeline_.log.LoseAppends(true);
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Issue(1, 1).status()));
  pipeline_.log.LoseAppends(false);
  pipeline_.backend.clock().Advance(absl::Seconds(11));
  // The log is never at its end, but past where it ended when the reservation was old.
  pipeline_.store.FailRecords(1000000, /*after_commit=*/false);
  const std::vector<coupon::AdmittedClaim> others = {{.holder = {{1}, {50}},
                                                      .request = coupon::RequestId::Random(),
                                                      .incarnation = "incarnation-1",
                                                      .generation = {1}}};
  ASSERT_TRUE(pipeline_.backend.log().Append(others).ok());
  Reconcile();
  EXPECT_EQ(pipeline_.reconciler.stats().republished, 0);
  pipeline_.store.FailRecords(0, false);
  ASSERT_TRUE(pipeline_.Drain());
  pipeline_.store.FailRecords(1000000, /*after_commit=*/false);
  ASSERT_TRUE(pipeline_.backend.log().Append(others).ok());
  Reconcile();
  EXPECT_EQ(pipeline_.reconciler.stats().republished, 1);
  pipeline_.store.FailRecords(0, false);
  ASSERT_TRUE(pipeline_.Drain());
}

/// A gate one of whose reservations cannot be read until it is armed again.
class SpoiltControl final : public coupon::GateControl {
 public:
  explicit SpoiltControl(coupon::GateControl& control) : control_(control) {}

  absl::Status Arm(const coupon::Coupon& coupon, coupon::GateContents contents) override {
    spoilt_ = false;
    return control_.Arm(coupon, std::move(contents));
  }
  absl::StatusOr<coupon::ClosedGate> Close(const coupon::Coupon& coupon) override {
    return control_.Close(coupon);
  }
  absl::Status Disarm(coupon::CouponId coupon) override { return control_.Disarm(coupon); }
  absl::StatusOr<std::optional<coupon::GateState>> Inspect(const coupon::Coupon& coupon) override {
    return control_.Inspect(coupon);
  }
  absl::StatusOr<std::vector<coupon::Reservation>> FindReservationsOlderThan(
      coupon::CouponId coupon, absl::Duration age, int reservations_max) override {
    if (spoilt_) return absl::FailedPreconditionError("spoilt by the test");
    return control_.FindReservationsOlderThan(coupon, age, reservations_max);
  }

 private:
  coupon::GateControl& control_;
  bool spoilt_ = true;
};

TEST_F(Reconciler, RebuildsAGateWhoseReservationsCannotBeRead) {
  Reconcile();
  SpoiltControl control(pipeline_.backend.control());
  coupon::Reconciler reconciler(
      {.ack_deadline = absl::Milliseconds(5)},
      {pipeline_.store, pipeline_.backend.authority(), pipeline_.backend.gate(), control,
       pipeline_.log, pipeline_.backend.progress(), pipeline_.directory,
       pipeline_.backend.clock()});
  pipeline_.log.LoseAppends(true);
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Issue(1, 1).status()));
  pipeline_.log.LoseAppends(false);
  base::LogCapture log;
  const absl::Status found = reconciler.Reconcile();
  EXPECT_TRUE(found.ok()) << found;
  EXPECT_EQ(log.Lines().size(), 1u);
  ASSERT_TRUE(reconciler.Reconcile().ok());
  EXPECT_EQ(reconciler.stats().rebuilds, 1);
  EXPECT_EQ(State().stock, 10);
  EXPECT_EQ(State().reservations, 0);
}

TEST_F(Reconciler, SaysWhatItWouldDoAndDoesNothing) {
  EXPECT_EQ(pipeline_.reconciler.Preview()->size(), 1u);
  EXPECT_EQ(*pipeline_.Inspect(1), std::nullopt);
  Reconcile();
  EXPECT_TRUE(pipeline_.reconciler.Preview()->empty());
}

TEST_F(Reconciler, RepairsWhatItHasForetold) {
  Reconcile();
  ASSERT_TRUE(
      pipeline_.backend.control().Arm(Stored(), {.stock = 8, .participants = {{8}, {9}}}).ok());
  for (int time = 0; time < 3; ++time) EXPECT_EQ(pipeline_.reconciler.Preview()->size(), 1u);
  Reconcile();
  Reconcile();
  EXPECT_EQ(State().stock, 10);
  pipeline_.log.LoseAppends(true);
  EXPECT_FALSE(pipeline_.Issue(1, 1).ok());
  pipeline_.log.LoseAppends(false);
  pipeline_.backend.clock().Advance(absl::Seconds(11));
  const std::vector<std::string> foretold = {"coupon 1: append 1 lost reservations again"};
  for (int time = 0; time < 2; ++time) EXPECT_EQ(*pipeline_.reconciler.Preview(), foretold);
  Reconcile();
  EXPECT_EQ(pipeline_.reconciler.stats().republished, 1);
  ASSERT_TRUE(pipeline_.Drain());
}

TEST_F(Reconciler, LeavesAloneWhatItMayNotRepairButArmsWhatIsClosed) {
  coupon::Reconciler arms_only(
      {.repairs = false}, {pipeline_.store, pipeline_.backend.authority(), pipeline_.backend.gate(),
                           pipeline_.backend.control(), pipeline_.log, pipeline_.backend.progress(),
                           pipeline_.directory, pipeline_.backend.clock()});
  EXPECT_FALSE(arms_only.AllOpen());
  ASSERT_TRUE(arms_only.Reconcile().ok());
  EXPECT_TRUE(arms_only.AllOpen());
  ASSERT_TRUE(
      pipeline_.backend.control().Arm(Stored(), {.stock = 8, .participants = {{1}, {2}}}).ok());
  for (int pass = 0; pass < 3; ++pass) ASSERT_TRUE(arms_only.Reconcile().ok());
  EXPECT_EQ(State().stock, 8);
}

TEST_F(Reconciler, LooksByItselfOnceStarted) {
  coupon::Reconciler eager(
      {.interval = absl::Milliseconds(1)},
      {pipeline_.store, pipeline_.backend.authority(), pipeline_.backend.gate(),
       pipeline_.backend.control(), pipeline_.log, pipeline_.backend.progress(),
       pipeline_.directory, pipeline_.backend.clock()});
  eager.Start();
  EXPECT_TRUE(Eventually([&] { return eager.stats().gates_open == 1; }));
  eager.Stop();
}

}  // namespace
}  // namespace ecom::tests
