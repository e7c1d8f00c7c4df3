#include "ctl/judge.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace ecom::ctl {
namespace {

using coupon::RequestId;
using coupon::UserId;

constexpr int64_t kUsers = 5000;
constexpr size_t kDefects = 300;
constexpr uint64_t kSeed = 20251225;

/// A sold-out campaign in which everything agrees, and defects to plant in it.
class Judged : public testing::Test {
 protected:
  Judged() {
    facts_.records.coupon =
        coupon::Coupon{.id = {1}, .total_quantity = kUsers, .available_quantity = 0};
    facts_.gate = coupon::GateState{.open = true, .total = kUsers, .participants = kUsers};
    facts_.told.emplace();
    facts_.told->sold_out = 100;
    facts_.told->queued = kUsers;
    for (int64_t user = 1; user <= kUsers; ++user) {
      const RequestId request = RequestId::Random();
      facts_.records.rows.push_back({.user = {user}, .request = request, .issued_at = {}});
      facts_.participants.push_back({user});
      ToldUser& told = facts_.told->users[{user}];
      if (user % 10 == 0) {
        told.indeterminate = true;
      } else {
        told.queued = {request.ToString()};
      }
      told.duplicate = user % 7 == 0;
    }
  }

  /// So many users, chosen by a fixed seed, in order.
  static std::vector<UserId> Choose(size_t count = kDefects) {
    std::vector<UserId> users;
    for (int64_t user = 1; user <= kUsers; ++user) users.push_back({user});
    std::mt19937_64 random(kSeed);
    std::shuffle(users.begin(), users.end(), random);
    users.resize(count);
    std::sort(users.begin(), users.end());
    return users;
  }

  static bool Has(const std::vector<UserId>& users, UserId user) {
    return std::binary_search(users.begin(), users.end(), user);
  }

  /// The users of the finding of this rule whose text begins so; empty: there is none.
  std::vector<UserId> Found(const std::string& invariant, const std::string& what) {
    for (const Finding& finding : Judge(facts_)) {
      if (finding.invariant == invariant && finding.what.rfind(what, 0) == 0) return finding.users;
    }
    return {};
  }

  bool Says(const std::string& invariant, const std::string& what) {
    const std::vector<Finding> findings = Judge(facts_);
    return std::any_of(findings.begin(), findings.end(), [&](const Finding& finding) {
      return finding.invariant == invariant && finding.what.rfind(what, 0) == 0;
    });
  }

  void EraseRows(const std::vector<UserId>& users) {
    std::erase_if(facts_.records.rows, [&](const auto& row) { return Has(users, row.user); });
  }

  CouponFacts facts_;
};

TEST_F(Judged, FindsNothingInTheCleanSet) { EXPECT_EQ(Judge(facts_), std::vector<Finding>()); }

TEST_F(Judged, FindsExactlyThePromisesWithoutARow) {
  const std::vector<UserId> lost = Choose();
  EraseRows(lost);
  std::vector<UserId> promised, duplicates;
  for (const UserId user : lost) {
    if (user.value % 10 != 0) promised.push_back(user);
    if (user.value % 7 == 0) duplicates.push_back(user);
  }
  EXPECT_EQ(Found("I1", "lost"), promised);
  EXPECT_EQ(Found("I6", "refused as a duplicate"), duplicates);
  EXPECT_EQ(Found("I7", "a participant of the gate, and there is no row"), lost);
  EXPECT_TRUE(Says("I3", "available is 0"));
  EXPECT_TRUE(Says("I5", "answered sold out"));
}

TEST_F(Judged, FindsExactlyTheRowsThatNobodyAskedFor) {
  const std::vector<UserId> unasked = Choose();
  for (const UserId user : unasked) facts_.told->users.erase(user);
  EXPECT_EQ(Found("I4", "a row, and neither"), unasked);
  EXPECT_EQ(Judge(facts_).size(), 1u);
}

TEST_F(Judged, FindsExactlyTheUsersWithTwoRows) {
  const std::vector<UserId> twice = Choose();
  for (const UserId user : twice) {
    facts_.records.rows.push_back({.user = user, .request = RequestId::Random(), .issued_at = {}});
  }
  EXPECT_EQ(Found("I2", "more than one row"), twice);
  EXPECT_TRUE(Says("I3", "over-issued"));
}

TEST_F(Judged, FindsExactlyTheSharedAndTheMalformedRequestIds) {
  const std::vector<UserId> chosen = Choose();
  const RequestId shared = RequestId::Random();
  std::vector<UserId> sharing, malformed;
  for (size_t i = 0; i < chosen.size(); ++i)
    (i % 2 == 0 ? sharing : malformed).push_back(chosen[i]);
  for (auto& row : facts_.records.rows) {
    if (Has(sharing, row.user)) row.request = shared;
    if (Has(malformed, row.user)) row.request = std::nullopt;
  }
  EXPECT_EQ(Found("I2", "the row shares its request id"), sharing);
  EXPECT_EQ(Found("I2", "the row has a malformed request id"), malformed);
}

TEST_F(Judged, FindsExactlyTheRowsOfAnotherRequestThanWasPromised) {
  const std::vector<UserId> chosen = Choose();
  std::vector<UserId> promised;
  for (auto& row : facts_.records.rows) {
    if (!Has(chosen, row.user)) continue;
    row.request = RequestId::Random();
    if (row.user.value % 10 != 0) promised.push_back(row.user);
  }
  EXPECT_EQ(Found("I2", "the row has another request id"), promised);
}

TEST_F(Judged, FindsExactlyTheUsersWhoWerePromisedTwoRequests) {
  const std::vector<UserId> chosen = Choose();
  for (const UserId user : chosen) {
    ToldUser& told = facts_.told->users[user];
    told.queued = {"first", "second"};
  }
  EXPECT_EQ(Found("I2", "answered QUEUED with more than one request id"), chosen);
}

TEST_F(Judged, FindsExactlyWhoIsMissingInTheGate) {
  const std::vector<UserId> missing = Choose();
  std::erase_if(facts_.participants, [&](UserId user) { return Has(missing, user); });
  EXPECT_EQ(Found("I7", "a row, and no participant"), missing);
  EXPECT_EQ(Judge(facts_).size(), 1u);
}

TEST_F(Judged, FindsExactlyWhoIsInTheGateAndNowhereElse) {
  std::vector<UserId> extra;
  for (int64_t i = 0; i < static_cast<int64_t>(kDefects); ++i) extra.push_back({kUsers + 1 + i});
  facts_.participants.insert(facts_.participants.end(), extra.begin(), extra.end());
  EXPECT_EQ(Found("I7", "a participant of the gate, and there is no row"), extra);
  EXPECT_EQ(Judge(facts_).size(), 1u);
}

TEST_F(Judged, FindsExactlyTheRejected) {
  const std::vector<UserId> rejected = Choose();
  for (const UserId user : rejected) {
    facts_.records.rejections.push_back({.user = user,
                                         .request = RequestId::Random(),
                                         .reason = "over-admitted",
                                         .rejected_at = {}});
  }
  EXPECT_EQ(Found("I7", "rejected by the store"), rejected);
  EXPECT_EQ(Judge(facts_).size(), 1u);
}

TEST_F(Judged, FindsExactlyTheKeysThatWereAnsweredInTwoWays) {
  const std::vector<UserId> chosen = Choose();
  for (size_t i = 0; i < chosen.size(); ++i) {
    ToldKey& key = facts_.told->users[chosen[i]].keys["k"];
    if (i % 2 == 0) {
      key.queued = {"first", "second"};
    } else {
      key = {.queued = {"first"}, .queued_by_ns = 10, .refused_after_ns = 11};
    }
  }
  facts_.told->users[{1}].keys["in time"] = {
      .queued = {"first"}, .queued_by_ns = 10, .refused_after_ns = 9};
  EXPECT_EQ(Found("P5", "one key"), chosen);
}

TEST_F(Judged, FindsExactlyTheRowsThatWereNotAnnouncedAndTheEventsWithoutARow) {
  const std::vector<UserId> silent = Choose();
  facts_.announced.emplace();
  for (const auto& row : facts_.records.rows) {
    if (!Has(silent, row.user)) facts_.announced->emplace(row.user, *row.request);
  }
  facts_.announced->emplace(UserId{kUsers + 7}, RequestId::Random());
  EXPECT_EQ(Found("I8", "a row that was not announced"), silent);
  EXPECT_EQ(Found("I8", "announced, and there is no such row"), std::vector{UserId{kUsers + 7}});
  EXPECT_EQ(Judge(facts_).size(), 2u);
}

TEST_F(Judged, FindsNumbersThatDoNotAddUp) {
  facts_.records.coupon->available_quantity = 3;
  EXPECT_TRUE(Says("I3", "available is 3, and total less rows is 0"));
  EXPECT_TRUE(Says("I7", "the gate's stock is 0, and available is 3"));
  facts_.records.coupon->available_quantity = 0;
  facts_.gate->reservations = 4;
  EXPECT_TRUE(Says("I7", "4 reservations are left"));
  facts_.gate->reservations = 0;
  facts_.gate->open = false;
  EXPECT_TRUE(Says("I7", "the gate is closed"));
  facts_.gate.reset();
  facts_.records.coupon.reset();
  EXPECT_TRUE(Says("I3", "there is no such coupon"));
}

TEST_F(Judged, JudgesWithoutAJournalWhatTheStoresSayAlone) {
  facts_.told.reset();
  EXPECT_EQ(Judge(facts_), std::vector<Finding>());
  EraseRows(Choose());
  EXPECT_EQ(Found("I7", "a participant of the gate, and there is no row"), Choose());
}

TEST_F(Judged, FindsAGateOfAnotherGenerationThanTheValidOne) {
  facts_.records.coupon->gate_generation = {4};
  facts_.gate->generation = {3};
  EXPECT_EQ(Judge(facts_), (std::vector<Finding>{{"I7",
                                                  "the gate is at generation 3, and 4 is the valid "
                                                  "one",
                                                  {}}}));
}

TEST_F(Judged, FindsExactlyTheKeysThatWereADuplicateAlthoughNothingElseWasAsked) {
  const std::vector<UserId> chosen = Choose();
  for (const UserId user : chosen) {
    facts_.told->users[user] = {.duplicate = true, .keys = {{"only", {.duplicate = true}}}};
    facts_.told->users[user].indeterminate = true;  // as of a row that was asked for
  }
  EXPECT_EQ(Found("P5", "one key"), chosen);
  for (const UserId user : chosen) {  // who asked otherwise, too, may have it by that request
    ToldUser& told = facts_.told->users[user];
    if (user.value % 2 == 0) {
      told.asked_without_key = true;
    } else {
      told.keys["another"] = {};
    }
  }
  EXPECT_EQ(Judge(facts_), std::vector<Finding>());
}

TEST_F(Judged, FindsExactlyTheKeysThatWereADuplicateEvenBeforeTheirQueued) {
  const std::vector<UserId> chosen = Choose();
  for (const UserId user : chosen) {
    facts_.told->users[user].keys["k"] = {
        .queued = {"first"}, .queued_by_ns = 10, .refused_after_ns = 5, .duplicate = true};
  }
  EXPECT_EQ(Found("P5", "one key"), chosen);
}

TEST_F(Judged, FindsExactlyWhoWasPromisedTwiceWithOneRequestId) {
  const std::vector<UserId> chosen = Choose();
  for (size_t i = 0; i < chosen.size(); ++i) {
    ToldUser& told = facts_.told->users[chosen[i]];
    const auto& row = facts_.records.rows[static_cast<size_t>(chosen[i].value) - 1];
    const std::vector<std::string> queued = {row.request->ToString()};
    told.queued = queued;
    switch (i % 3) {
      case 0: told.queued_without_key = 2; break;
      case 1: told.keys = {{"a", {.queued = queued}}, {"b", {.queued = queued}}}; break;
      default: told.queued_without_key = 1, told.keys["a"].queued = queued;
    }
  }
  EXPECT_EQ(Found("I2", "answered QUEUED more than once"), chosen);
  for (const UserId user : chosen) {
    facts_.told->users[user].queued_without_key = 0;
    facts_.told->users[user].keys = {{"a", {.queued = facts_.told->users[user].queued}}};
  }
  EXPECT_EQ(Judge(facts_), std::vector<Finding>()) << "one key, and perhaps often";
}

TEST_F(Judged, FindsTheEventsThatNameAnotherUserThanTheRow) {
  facts_.announced.emplace();
  for (const auto& row : facts_.records.rows) facts_.announced->emplace(row.user, *row.request);
  const UserId stranger = {kUsers + 9};
  facts_.announced->emplace(stranger, *facts_.records.rows[0].request);
  EXPECT_EQ(Judge(facts_),
            (std::vector<Finding>{{"I8", "announced, and there is no such row", {stranger}}}));
}

TEST_F(Judged, SaysThatARunInWhichNothingWasAcceptedProvesNothing) {
  facts_.told->queued = 0;
  EXPECT_TRUE(Says("I1", "nothing was accepted at all"));
}

/// A campaign of which claims are on their way.
class OnTheWay : public Judged {
 protected:
  OnTheWay() {
    facts_.quiet = false;
    facts_.announced.emplace();
    for (const auto& row : facts_.records.rows) facts_.announced->emplace(row.user, *row.request);
  }

  Holding HoldingOf(const std::string& invariant) {
    for (const InvariantLine& line : Summarize(facts_, Judge(facts_))) {
      if (line.invariant == invariant) return line.holding;
    }
    ADD_FAILURE() << "no line for " << invariant;
    return Holding::kNotJudged;
  }
};

TEST_F(OnTheWay, DoesNotJudgeWhatMayYetComeTrue) {
  const std::vector<UserId> coming = Choose();
  EraseRows(coming);
  facts_.records.coupon->available_quantity = static_cast<int64_t>(kDefects);
  for (const UserId user : coming) facts_.on_their_way.insert(user);
  facts_.gate->reservations = static_cast<int64_t>(kDefects);
  EXPECT_EQ(Judge(facts_), std::vector<Finding>());
  for (const char* const open : {"I1", "I5", "I6", "I7", "I8"}) {
    EXPECT_EQ(HoldingOf(open), Holding::kNotYetKnown) << open;
  }
  for (const char* const known : {"I2", "I3", "I4", "P5"}) {
    EXPECT_EQ(HoldingOf(known), Holding::kHolds) << known;
  }
}

TEST_F(OnTheWay, JudgesExactlyWhoIsOnNoWay) {
  const std::vector<UserId> coming = Choose();
  EraseRows(coming);
  facts_.records.coupon->available_quantity = static_cast<int64_t>(kDefects);
  std::vector<UserId> lost;
  for (const UserId user : coming) {
    if (user.value % 2 == 0) {
      facts_.on_their_way.insert(user);
    } else {
      lost.push_back(user);
    }
  }
  EXPECT_EQ(Judge(facts_),
            (std::vector<Finding>{{"I7", "a participant of the gate, and there is no row", lost}}));
  EXPECT_EQ(HoldingOf("I7"), Holding::kBroken);
}

TEST_F(OnTheWay, JudgesWhatNothingOnItsWayCanMend) {
  const std::vector<UserId> chosen = Choose();
  std::erase_if(facts_.participants, [&](UserId user) { return Has(chosen, user); });
  for (const UserId user : chosen) facts_.told->users.erase(user);
  facts_.told->users[{1}].keys["k"].queued = {"first", "second"};
  facts_.records.coupon->available_quantity = 1;
  EXPECT_EQ(Found("I7", "a row, and no participant"), chosen);
  EXPECT_EQ(Found("I4", "a row, and neither"), chosen);
  EXPECT_TRUE(Says("P5", "one key"));
  EXPECT_TRUE(Says("I3", "available is 1"));
}

TEST_F(OnTheWay, ExcusesNobodyOnceAllIsQuiet) {
  const std::vector<UserId> left = Choose();
  EraseRows(left);
  for (const UserId user : left) facts_.on_their_way.insert(user);
  facts_.quiet = true;
  EXPECT_EQ(Found("I7", "a participant of the gate, and there is no row"), left);
}

TEST_F(OnTheWay, SaysNothingOfParticipantsOfAGateThatWasBuiltMeanwhile) {
  facts_.participants.clear();
  facts_.participants_known = false;
  EXPECT_EQ(Judge(facts_), std::vector<Finding>());
}

}  // namespace
}  // namespace ecom::ctl
