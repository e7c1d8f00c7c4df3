#include <gtest/gtest.h>

#include <future>
#include <set>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "support/coupon_pipeline.h"

namespace ecom::tests {
namespace {

using coupon::IssueOutcome;
using coupon::IssueState;

class Issuer : public testing::Test {
 protected:
  void SetUp() override {
    pipeline_.backend.PutCoupon(OpenCoupon(pipeline_.backend.clock(), 1, 3));
  }

  IssueOutcome OutcomeOf(int64_t coupon_id, int64_t user_id,
                         std::optional<std::string> key = std::nullopt) {
    auto answer = pipeline_.Issue(coupon_id, user_id, std::move(key));
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer->outcome;
  }

  FakeClock& clock() { return pipeline_.backend.clock(); }

  CouponPipeline pipeline_;
};

TEST_F(Issuer, QueuesUpToTheStockAndThenIsSoldOut) {
  for (int64_t user = 1; user <= 3; ++user) EXPECT_EQ(OutcomeOf(1, user), IssueOutcome::kQueued);
  EXPECT_EQ(OutcomeOf(1, 4), IssueOutcome::kSoldOut);
  EXPECT_EQ(OutcomeOf(1, 3), IssueOutcome::kDuplicate);
  ASSERT_TRUE(pipeline_.Drain());
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 3);
}

TEST_F(Issuer, RefusesMalformedRequestsBeforeAnythingElse) {
  for (const auto& [coupon_id, user_id] : {std::pair{0, 1}, {-1, 1}, {1, 0}, {1, -1}, {99, 0}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(pipeline_.Issue(coupon_id, user_id).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(pipeline_.Find(coupon_id, user_id).status()));
  }
  for (const std::string& key :
       {std::string(), std::string(129, 'k'), std::string("a b"), std::string("tab\t"),
        std::string("\xed\x82\xa4"), std::string("nul\0", 4), std::string("\x7f")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(pipeline_.Issue(1, 1, key).status())) << key;
  }
  EXPECT_EQ(OutcomeOf(1, 1, std::string(128, '~')), IssueOutcome::kQueued);
  EXPECT_EQ(pipeline_.log.appends(), 1);
}

TEST_F(Issuer, KnowsNoCouponThatTheStoreDoesNotHave) {
  EXPECT_EQ(OutcomeOf(99, 1), IssueOutcome::kUnknownCoupon);
}

TEST_F(Issuer, SeesACouponThatIsAddedLater) {
  EXPECT_EQ(OutcomeOf(5, 1), IssueOutcome::kUnknownCoupon);
  pipeline_.backend.PutCoupon(OpenCoupon(clock(), 5, 1));
  clock().Advance(absl::Seconds(2));
  EXPECT_EQ(OutcomeOf(5, 1), IssueOutcome::kQueued);
}

TEST_F(Issuer, AsksGateAndLogOnceAndTheStoreForNothingOnThePlainWay) {
  EXPECT_EQ(OutcomeOf(1, 1), IssueOutcome::kQueued);
  const int reads = pipeline_.store.reads();
  const int gate_calls = pipeline_.gate.calls();
  const int appends = pipeline_.log.appends();
  EXPECT_EQ(OutcomeOf(1, 2), IssueOutcome::kQueued);
  EXPECT_EQ(pipeline_.gate.calls(), gate_calls + 1);
  EXPECT_EQ(pipeline_.log.appends(), appends + 1);
  EXPECT_EQ(OutcomeOf(1, 2), IssueOutcome::kDuplicate);
  EXPECT_EQ(pipeline_.store.reads(), reads);
}

TEST_F(Issuer, AnswersTheSameRequestIdForTheSameKeyForEver) {
  const auto first = pipeline_.Issue(1, 1, "k-1");
  ASSERT_EQ(first->outcome, IssueOutcome::kQueued);
  auto expect_same = [&](const char* when) {
    const auto again = pipeline_.Issue(1, 1, "k-1");
    ASSERT_TRUE(again.ok()) << when << again.status();
    EXPECT_EQ(again->outcome, IssueOutcome::kQueued) << when;
    EXPECT_EQ(again->request, first->request) << when;
    EXPECT_EQ(OutcomeOf(1, 1, "k-2"), IssueOutcome::kDuplicate) << when;
    EXPECT_EQ(OutcomeOf(1, 1), IssueOutcome::kDuplicate) << when;
  };
  expect_same("at once");
  ASSERT_TRUE(pipeline_.Drain());
  expect_same("recorded");
  EXPECT_EQ(OutcomeOf(1, 2), IssueOutcome::kQueued);
  EXPECT_EQ(OutcomeOf(1, 3), IssueOutcome::kQueued);
  EXPECT_EQ(OutcomeOf(1, 4), IssueOutcome::kSoldOut);
  expect_same("sold out");
  clock().Advance(absl::Hours(2));
  expect_same("closed");
  EXPECT_EQ(OutcomeOf(1, 4), IssueOutcome::kNotOpen);
  clock().Advance(absl::Hours(48));
  expect_same("closed for long");
  EXPECT_EQ(OutcomeOf(1, 4), IssueOutcome::kNotOpen);
  ASSERT_TRUE(pipeline_.Drain());
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 3);
}

TEST_F(Issuer, KeepsKeysOfUsersAndCouponsApart) {
  pipeline_.backend.PutCoupon(OpenCoupon(clock(), 2, 3));
  std::set<coupon::RequestId> requests;
  requests.insert(pipeline_.Issue(1, 1, "k")->request);
  requests.insert(pipeline_.Issue(1, 2, "k")->request);
  requests.insert(pipeline_.Issue(2, 1, "k")->request);
  EXPECT_EQ(requests.size(), 3u);
}

TEST_F(Issuer, IsNotOpenBeforeTheStart) {
  coupon::Coupon future = OpenCoupon(clock(), 3, 1);
  future.starts_at = clock().Now() + absl::Hours(1);
  future.ends_at = clock().Now() + absl::Hours(2);
  pipeline_.backend.PutCoupon(future);
  EXPECT_EQ(OutcomeOf(3, 1), IssueOutcome::kNotOpen);
  clock().Advance(absl::Hours(1));
  EXPECT_EQ(OutcomeOf(3, 1), IssueOutcome::kQueued);
}

TEST_F(Issuer, PromisesNothingUntilTheLogAnswered) {
  pipeline_.log.Hold();
  auto answer = pipeline_.Begin(1, 1);
  pipeline_.log.WaitUntilOneIsHeld();
  EXPECT_EQ(answer.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  pipeline_.log.Release();
  EXPECT_EQ(answer.get()->outcome, IssueOutcome::kQueued);
}

TEST_F(Issuer, KeepsTheReservationWhenTheLogDidNotAnswer) {
  pipeline_.log.LoseAppends(true);
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Issue(1, 1, "k").status()));
  pipeline_.log.LoseAppends(false);
  EXPECT_EQ((*pipeline_.Inspect(1))->stock, 2);
  EXPECT_EQ(OutcomeOf(1, 1, "other"), IssueOutcome::kDuplicate);
  EXPECT_EQ(OutcomeOf(1, 1, "k"), IssueOutcome::kQueued);
  ASSERT_TRUE(pipeline_.Drain());
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 1);
}

TEST_F(Issuer, MakesOneRowOfAClaimThatWasAppendedTwice) {
  pipeline_.log.AnswerAppends(absl::DeadlineExceededError("answer lost"));
  EXPECT_TRUE(absl::IsDeadlineExceeded(pipeline_.Issue(1, 1, "k").status()));
  pipeline_.log.AnswerAppends(absl::OkStatus());
  EXPECT_EQ(OutcomeOf(1, 1, "k"), IssueOutcome::kQueued);
  ASSERT_TRUE(pipeline_.Drain());
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 1);
}

TEST_F(Issuer, RefusesBeforeTheGateWhenTheLogIsKnownToBeDown) {
  ASSERT_EQ(OutcomeOf(1, 1), IssueOutcome::kQueued);
  pipeline_.log.AnswerReady(absl::UnavailableError("down"));
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Issue(1, 2).status()));
  EXPECT_EQ((*pipeline_.Inspect(1))->stock, 2);
}

// The embedded gate dies with the process: a refusal that rests on a claim that is not durable
// would be untrue after a crash.
TEST_F(Issuer, AnswersRefusalsOnlyOnceWhatTheyRestOnIsDurable) {
  pipeline_.backend.PutCoupon(OpenCoupon(clock(), 2, 1));
  ASSERT_TRUE(pipeline_.reconciler.EnsureArmed({1}).ok());
  pipeline_.log.Hold();
  auto winner = pipeline_.Begin(2, 1, "k");
  pipeline_.log.WaitUntilOneIsHeld();
  auto twin = pipeline_.Begin(2, 1, "other");
  auto late = pipeline_.Begin(2, 2);
  // Once this one has its unit, the gate has decided on those before it too.
  auto last = pipeline_.Begin(1, 3);
  ASSERT_TRUE(Eventually([&] { return (*pipeline_.Inspect(1))->stock == 2; }));
  EXPECT_EQ(twin.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  EXPECT_EQ(late.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  pipeline_.log.Release();
  EXPECT_EQ(winner.get()->outcome, IssueOutcome::kQueued);
  EXPECT_EQ(twin.get()->outcome, IssueOutcome::kDuplicate);
  EXPECT_EQ(late.get()->outcome, IssueOutcome::kSoldOut);
  EXPECT_EQ(last.get()->outcome, IssueOutcome::kQueued);
}

TEST_F(Issuer, AppendsAFailedClaimAgainBeforeItRefusesAnybodyOnItsAccount) {
  pipeline_.backend.PutCoupon(OpenCoupon(clock(), 2, 1));
  pipeline_.log.LoseAppends(true);
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Issue(2, 1, "k").status()));
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Issue(2, 2).status())) << "sold out is not sure yet";
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Issue(2, 1, "other").status()));
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Find(2, 1).status()));
  pipeline_.log.LoseAppends(false);
  EXPECT_EQ(OutcomeOf(2, 2), IssueOutcome::kSoldOut);
  ASSERT_TRUE(pipeline_.Drain());
  EXPECT_EQ(pipeline_.backend.CountIssues({2}), 1);
}

TEST_F(Issuer, AnswersAHolderBeforeTheStartToo) {
  const auto first = pipeline_.Issue(1, 1, "k");
  ASSERT_TRUE(pipeline_.Drain());
  coupon::Coupon moved = *(*pipeline_.store.FindCoupons(std::vector{coupon::CouponId{1}}))[0];
  moved.starts_at = clock().Now() + absl::Hours(1);
  moved.ends_at = clock().Now() + absl::Hours(2);
  pipeline_.backend.PutCoupon(moved);
  pipeline_.directory.Put(moved);
  EXPECT_EQ(pipeline_.Issue(1, 1, "k")->request, first->request);
  EXPECT_EQ(OutcomeOf(1, 1), IssueOutcome::kDuplicate);
  EXPECT_EQ(OutcomeOf(1, 2), IssueOutcome::kNotOpen);
}

TEST_F(Issuer, SaysUnknownWhenTheAcknowledgementComesTooLate) {
  ASSERT_EQ(OutcomeOf(1, 1), IssueOutcome::kQueued);
  pipeline_.log.Hold();
  auto answer = pipeline_.Begin(1, 2);
  pipeline_.log.WaitUntilOneIsHeld();
  clock().Advance(absl::Seconds(3));
  pipeline_.log.Release();
  EXPECT_TRUE(absl::IsDeadlineExceeded(answer.get().status()));
}

TEST_F(Issuer, DropsWhatExpiredBeforeTheGate) {
  ASSERT_EQ(OutcomeOf(1, 1), IssueOutcome::kQueued);
  auto answer = pipeline_.Begin(1, 2, std::nullopt, clock().Monotonic() - absl::Milliseconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(answer.get().status()));
  EXPECT_EQ((*pipeline_.Inspect(1))->stock, 2);
}

TEST_F(Issuer, GivesOneUnitTo200ConcurrentTwins) {
  std::vector<std::future<absl::StatusOr<coupon::IssueAnswer>>> answers;
  for (int i = 0; i < 200; ++i) answers.push_back(pipeline_.Begin(1, 7));
  int queued = 0;
  for (auto& answer : answers) queued += answer.get()->outcome == IssueOutcome::kQueued;
  EXPECT_EQ(queued, 1);
  ASSERT_TRUE(pipeline_.Drain());
  EXPECT_EQ(pipeline_.backend.CountIssues({1}), 1);
}

TEST_F(Issuer, AdmitsExactlyTheStockUnderConcurrentCallers) {
  pipeline_.backend.PutCoupon(OpenCoupon(clock(), 2, 500));
  std::atomic<int> queued = 0;
  std::atomic<int> sold_out = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int i = 0; i < 250; ++i) {
        auto answer = pipeline_.Issue(2, 1 + caller * 1000 + i);
        queued += answer->outcome == IssueOutcome::kQueued;
        sold_out += answer->outcome == IssueOutcome::kSoldOut;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(queued, 500);
  EXPECT_EQ(sold_out, 500);
  ASSERT_TRUE(pipeline_.Drain());
  EXPECT_EQ(pipeline_.backend.CountIssues({2}), 500);
}

TEST_F(Issuer, SharesOneAppendAmongClaimsThatWait) {
  ASSERT_EQ(OutcomeOf(1, 1), IssueOutcome::kQueued);
  pipeline_.backend.PutCoupon(OpenCoupon(clock(), 2, 100));
  ASSERT_EQ(OutcomeOf(2, 1000), IssueOutcome::kQueued);
  const int before = pipeline_.log.appends();
  pipeline_.log.Hold();
  std::vector<std::future<absl::StatusOr<coupon::IssueAnswer>>> answers;
  answers.push_back(pipeline_.Begin(2, 1));
  pipeline_.log.WaitUntilOneIsHeld();
  for (int64_t user = 2; user <= 50; ++user) answers.push_back(pipeline_.Begin(2, user));
  ASSERT_TRUE(Eventually([&] { return (*pipeline_.Inspect(2))->stock == 49; }));
  pipeline_.log.Release();
  for (auto& answer : answers) EXPECT_EQ(answer.get()->outcome, IssueOutcome::kQueued);
  EXPECT_LE(pipeline_.log.appends() - before, 10);
}

TEST_F(Issuer, RefusesNewcomersAtOnceWhileAWholeBatchHasWaitedForTooLong) {
  pipeline_.backend.PutCoupon(OpenCoupon(clock(), 2, 1000));
  ASSERT_EQ(OutcomeOf(2, 1000), IssueOutcome::kQueued);
  pipeline_.log.Hold();
  std::vector<std::future<absl::StatusOr<coupon::IssueAnswer>>> answers;
  for (int64_t user = 1; user <= 256; ++user) answers.push_back(pipeline_.Begin(2, user));
  clock().Advance(absl::Milliseconds(201));
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Issue(2, 500).status()))
      << "while the log stands still";
  pipeline_.log.Release();
  for (auto& answer : answers) EXPECT_EQ(answer.get()->outcome, IssueOutcome::kQueued);
  EXPECT_EQ((*pipeline_.Inspect(2))->stock, 1000 - 257);
  EXPECT_EQ(pipeline_.issuer.stats().load.shed_at_once, 1);
  EXPECT_EQ(pipeline_.issuer.stats().load.on_their_way, 0);
  EXPECT_EQ(OutcomeOf(2, 500), IssueOutcome::kQueued);
}

TEST_F(Issuer, TellsWhereAClaimIs) {
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Find(1, 1).status())) << "no gate that could know";
  EXPECT_EQ(*pipeline_.Find(99, 1), std::nullopt);
  ASSERT_TRUE(pipeline_.reconciler.EnsureArmed({1}).ok());
  EXPECT_EQ(*pipeline_.Find(1, 1), std::nullopt);
  pipeline_.store.FailRecords(1000000, /*after_commit=*/false);
  const auto answer = pipeline_.Issue(1, 1);
  auto issue = *pipeline_.Find(1, 1);
  ASSERT_NE(issue, std::nullopt);
  EXPECT_EQ(issue->state, IssueState::kQueued);
  EXPECT_EQ(issue->request, answer->request);
  pipeline_.store.FailRecords(0, false);
  ASSERT_TRUE(pipeline_.Drain());
  ASSERT_TRUE(Eventually([&] { return (*pipeline_.Find(1, 1))->state == IssueState::kIssued; }));
  EXPECT_EQ((*pipeline_.Find(1, 1))->request, answer->request);
}

TEST_F(Issuer, IsUnavailableWhenAnUnknownDefinitionCannotBeLoaded) {
  pipeline_.store.FailReads(true);
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Issue(1, 1).status()));
  pipeline_.store.FailReads(false);
  EXPECT_EQ(OutcomeOf(1, 1), IssueOutcome::kQueued);
  // A known one goes on serving.
  pipeline_.store.FailReads(true);
  clock().Advance(absl::Minutes(5));
  EXPECT_EQ(OutcomeOf(1, 2), IssueOutcome::kQueued);
}

TEST_F(Issuer, RefusesAfterStop) {
  pipeline_.issuer.Stop();
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Issue(1, 1).status()));
  EXPECT_TRUE(absl::IsUnavailable(pipeline_.Find(1, 1).status()));
}

TEST_F(Issuer, CountsHowRequestsEnded) {
  OutcomeOf(1, 1);
  OutcomeOf(1, 1);
  OutcomeOf(99, 1);
  const auto stats = pipeline_.issuer.stats();
  EXPECT_EQ(stats.requested, 3);
  EXPECT_EQ(stats.admitted, 1);
  EXPECT_EQ(stats.queued, 1);
  EXPECT_EQ(stats.duplicate, 1);
  EXPECT_EQ(stats.unknown_coupon, 1);
}

TEST(ClaimWriter, DropsWhatItKeptOnceALaterGenerationOfItsGateAdmits) {
  EmbeddedCouponBackend backend(/*in_memory=*/true);
  FaultyLog log(backend.log());
  coupon::ClaimWriter writer({}, log);
  const auto append = [&](int64_t coupon, int64_t user, int64_t generation,
                          const std::string& incarnation) {
    std::promise<bool> durable;
    std::vector<coupon::ClaimWriter::Entry> entries;
    entries.push_back({.claim = coupon::AdmittedClaim{.holder = {{coupon}, {user}},
                                                      .request = coupon::RequestId::Random(),
                                                      .incarnation = incarnation,
                                                      .generation = {generation}},
                       .settled = [&](const absl::Status& s) { durable.set_value(s.ok()); }});
    writer.Add(entries);
    return durable.get_future().get();
  };
  log.LoseAppends(true);
  EXPECT_FALSE(append(1, 1, 1, "its own"));
  EXPECT_FALSE(append(1, 2, 2, "its own"));
  EXPECT_FALSE(append(1, 3, 1, "an earlier one"));
  EXPECT_FALSE(append(2, 4, 1, "its own"));
  log.LoseAppends(false);
  EXPECT_TRUE(append(1, 5, 2, "its own"));
  const auto records = backend.source().Poll(10, absl::Seconds(10));
  ASSERT_TRUE(records.ok());
  std::set<int64_t> users;
  for (const coupon::LogRecord& record : *records) {
    users.insert(std::get<coupon::AdmittedClaim>(record.record).holder.user.value);
  }
  EXPECT_EQ(users, (std::set<int64_t>{2, 3, 4, 5}));
}

TEST(ClaimWriter, AppendsWhatItKeptInPiecesBeforeWhatCameLater) {
  EmbeddedCouponBackend backend(/*in_memory=*/true);
  FaultyLog log(backend.log());
  std::vector<size_t> sizes;
  std::vector<int64_t> users;
  coupon::ClaimWriter writer({.append_claims_max = 2}, log);
  const auto add = [&](int64_t user) {
    std::promise<absl::Status> settled;
    std::vector<coupon::ClaimWriter::Entry> entries;
    entries.push_back({.claim = coupon::AdmittedClaim{.holder = {{1}, {user}},
                                                      .request = coupon::RequestId::Random()},
                       .settled = [&](const absl::Status& status) { settled.set_value(status); }});
    writer.Add(entries);
    return settled.get_future().get();
  };
  log.LoseAppends(true);
  for (int64_t user = 1; user <= 3; ++user) EXPECT_FALSE(add(user).ok());
  log.LoseAppends(false);
  log.OnAppend([&](std::span<const coupon::AdmittedClaim> claims) {
    sizes.push_back(claims.size());
    for (const coupon::AdmittedClaim& claim : claims) users.push_back(claim.holder.user.value);
  });
  EXPECT_TRUE(add(4).ok());
  EXPECT_EQ(sizes, (std::vector<size_t>{2, 2}));
  EXPECT_EQ(users.back(), 4);
  EXPECT_EQ(std::set<int64_t>(users.begin(), users.end()), (std::set<int64_t>{1, 2, 3, 4}));
  sizes.clear();
  EXPECT_TRUE(add(5).ok());
  EXPECT_EQ(sizes, std::vector<size_t>{1}) << "what was appended is not kept";
}

}  // namespace
}  // namespace ecom::tests
