// `ecomctl verify` on a real stack: a clean campaign, and hundreds of defects of each kind planted
// into it. What is found must be what was planted, user by user, and nothing else.
#include "ctl_campaign.h"

namespace ecom::tests {
namespace {

using ctl::Exit;

constexpr int64_t kUsers = 3000;
constexpr size_t kDefects = 300;
constexpr absl::Duration kOld = absl::Minutes(2);

constexpr char kNoRow[] = "a participant of the gate, and there is no row";
constexpr char kNoParticipant[] = "a row, and no participant of the gate";
constexpr char kLeft[] = "a reservation is left";
constexpr char kLost[] = "lost: answered QUEUED, and there is no row";
constexpr char kSilent[] = "a row that was not announced";
constexpr char kUnfounded[] = "announced, and there is no such row";
constexpr char kUnasked[] = "a row, and neither QUEUED nor an unknown outcome";
constexpr char kKeyBroken[] = "one key, and not the same QUEUED each time";

class CtlVerify : public CtlCampaign {
 protected:
  CtlVerify() { SellOut(kUsers); }

  /// Exactly this is found, and the exit code says so.
  void ExpectFound(const CtlAnswer& answer, const FoundUsers& expected) {
    EXPECT_EQ(FindingsOf(answer), expected);
    EXPECT_EQ(answer.exit, expected.empty() ? Exit::kClean : Exit::kBroken) << answer.error;
    EXPECT_EQ(answer.json()["verdict"], expected.empty() ? "clean" : "broken");
    EXPECT_EQ(answer.json()["ok"], expected.empty());
  }

  /// By the rules whose lines say so.
  static std::vector<std::string> In(const CtlAnswer& answer, const std::string& state) {
    std::vector<std::string> names;
    const nlohmann::json json = answer.json();
    for (const auto& line : json["invariants"]) {
      if (line["state"] == state) names.push_back(line["invariant"]);
    }
    return names;
  }

  static Users Some(size_t count = kDefects) { return Choose(count, kUsers); }
  /// Users who never asked.
  static Users Strangers() { return Range(kUsers + 1000, kUsers + 1000 + kDefects - 1); }

  JournalEntry& FirstEntryOf(int64_t user) {
    return *std::find_if(journal_.begin(), journal_.end(),
                         [&](const JournalEntry& entry) { return entry.user == user; });
  }
  void ForgetWhatWasTold(const Users& users) {
    std::erase_if(journal_, [&](const JournalEntry& entry) { return Has(users, entry.user); });
  }
  static bool Has(const Users& users, int64_t user) {
    return std::binary_search(users.begin(), users.end(), user);
  }
};

TEST_F(CtlVerify, FindsNothingInACleanCampaign) {
  const CtlAnswer stores = Verify();
  ExpectFound(stores, {});
  EXPECT_EQ(In(stores, "holds"), (std::vector<std::string>{"I2", "I3", "I7"}));
  EXPECT_EQ(In(stores, "not-judged").size(), 6u);
  const nlohmann::json json = stores.json();
  EXPECT_EQ(json["rows"], kUsers);
  EXPECT_EQ(json["total"], kUsers);
  EXPECT_EQ(json["available"], 0);
  EXPECT_EQ(json["lag"], 0);
  EXPECT_EQ(json["log"].size(), 3u);
  EXPECT_EQ(json["gate"]["open"], true);
  EXPECT_EQ(json["gate"]["participants"], kUsers);

  const CtlAnswer all = VerifyWithJournal();
  ExpectFound(all, {});
  EXPECT_EQ(In(all, "holds").size(), 9u) << all.out;
}

TEST_F(CtlVerify, FindsExactlyTheRowsThatAreMissing) {
  const Users lost = Some();
  ChangeRows("DELETE FROM coupon_issues", lost);
  const std::string available = "available is 0, and total less rows is 300";
  ExpectFound(Verify(), {{{"I7", kNoRow}, lost}, {{"I3", available}, {}}});
  const auto was_refused = [](int64_t user) { return user <= kLate && user % 2 == 1; };
  ExpectFound(VerifyWithJournal(),
              {{{"I7", kNoRow}, lost},
               {{"I3", available}, {}},
               {{"I1", kLost}, lost},
               {{"I5", "answered sold out 100 times, and 2700 rows for a total of 3000"}, {}},
               {{"I6", "refused as a duplicate, and there is no row"}, Those(lost, was_refused)},
               {{"I8", kUnfounded}, lost}});
}

TEST_F(CtlVerify, FindsExactlyTheRowsThatTheGateDoesNotHave) {
  const Users extra = Strangers();
  AddRows(extra);
  const FoundUsers by_stores = {
      {{"I7", kNoParticipant}, extra},
      {{"I3", "over-issued: 3300 rows for a total of 3000"}, {}},
      {{"I3", "available is 0, and total less rows is -300"}, {}},
  };
  ExpectFound(Verify(), by_stores);
  FoundUsers by_journal = by_stores;
  by_journal[{"I4", kUnasked}] = extra;
  by_journal[{"I8", kSilent}] = extra;
  ExpectFound(VerifyWithJournal(), by_journal);
}

TEST_F(CtlVerify, FindsExactlyTheParticipantsThatAreMissing) {
  const Users missing = Some();
  Redis({"SREM", Key("participants")}, missing);
  ExpectFound(Verify(), {{{"I7", kNoParticipant}, missing}, {{"I7", "the gate is closed"}, {}}});
  redis().Do({"INCRBY", Key("stock"), "300"});  // so that the gate looks whole to itself
  ExpectFound(Verify(), {{{"I7", kNoParticipant}, missing},
                         {{"I7", "the gate's stock is 300, and available is 0"}, {}}});
}

TEST_F(CtlVerify, FindsExactlyTheParticipantsThatAreTooMany) {
  const Users extra = Strangers();
  Join(extra);
  ExpectFound(Verify(), {{{"I7", kNoRow}, extra}});
  redis().Do({"SADD", Key("participants"), "nobody", "somebody", "0x1"});
  ExpectFound(Verify(), {{{"I7", kNoRow}, extra},
                         {{"I7", "3 members of the gate are no users"}, {}},
                         {{"I7", "the gate is closed"}, {}}});
}

TEST_F(CtlVerify, FindsAStockThatSomebodyChanged) {
  redis().Do({"SET", Key("stock"), "7"});
  ExpectFound(Verify(), {{{"I7", "the gate is closed"}, {}},
                         {{"I7", "the gate's stock is 7, and available is 0"}, {}}});
}

TEST_F(CtlVerify, FindsAnAvailableQuantityThatSomebodyChanged) {
  ChangeCoupon("available_quantity = 5");
  ExpectFound(Verify(), {{{"I3", "available is 5, and total less rows is 0"}, {}},
                         {{"I7", "the gate's stock is 0, and available is 5"}, {}}});
}

TEST_F(CtlVerify, FindsExactlyTheReservationsThatAreLeftOfRows) {
  const Users left = Some();
  Reserve(left, kOld);
  ExpectFound(Verify(), {{{"I7", kLeft}, left}});
}

TEST_F(CtlVerify, FindsExactlyTheReservationsThatAreLeftWithoutRows) {
  const Users left = Strangers();
  Join(left);
  Reserve(left, kOld);
  ExpectFound(Verify(), {{{"I7", kLeft}, left}, {{"I7", kNoRow}, left}});
}

TEST_F(CtlVerify, DoesNotJudgeWhatIsOnItsWayAndSaysSo) {
  const Users on_the_way = Strangers();
  Join(on_the_way);
  Reserve(on_the_way, absl::ZeroDuration());
  const CtlAnswer answer = Verify();
  EXPECT_EQ(FindingsOf(answer), FoundUsers());
  EXPECT_EQ(answer.exit, Exit::kUnable);
  EXPECT_EQ(answer.json()["verdict"], "on-the-way");
  EXPECT_EQ(answer.json()["on_the_way"], true);
  EXPECT_EQ(In(answer, "not-yet-known"), std::vector<std::string>{"I7"});

  const Users missing = Some();
  Redis({"SREM", Key("participants")}, missing);
  redis().Do({"HINCRBY", Key("meta"), "units", "-300"});
  const CtlAnswer broken = Verify();
  EXPECT_EQ(FindingsOf(broken), (FoundUsers{{{"I7", kNoParticipant}, missing}}))
      << "nothing that is on its way mends a row that the gate does not have";
  EXPECT_EQ(broken.exit, Exit::kBroken);
}

TEST_F(CtlVerify, WaitsUntilClaimsHaveBecomeRows) {
  ChangeCoupon("total_quantity = 4000, available_quantity = 1000");
  Require(reconciler_.Reconcile());
  Require(reconciler_.Reconcile());  // a difference counts when it stays
  stack_.StopRecorder();
  Ask(Strangers());
  const CtlAnswer early = Verify();
  EXPECT_EQ(early.exit, Exit::kUnable);
  EXPECT_EQ(FindingsOf(early), FoundUsers());
  EXPECT_EQ(early.json()["lag"], kDefects);
  EXPECT_EQ(early.json()["gate"]["reservations"], kDefects);
  stack_.StartRecorder();
  const CtlAnswer late = Verify({"--wait", "60s", "--journal", WriteJournal()});
  EXPECT_EQ(late.json()["rows"], kUsers + static_cast<int64_t>(kDefects));
  EXPECT_EQ(FindingsOf(late), (FoundUsers{{{"I5",
                                            "answered sold out 100 times, and 3300 rows for a "
                                            "total of 4000"},
                                           {}}}))
      << "units that were added after it was sold out";
}

TEST_F(CtlVerify, FindsExactlyTheRowsThatWereNotAnnounced) {
  const Users silent = Strangers();
  AddRows(silent);
  Join(silent);
  ChangeCoupon("total_quantity = total_quantity + 300");
  for (const int64_t user : silent) {
    journal_.push_back({.user = user, .answer = "UNAVAILABLE", .invoke_ns = 1, .done_ns = 2});
  }
  ExpectFound(VerifyWithJournal(), {{{"I8", kSilent}, silent}});
}

TEST_F(CtlVerify, FindsExactlyTheEventsThatNoRowStandsBehind) {
  const Users strangers = Strangers();
  const Users cheated = Some();
  std::vector<coupon::IssuedCoupon> events;
  for (size_t i = 0; i < kDefects; ++i) {
    // Half of them name a request that is another user's row.
    const std::string others = FirstEntryOf(cheated[i]).request_id;
    events.push_back(
        {.holder = {id_, {strangers[i]}},
         .request = i % 2 == 0 ? *coupon::RequestId::Parse(others) : coupon::RequestId::Random(),
         .issued_at = absl::Now()});
    // At least once: a second event of a row is none too many.
    events.push_back({.holder = {id_, {cheated[i]}},
                      .request = *coupon::RequestId::Parse(others),
                      .issued_at = absl::Now()});
  }
  Require(backing().feed().Publish(events));
  ExpectFound(VerifyWithJournal(), {{{"I8", kUnfounded}, strangers}});
}

TEST_F(CtlVerify, FindsExactlyWhoWasRejected) {
  const Users rejected = Strangers();
  Append(rejected, incarnation_);
  ASSERT_TRUE(Drain());
  ExpectFound(Verify(),
              {{{"I7", "rejected by the store after the gate had admitted it"}, rejected}});
}

TEST_F(CtlVerify, FindsExactlyWhoseClaimsBecameDeadLettersAndCountsTheLetters) {
  const Users dead = Strangers();
  Join(dead);
  Append(dead, "another-incarnation");
  ASSERT_TRUE(Drain());
  const CtlAnswer answer = Verify();
  ExpectFound(answer, {{{"I7", kNoRow}, dead}});
  EXPECT_EQ(answer.json()["dead_letters"], kDefects);
  EXPECT_EQ(Run({"dlt", "discard", "--all"}).exit, Exit::kClean);
  EXPECT_EQ(Verify().json()["dead_letters"], 0) << "those that somebody has dealt with are none";
}

TEST_F(CtlVerify, FindsAGateOfAnotherGeneration) {
  const int64_t valid = Verify().json()["gate"]["generation"];
  ChangeCoupon("gate_generation = gate_generation + 1");
  ExpectFound(Verify(), {{{"I7", absl::StrCat("the gate is at generation ", valid, ", and ",
                                              valid + 1, " is the valid one")},
                          {}}});
}

TEST_F(CtlVerify, FindsAGateThatIsGoneOrOfAnotherRedis) {
  ChangeCoupon("gate_home = 'elsewhere'");
  ExpectFound(Verify(), {{{"I7", "the gate is closed"}, {}}});
  redis().Do({"FLUSHALL"});
  const CtlAnswer gone = Verify();
  ExpectFound(gone, {{{"I7", "there is no gate"}, {}}});
  EXPECT_FALSE(gone.json().contains("gate"));
}

TEST_F(CtlVerify, FindsExactlyTheRequestIdsThatAreSharedOrNone) {
  const Users some = Some();
  const Users sharing(some.begin(), some.begin() + kDefects / 2);
  const Users malformed(some.begin() + kDefects / 2, some.end());
  ChangeRows("UPDATE coupon_issues SET request_id = '11111111-2222-4333-8444-555555555555'",
             sharing);
  ChangeRows("UPDATE coupon_issues SET request_id = 'nonsense'", malformed);
  ExpectFound(Verify(), {{{"I2", "the row shares its request id with another row"}, sharing},
                         {{"I2", "the row has a malformed request id"}, malformed}});
  FoundUsers found = FindingsOf(VerifyWithJournal());
  EXPECT_EQ((found[{"I2", "the row has another request id than the answer"}]), some);
}

TEST_F(CtlVerify, TellsDefectsOfManyKindsApart) {
  const Users some = Some(900);
  const Users lost(some.begin(), some.begin() + 300);
  const Users left(some.begin() + 300, some.begin() + 600);
  const Users missing(some.begin() + 600, some.end());
  const Users extra = Strangers();
  ChangeRows("DELETE FROM coupon_issues", lost);
  Reserve(left, kOld);
  Redis({"SREM", Key("participants")}, missing);
  Join(extra);
  ExpectFound(Verify(), {{{"I3", "available is 0, and total less rows is 300"}, {}},
                         {{"I7", kNoRow},
                          [&] {
                            Users all = lost;
                            all.insert(all.end(), extra.begin(), extra.end());
                            return all;
                          }()},
                         {{"I7", kLeft}, left},
                         {{"I7", kNoParticipant}, missing},
                         {{"I7", "the gate is closed"}, {}}});
}

TEST_F(CtlVerify, FindsInAJournalExactlyWhatWasToldWrongly) {
  const Users some = Some(600);
  const auto part = [&](size_t first) {
    return Users(some.begin() + first, some.begin() + first + 100);
  };
  const Users unasked = part(0), other_id = part(100), twice = part(200), changed = part(300),
              unkeyed = part(400), refused = part(500);
  const Users never_rows = Strangers();
  const Users promised(never_rows.begin(), never_rows.begin() + 100);
  const Users duplicates(never_rows.begin() + 100, never_rows.begin() + 200);
  const Users keyed(never_rows.begin() + 200, never_rows.end());

  ForgetWhatWasTold(some);
  for (const int64_t user : other_id) {
    journal_.push_back({user, "QUEUED", "", coupon::RequestId::Random().ToString(), 1, 2});
  }
  std::map<int64_t, std::string> row_of;
  for (const int64_t user : some) {
    row_of[user] = database()
                       .Texts(absl::StrCat(
                           "SELECT request_id FROM coupon_issues WHERE coupon_id = ", id_.value,
                           " AND user_id = ", user))
                       .at(0);
  }
  for (const int64_t user : twice) {  // two keys, one QUEUED each
    journal_.push_back({user, "QUEUED", "a", row_of[user], 1, 2});
    journal_.push_back({user, "QUEUED", "b", row_of[user], 3, 4});
  }
  for (const int64_t user : changed) {  // one key, two requests
    journal_.push_back({user, "QUEUED", "a", row_of[user], 1, 2});
    journal_.push_back({user, "QUEUED", "a", coupon::RequestId::Random().ToString(), 3, 4});
  }
  for (const int64_t user : unkeyed) {  // no key, and yet twice
    journal_.push_back({user, "QUEUED", "", row_of[user], 1, 2});
    journal_.push_back({user, "QUEUED", "", row_of[user], 3, 4});
  }
  for (size_t i = 0; i < refused.size(); ++i) {  // the key of a QUEUED is a duplicate, at any time
    journal_.push_back({refused[i], "QUEUED", "a", row_of[refused[i]], 10, 20});
    const int64_t at = i % 2 == 0 ? 30 : 5;
    journal_.push_back({refused[i], "DUPLICATE", "a", "", at, at + 1});
  }
  for (const int64_t user : promised) {
    journal_.push_back({user, "QUEUED", "", coupon::RequestId::Random().ToString(), 1, 2});
  }
  for (const int64_t user : duplicates) journal_.push_back({user, "DUPLICATE", "", "", 1, 2});
  for (const int64_t user : keyed) journal_.push_back({user, "DUPLICATE", "only", "", 1, 2});

  Users keys_broken = changed;
  keys_broken.insert(keys_broken.end(), refused.begin(), refused.end());
  keys_broken.insert(keys_broken.end(), keyed.begin(), keyed.end());
  Users promised_twice = twice;
  promised_twice.insert(promised_twice.end(), unkeyed.begin(), unkeyed.end());
  Users told_duplicate = duplicates;
  told_duplicate.insert(told_duplicate.end(), keyed.begin(), keyed.end());
  ExpectFound(
      VerifyWithJournal(),
      {{{"I1", kLost}, promised},
       {{"I2", "the row has another request id than the answer"}, other_id},
       {{"I2", "answered QUEUED more than once, without sending one key again"}, promised_twice},
       {{"I2", "answered QUEUED with more than one request id"}, changed},
       {{"I4", kUnasked}, unasked},
       {{"I6", "refused as a duplicate, and there is no row"}, told_duplicate},
       {{"P5", kKeyBroken}, keys_broken}});
}

TEST_F(CtlVerify, SaysThatARunInWhichNothingWasAcceptedProvesNothing) {
  std::erase_if(journal_, [](const JournalEntry& entry) { return entry.answer == "QUEUED"; });
  const CtlAnswer answer = VerifyWithJournal();
  EXPECT_EQ(answer.exit, Exit::kBroken);
  EXPECT_TRUE(FindingsOf(answer).contains(
      {"I1", "nothing was accepted at all: such a run proves nothing"}));
}

TEST_F(CtlVerify, NamesTwentyUsersToAPersonAndAllOfThemWhenAsked) {
  const Users missing = Some();
  Redis({"SREM", Key("participants")}, missing);
  const std::string coupon = absl::StrCat(id_.value);
  const Users first(missing.begin(), missing.begin() + 20);
  const CtlAnswer few = Run({"verify", "--coupon", coupon});
  EXPECT_EQ(few.exit, Exit::kBroken);
  EXPECT_NE(few.out.find(absl::StrCat(kNoParticipant, ": 300 users: ", absl::StrJoin(first, " "),
                                      " … (all of them with -o json, or --users-max)\n")),
            few.out.npos)
      << few.out;
  const CtlAnswer all = Run({"verify", "--coupon", coupon, "--users-max", "300"});
  EXPECT_NE(all.out.find(absl::StrCat(": 300 users: ", absl::StrJoin(missing, " "), "\n")),
            all.out.npos);
  const nlohmann::json cut = Verify({"--users-max", "5"}).json();
  EXPECT_EQ(cut["findings"][0]["count"], kDefects);
  EXPECT_EQ(cut["findings"][0]["users"].size(), 5u);
}

TEST_F(CtlVerify, CannotTellWithoutItsArgumentsOrItsStores) {
  const std::vector<std::string> verify = {"verify", "--coupon", absl::StrCat(id_.value)};
  const auto expect_unable = [](const CtlAnswer& answer, const std::string& error) {
    EXPECT_EQ(answer.exit, Exit::kUnable) << answer.out;
    EXPECT_EQ(answer.out, "");
    EXPECT_NE(answer.error.find(error), answer.error.npos) << answer.error;
  };
  expect_unable(Run({"verify"}), "verify needs --coupon with a number");
  expect_unable(Run({"verify", "--coupon", "987654"}), "there is no coupon 987654");
  expect_unable(Verify({"--journal", "/nonexistent"}), "/nonexistent: cannot be read");
  expect_unable(Run(verify, {{"MYSQL_URL", "mysql://root@127.0.0.1:1/ecommerce"}}),
                "is the stack up (make stack)");
  expect_unable(Run(verify, {{"REDIS_URL", "unix:///nonexistent"}}), "Redis");
  expect_unable(Run(verify, {{"KAFKA_BROKERS", "127.0.0.1:1"}}), "Kafka");
  journal_.front().answer = "QUEUD";
  expect_unable(VerifyWithJournal(), "journal.jsonl:1: no entry of a journal");
}

}  // namespace
}  // namespace ecom::tests
