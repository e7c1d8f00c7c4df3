#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/log.h"
#include "support/coupon_pipeline.h"

namespace ecom::tests {
namespace {

constexpr char kSampled[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
constexpr char kNotSampled[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02";

std::vector<std::string> TraceLines(const base::LogCapture& log) {
  std::vector<std::string> lines = log.Lines();
  std::erase_if(lines, [](const std::string& line) {
    return line.find("a traced claim was recorded") == std::string::npos;
  });
  return lines;
}

class Recorder : public testing::Test {
 protected:
  void SetUp() override {
    pipeline_.backend.PutCoupon(OpenCoupon(pipeline_.backend.clock(), 1, 10));
    // Before a test lets the store fail: arming needs the recorder.
    ASSERT_TRUE(pipeline_.reconciler.EnsureArmed({1}).ok());
  }

  /// Has a claim of each of these users recorded, by itself.
  std::vector<coupon::RequestId> Record(int64_t first_user, int64_t last_user,
                                        const std::string& trace_parent) {
    std::vector<coupon::AdmittedClaim> claims;
    std::vector<coupon::RequestId> requests;
    for (int64_t user = first_user; user <= last_user; ++user) {
      requests.push_back(coupon::RequestId::Random());
      claims.push_back({.holder = {{1}, {user}},
                        .request = requests.back(),
                        .incarnation = "incarnation-1",
                        .generation = {1},
                        .trace_parent = trace_parent});
    }
    EXPECT_TRUE(pipeline_.backend.log().Append(claims).ok());
    EXPECT_TRUE(pipeline_.Drain());
    return requests;
  }

  bool NoReservationsLeft() {
    return Eventually([this] { return (*pipeline_.Inspect(1))->reservations == 0; });
  }

  CouponPipeline pipeline_;
};

TEST_F(Recorder, TellsTheGateOnceTheRowIsThere) {
  ASSERT_TRUE(pipeline_.Issue(1, 1).ok());
  ASSERT_TRUE(NoReservationsLeft());
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 1);
}

TEST_F(Recorder, TriesABatchAgainThatTheStoreRefused) {
  pipeline_.store.FailRecords(3, /*after_commit=*/false);
  ASSERT_TRUE(pipeline_.Issue(1, 1).ok());
  ASSERT_TRUE(NoReservationsLeft());
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 1);
}

TEST_F(Recorder, CountsDuplicatesWhenTheAnswerToTheCommitWasLost) {
  ASSERT_TRUE(pipeline_.Issue(1, 1).ok());
  ASSERT_TRUE(NoReservationsLeft());
  pipeline_.store.FailRecords(1, /*after_commit=*/true);
  ASSERT_TRUE(pipeline_.Issue(1, 2).ok());
  ASSERT_TRUE(NoReservationsLeft());
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 2);
  EXPECT_EQ(pipeline_.recorder->stats().issued, 1);
  EXPECT_EQ(pipeline_.recorder->stats().duplicate, 1);
}

TEST(RecorderOfSmallBatches, RecordsAllThatIsInTheLogBeforeItStops) {
  CouponPipeline pipeline({.record_batch_max = 2});
  pipeline.backend.PutCoupon(OpenCoupon(pipeline.backend.clock(), 1, 10));
  ASSERT_TRUE(pipeline.reconciler.EnsureArmed({1}).ok());
  pipeline.store.FailRecords(1000000, /*after_commit=*/false);
  for (int64_t user = 1; user <= 10; ++user) ASSERT_TRUE(pipeline.Issue(1, user).ok());
  pipeline.store.FailRecords(1, /*after_commit=*/false);
  pipeline.recorder->Stop(absl::Seconds(20));
  EXPECT_EQ(pipeline.backend.CountIssues({1}), 10);
  EXPECT_EQ(pipeline.backend.Lag(), 0);
}

TEST_F(Recorder, LeavesInTheLogWhatItCouldNotRecordInTime) {
  pipeline_.store.FailRecords(1000000, /*after_commit=*/false);
  ASSERT_TRUE(pipeline_.Issue(1, 1).ok());
  pipeline_.recorder->Stop(absl::ZeroDuration());
  EXPECT_EQ(pipeline_.backend.Lag(), 1);
}

TEST_F(Recorder, KeepsARejectionAndHasTheGateRebuiltWhenItAdmittedBeyondTheStock) {
  ASSERT_TRUE(pipeline_.Issue(1, 1).ok());
  ASSERT_TRUE(NoReservationsLeft());
  // Somebody lowers the stock behind the gate's back.
  coupon::Coupon coupon = *(*pipeline_.store.FindCoupons(std::vector{coupon::CouponId{1}}))[0];
  coupon.total_quantity = 1;
  coupon.available_quantity = 0;
  pipeline_.backend.PutCoupon(coupon);
  ASSERT_TRUE(pipeline_.Issue(1, 2).ok());
  ASSERT_TRUE(Eventually([&] { return pipeline_.recorder->stats().over_admitted == 1; }));
  EXPECT_EQ(pipeline_.backend.CountRejections({1}), 1);
  ASSERT_TRUE(Eventually(
      [&] { return (*pipeline_.Find(1, 2)).value().state == coupon::IssueState::kRejected; }));
  ASSERT_TRUE(pipeline_.reconciler.Reconcile().ok());
  EXPECT_EQ((*pipeline_.Inspect(1))->stock, 0);
  EXPECT_EQ(pipeline_.Issue(1, 3)->outcome, coupon::IssueOutcome::kSoldOut);
}

TEST_F(Recorder, PublishesEachRowOnceItIsThere) {
  const auto answer = pipeline_.Issue(1, 1);
  ASSERT_TRUE(NoReservationsLeft());
  EXPECT_EQ(pipeline_.feed.published(), std::vector{answer->request});
}

TEST_F(Recorder, PublishesAgainWhatMayNotHaveBeenPublished) {
  pipeline_.feed.Fail(1);
  const auto answer = pipeline_.Issue(1, 1);
  ASSERT_TRUE(NoReservationsLeft());
  EXPECT_EQ(pipeline_.feed.published(), std::vector{answer->request});
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 1);
}

TEST_F(Recorder, PublishesNothingForARepeatedAppend) {
  const auto answer = pipeline_.Issue(1, 1);
  ASSERT_TRUE(NoReservationsLeft());
  const std::vector<coupon::AdmittedClaim> again = {{.holder = {{1}, {1}},
                                                     .request = answer->request,
                                                     .incarnation = "incarnation-1",
                                                     .generation = {1}}};
  ASSERT_TRUE(pipeline_.backend.log().Append(again).ok());
  ASSERT_TRUE(pipeline_.Drain());
  EXPECT_EQ(pipeline_.feed.published().size(), 1u);
}

TEST_F(Recorder, LogsATracedClaimWithItsRequestAndTheTracesIds) {
  const base::LogCapture log;
  const std::vector<coupon::RequestId> requests = Record(1, 1, kSampled);
  Record(2, 2, kNotSampled);
  Record(3, 3, "");
  const std::vector<std::string> lines = TraceLines(log);
  ASSERT_EQ(lines.size(), 1u);
  for (const std::string& field :
       {std::string(R"("level":"info")"), std::string(R"("result":"issued")"),
        R"("request_id":")" + requests[0].ToString() + '"',
        std::string(R"("trace_id":"0af7651916cd43dd8448eb211c80319c")"),
        std::string(R"("span_id":"b7ad6b7169203331")")}) {
    EXPECT_NE(lines[0].find(field), std::string::npos) << field << " in " << lines[0];
  }
  EXPECT_EQ(pipeline_.recorder->stats().trace_lines_skipped, 0);
}

TEST_F(Recorder, LogsOfATracedClaimThatItBecameNoNewRow) {
  const base::LogCapture log;
  Record(1, 1, "");
  Record(1, 1, kSampled);
  const std::vector<std::string> lines = TraceLines(log);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find(R"("result":"duplicate")"), std::string::npos) << lines[0];
}

TEST_F(Recorder, LogsNoMoreThanAHundredTracedClaimsASecondAndCountsTheOthers) {
  const base::LogCapture log;
  Record(1, 150, kSampled);
  EXPECT_EQ(TraceLines(log).size(), 100u);
  EXPECT_EQ(pipeline_.recorder->stats().trace_lines_skipped, 50);
  pipeline_.backend.clock().Advance(absl::Seconds(1));
  Record(151, 151, kSampled);
  EXPECT_EQ(TraceLines(log).size(), 101u);
}

TEST_F(Recorder, KeepsAClaimOnNoCouponAsADeadLetter) {
  const std::vector<coupon::AdmittedClaim> claims = {{.holder = {{77}, {1}},
                                                      .request = coupon::RequestId::Random(),
                                                      .incarnation = "none",
                                                      .generation = {1}}};
  ASSERT_TRUE(pipeline_.backend.log().Append(claims).ok());
  ASSERT_TRUE(pipeline_.Drain());
  EXPECT_EQ(pipeline_.backend.CountDeadLetters(), 1);
  EXPECT_EQ(pipeline_.recorder->stats().dead, 1);
}

TEST_F(Recorder, BuriesNothingWhenTheStoreRefusesEverything) {
  pipeline_.store.RefuseRecords(absl::PermissionDeniedError("the password was changed"));
  for (int64_t user = 1; user <= 3; ++user) ASSERT_TRUE(pipeline_.Issue(1, user).ok());
  const int refused = pipeline_.store.records_refused();
  ASSERT_TRUE(Eventually([&] { return pipeline_.store.records_refused() > refused + 50; }));
  EXPECT_EQ(pipeline_.backend.CountDeadLetters(), 0);
  pipeline_.store.RefuseRecords(absl::OkStatus());
  ASSERT_TRUE(NoReservationsLeft());
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 3);
}

TEST(RecorderOfARefusedClaim, KeepsItAloneAsADeadLetterAndRecordsTheOthers) {
  CouponPipeline pipeline;
  pipeline.store.refused = {2};
  pipeline.backend.PutCoupon(OpenCoupon(pipeline.backend.clock(), 1, 10));
  ASSERT_TRUE(pipeline.reconciler.EnsureArmed({1}).ok());
  for (int64_t user = 1; user <= 3; ++user) ASSERT_TRUE(pipeline.Issue(1, user).ok());
  ASSERT_TRUE(pipeline.Drain());
  ASSERT_TRUE(Eventually([&] { return (*pipeline.Inspect(1))->reservations == 0; }));
  EXPECT_EQ(pipeline.backend.CountIssues({1}), 2);
  EXPECT_EQ(pipeline.backend.CountDeadLetters(), 1);
}

}  // namespace
}  // namespace ecom::tests
