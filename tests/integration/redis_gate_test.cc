// The Redis gate on a real Redis: what the contract suite cannot ask of every gate.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "support/redis_backend.h"

namespace ecom::tests {
namespace {

using coupon::Admission;
using coupon::Claim;
using coupon::Coupon;
using coupon::RequestId;
using coupon::Verdict;

constexpr char kStock[] = "coupon:issue:async:stock:1";
constexpr char kParticipants[] = "coupon:issue:async:participants:1";
constexpr char kReservations[] = "coupon:issue:async:reservations:1";
constexpr char kMeta[] = "coupon:issue:async:meta:1";

class RedisGate : public testing::Test {
 protected:
  RedisGate() : coupon_(OpenCoupon(backend_.Now(), 1, 5)) {
    coupon_.gate_home = HomeOf(backend_.control(), coupon_);
    coupon_.gate_generation = {1};
  }

  void Arm(coupon::GateContents contents) {
    const absl::Status armed = backend_.control().Arm(coupon_, std::move(contents));
    ASSERT_TRUE(armed.ok()) << armed;
  }

  Claim ClaimOf(int64_t user) const {
    return {.holder = {.coupon = coupon_.id, .user = {user}}, .request = RequestId::Random()};
  }

  absl::StatusOr<std::vector<Admission>> Admit(const std::vector<Claim>& claims) {
    return backend_.gate().Admit(coupon_, claims);
  }

  /// One user admitted, one recorded: every key of the gate exists.
  void ArmAndUse() {
    Arm({.stock = 5});
    const std::vector claims = {ClaimOf(1), ClaimOf(2)};
    ASSERT_TRUE(Admit(claims).ok());
    ASSERT_TRUE(backend_.gate().Recorded({&claims[0], 1}).ok());
    ASSERT_TRUE(Inspect().open);
  }

  coupon::GateState Inspect() {
    return backend_.control().Inspect(coupon_)->value_or(coupon::GateState{});
  }

  /// The gate notices, writes nothing, and says so to the reconciler; a rebuild heals it.
  void ExpectNotReadyUntilRebuilt() {
    const std::string before = Dump();
    const auto refused = Admit({ClaimOf(7)});
    EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
    EXPECT_FALSE(Inspect().open);
    EXPECT_EQ(Dump(), before);
    ++coupon_.gate_generation.value;
    ASSERT_TRUE(backend_.control().Close(coupon_).ok());
    Arm({.stock = 4, .participants = {{1}}});
    EXPECT_TRUE(Inspect().open);
    EXPECT_EQ((*Admit({ClaimOf(7)}))[0].verdict, Verdict::kAdmitted);
  }

  /// The keys are all there, and the gate says so to nobody.
  void ExpectElsewhere(const std::string& home_before) {
    const auto refused = Admit({ClaimOf(7)});
    EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
    EXPECT_FALSE(Inspect().open);
    ++coupon_.gate_generation.value;
    coupon_.gate_home = backend_.control().Close(coupon_)->home;
    EXPECT_NE(coupon_.gate_home, home_before);
    Arm({.stock = 4, .participants = {{1}}});
    EXPECT_EQ((*Admit({ClaimOf(7)}))[0].verdict, Verdict::kAdmitted);
  }

  std::string Dump() {
    std::string dump;
    for (const char* const key : {kStock, kParticipants, kReservations, kMeta}) {
      dump += backend_.server().Do({"DUMP", key}) + "\n";
    }
    return dump;
  }

  RedisGateBackend backend_;
  Coupon coupon_;
};

TEST_F(RedisGate, NamesItsKeysAsPeopleLookThemUp) {
  Arm({.stock = 5});
  const Claim claim = ClaimOf(42);
  ASSERT_TRUE(Admit({claim}).ok());
  EXPECT_EQ(backend_.server().Do({"GET", kStock}), "4");
  EXPECT_EQ(backend_.server().Do({"SMEMBERS", kParticipants}), "42");
  EXPECT_EQ(backend_.server().Do({"HGET", kReservations, "42"}).substr(0, 36),
            claim.request.ToString());
  EXPECT_EQ(backend_.server().Do({"DBSIZE"}), "4");
}

TEST_F(RedisGate, PutsTheIdInBracesForACluster) {
  RedisGateBackend backend({.cluster = true});
  ASSERT_TRUE(backend.control().Arm(coupon_, {.stock = 5}).ok());
  EXPECT_EQ(backend.server().Do({"GET", "coupon:issue:async:stock:{1}"}), "5");
  EXPECT_EQ(backend.server().Do({"DBSIZE"}), "2");
}

TEST_F(RedisGate, IsNotReadyAfterFlushall) {
  ArmAndUse();
  backend_.server().Do({"FLUSHALL"});
  EXPECT_EQ(*backend_.control().Inspect(coupon_), std::nullopt);
  ExpectNotReadyUntilRebuilt();
}

struct Tampering {
  const char* name;
  std::vector<std::string> command;
};

class RedisGateTampered : public RedisGate, public testing::WithParamInterface<Tampering> {};

TEST_P(RedisGateTampered, IsNotReadyUntilItIsRebuilt) {
  ArmAndUse();
  const std::vector<std::string>& command = GetParam().command;
  if (command[0] == "RPUSH") backend_.server().Do({"DEL", command[1]});  // another type
  const std::string reply = backend_.server().Do(command);
  ASSERT_NE(reply.substr(0, 5), "ERROR") << reply;
  ExpectNotReadyUntilRebuilt();
}

INSTANTIATE_TEST_SUITE_P(
    Ways, RedisGateTampered,
    testing::Values(Tampering{"StockDeleted", {"DEL", kStock}},
                    Tampering{"ParticipantsDeleted", {"DEL", kParticipants}},
                    Tampering{"ReservationsDeleted", {"DEL", kReservations}},
                    Tampering{"MetaDeleted", {"DEL", kMeta}},
                    Tampering{"StockSetByHand", {"SET", kStock, "1000"}},
                    Tampering{"StockIsNegative", {"SET", kStock, "-3"}},
                    Tampering{"StockHasALeadingZero", {"SET", kStock, "03"}},
                    Tampering{"StockIsNoNumber", {"SET", kStock, "nan"}},
                    Tampering{"StockIsAFraction", {"SET", kStock, "3.0"}},
                    Tampering{"ParticipantRemoved", {"SREM", kParticipants, "1"}},
                    Tampering{"ParticipantAdded", {"SADD", kParticipants, "99"}},
                    Tampering{"ReservationAdded", {"HSET", kReservations, "99", "x"}},
                    Tampering{"UnitsChanged", {"HSET", kMeta, "units", "6"}},
                    Tampering{"ReservationsMiscounted", {"HSET", kMeta, "reservations", "2"}},
                    Tampering{"ExpiryDeleted", {"HDEL", kMeta, "expires_ms"}},
                    Tampering{"StockIsAList", {"RPUSH", kStock, "3"}},
                    Tampering{"ParticipantsIsAList", {"RPUSH", kParticipants, "1", "2"}},
                    Tampering{"ReservationsIsAList", {"RPUSH", kReservations, "2"}},
                    Tampering{"MetaIsAList", {"RPUSH", kMeta, "1"}}),
    [](const auto& param) { return std::string(param.param.name); });

TEST_F(RedisGate, SaysThatItIsSpoiltWhenAReservationCannotBeRead) {
  const auto find = [this] {
    return backend_.control()
        .FindReservationsOlderThan(coupon_.id, absl::ZeroDuration(), 10)
        .status();
  };
  ArmAndUse();
  backend_.server().Do({"HSET", kReservations, "2", "nonsense"});  // the sums are right
  EXPECT_TRUE(Inspect().open);
  EXPECT_TRUE(absl::IsFailedPrecondition(find())) << find();
  const absl::Status asked =
      backend_.gate().FindReservations(coupon_, std::vector{coupon::UserId{2}}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(asked)) << asked;
  backend_.server().Do({"DEL", kReservations});
  backend_.server().Do({"HSET", kReservations, "nobody", "nonsense"});
  EXPECT_TRUE(absl::IsFailedPrecondition(find())) << find();
  backend_.server().Do({"DEL", kReservations});
  backend_.server().Do({"SET", kReservations, "a string"});
  EXPECT_TRUE(absl::IsFailedPrecondition(find())) << find();
}

TEST_F(RedisGate, LoadsItsScriptsAgainWhenRedisForgotThem) {
  Arm({.stock = 5});
  ASSERT_TRUE(Admit({ClaimOf(1)}).ok());
  backend_.server().Do({"SCRIPT", "FLUSH"});
  const auto admissions = Admit({ClaimOf(2)});
  ASSERT_TRUE(admissions.ok()) << admissions.status();
  EXPECT_EQ((*admissions)[0].verdict, Verdict::kAdmitted);
  const int64_t evals = backend_.server().CallsOf("eval");
  ASSERT_TRUE(Admit({ClaimOf(3)}).ok());
  EXPECT_EQ(backend_.server().CallsOf("eval"), evals);
  backend_.server().Do({"SCRIPT", "FLUSH"});
  EXPECT_TRUE(backend_.gate().Recorded(std::vector{ClaimOf(1)}).ok());
  EXPECT_TRUE(Inspect().open);
}

TEST_F(RedisGate, SaysUnknownInTimeWhenRedisStandsStillAndGoesOnAfterwards) {
  Arm({.stock = 5});
  ASSERT_TRUE(Admit({ClaimOf(1)}).ok());
  const std::vector claims = {ClaimOf(2)};
  backend_.server().Freeze();
  const absl::Time start = absl::Now();
  const absl::Status asked = Admit(claims).status();
  const absl::Status again = Admit(claims).status();  // on a new connection
  const absl::Status recorded = backend_.gate().Recorded(claims);
  const absl::Duration took = absl::Now() - start;
  backend_.server().Thaw();
  EXPECT_TRUE(absl::IsDeadlineExceeded(asked)) << asked;
  EXPECT_TRUE(absl::IsUnavailable(again))
      << again << ": it did not say who it is, so nothing was sent";
  EXPECT_TRUE(absl::IsUnavailable(recorded)) << recorded;
  EXPECT_GE(took, absl::Milliseconds(1500));
  EXPECT_LT(took, absl::Seconds(5));

  // What was given up may have been run by now, as admission or as replay, and then recorded. Its
  // answers are not those to this call.
  const auto admissions = Admit({claims[0], claims[0], claims[0]});
  ASSERT_TRUE(admissions.ok()) << admissions.status();
  EXPECT_EQ(admissions->size(), 3u);
  ASSERT_TRUE(backend_.gate().Recorded(claims).ok());
  EXPECT_EQ(Inspect().participants, 2);
  EXPECT_EQ(Inspect().stock, 3);
  EXPECT_TRUE(Inspect().open);
}

TEST_F(RedisGate, CountsItsRoundTripsByWhatCameOfThem) {
  Arm({.stock = 5});
  const auto count = [&](absl::StatusCode code) {
    return backend_.redis().calls().by_code[static_cast<size_t>(code)];
  };
  const int64_t before = count(absl::StatusCode::kOk);
  ASSERT_TRUE(Admit({ClaimOf(1)}).ok());
  ASSERT_TRUE(backend_.gate().Recorded(std::vector{ClaimOf(2)}).ok());
  EXPECT_EQ(count(absl::StatusCode::kOk), before + 2);
  backend_.server().Do({"FLUSHALL"});
  EXPECT_FALSE(Admit({ClaimOf(3)}).ok());
  EXPECT_EQ(count(absl::StatusCode::kFailedPrecondition), 1);
  EXPECT_GT(backend_.redis().calls().total, absl::ZeroDuration());
}

TEST_F(RedisGate, ConnectsAgainWhenRedisClosedTheConnectionBetweenTwoCalls) {
  Arm({.stock = 5});
  ASSERT_TRUE(Admit({ClaimOf(1)}).ok());
  ASSERT_NE(backend_.server().Do({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"}), "0");
  const auto admissions = Admit({ClaimOf(2)});
  EXPECT_TRUE(admissions.ok()) << admissions.status();
}

TEST_F(RedisGate, SaysUnknownWhenTheConnectionIsLostUnderACall) {
  RedisGateBackend backend({.command_timeout = absl::Seconds(30)});
  RedisServer& server = backend.server();
  ASSERT_TRUE(backend.control().Arm(coupon_, {.stock = 5}).ok());
  const std::vector claims = {ClaimOf(1)};
  server.Do({"CLIENT", "PAUSE", "30000", "WRITE"});
  absl::Status lost;
  std::thread caller([&] { lost = backend.gate().Admit(coupon_, claims).status(); });
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (server.Do({"CLIENT", "LIST"}).find(" flags=b") == std::string::npos &&
         absl::Now() < deadline) {
    std::this_thread::yield();
  }
  server.Do({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
  server.Do({"CLIENT", "UNPAUSE"});
  caller.join();
  EXPECT_TRUE(absl::IsDeadlineExceeded(lost)) << lost;
  EXPECT_TRUE(backend.gate().Admit(coupon_, claims).ok());
}

TEST_F(RedisGate, SaysUnavailableWhileRedisIsGoneAndFindsANewOneNotReady) {
  Arm({.stock = 5});
  ASSERT_TRUE(Admit({ClaimOf(1)}).ok());
  backend_.server().Kill();
  EXPECT_TRUE(absl::IsUnavailable(Admit({ClaimOf(2)}).status()));
  EXPECT_TRUE(absl::IsUnavailable(Admit({ClaimOf(2)}).status()));
  EXPECT_TRUE(absl::IsUnavailable(
      backend_.gate().FindReservations(coupon_, std::vector{coupon::UserId{1}}).status()));
  EXPECT_TRUE(absl::IsUnavailable(backend_.gate().Recorded(std::vector{ClaimOf(1)})));
  EXPECT_TRUE(absl::IsUnavailable(backend_.control().Arm(coupon_, {.stock = 5})));
  EXPECT_TRUE(absl::IsUnavailable(backend_.control().Close(coupon_).status()));
  EXPECT_TRUE(absl::IsUnavailable(backend_.control().Disarm(coupon_.id)));
  EXPECT_TRUE(absl::IsUnavailable(backend_.control().Inspect(coupon_).status()));
  EXPECT_TRUE(absl::IsUnavailable(
      backend_.control().FindReservationsOlderThan(coupon_.id, {}, 1).status()));
  backend_.server().Start();
  EXPECT_TRUE(absl::IsFailedPrecondition(Admit({ClaimOf(2)}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(backend_.control().Arm(coupon_, {.stock = 5})));
  coupon_.gate_home = backend_.control().Close(coupon_)->home;
  Arm({.stock = 5});
  EXPECT_TRUE(Admit({ClaimOf(2)}).ok());
}

TEST_F(RedisGate, IsNotReadyInARedisThatWasRestartedWithAllItsKeys) {
  ArmAndUse();
  const std::string before = coupon_.gate_home;
  backend_.server().RestartWithItsKeys();
  EXPECT_EQ(backend_.server().Do({"GET", kStock}), "3");
  ExpectElsewhere(before);
}

TEST_F(RedisGate, IsNotReadyAfterAFailoverOfTheSameProcess) {
  ArmAndUse();
  const std::string before = coupon_.gate_home;
  backend_.server().Do({"DEBUG", "CHANGE-REPL-ID"});
  backend_.server().Do({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
  ExpectElsewhere(before);
}

TEST_F(RedisGate, RefusesARedisThatEvicts) {
  EXPECT_TRUE(backend_.redis().CheckServer().ok());
  backend_.server().Do({"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"});
  const absl::Status refused = backend_.redis().CheckServer();
  backend_.server().Do({"CONFIG", "SET", "maxmemory-policy", "noeviction"});
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_NE(std::string(refused.message()).find("noeviction"), std::string::npos) << refused;
}

TEST_F(RedisGate, TakesNothingInARedisThatIsFullAndStillRecordsAndCloses) {
  Arm({.stock = 5});
  const Claim first = ClaimOf(1);
  ASSERT_TRUE(Admit({first}).ok());
  const std::string before = Dump();
  backend_.server().Do({"CONFIG", "SET", "maxmemory", "1"});
  const absl::Status refused = Admit({ClaimOf(2)}).status();
  const std::string after = Dump();
  const absl::Status recorded = backend_.gate().Recorded({&first, 1});
  ++coupon_.gate_generation.value;
  const auto closed = backend_.control().Close(coupon_);
  --coupon_.gate_generation.value;
  backend_.server().Do({"CONFIG", "SET", "maxmemory", "0"});
  EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
  EXPECT_EQ(after, before);
  EXPECT_TRUE(recorded.ok()) << recorded;
  EXPECT_TRUE(closed.ok()) << closed.status();
  EXPECT_FALSE(Inspect().open);
  EXPECT_EQ(Inspect().reservations, 0);
}

TEST_F(RedisGate, DecidesEightThousandClaimsInOneRoundTrip) {
  constexpr int64_t kStockUnits = 7000;
  coupon_.total_quantity = kStockUnits;
  Arm({.stock = kStockUnits});
  ASSERT_TRUE(Admit({ClaimOf(1)}).ok());  // Redis has the script now
  std::vector<Claim> claims;
  for (int64_t user = 1; user <= 8000; ++user) claims.push_back(ClaimOf(user));
  const int64_t calls = backend_.server().CallsOf("evalsha");
  const int64_t evals = backend_.server().CallsOf("eval");
  const auto admissions = Admit(claims);
  EXPECT_EQ(backend_.server().CallsOf("evalsha"), calls + 1);
  EXPECT_EQ(backend_.server().CallsOf("eval"), evals);
  ASSERT_TRUE(admissions.ok()) << admissions.status();
  std::map<Verdict, int64_t> counts;
  for (const Admission& admission : *admissions) ++counts[admission.verdict];
  EXPECT_EQ(counts[Verdict::kAdmitted], kStockUnits - 1);
  EXPECT_EQ(counts[Verdict::kDuplicate], 1);
  EXPECT_EQ(counts[Verdict::kSoldOut], 8000 - kStockUnits);
  EXPECT_EQ(Inspect().stock, 0);
  EXPECT_EQ(Inspect().reservations, kStockUnits);

  std::vector<coupon::UserId> users;
  for (const Claim& claim : claims) users.push_back(claim.holder.user);
  const auto reservations = backend_.gate().FindReservations(coupon_, users);
  ASSERT_TRUE(reservations.ok());
  EXPECT_EQ((*reservations)[5000], claims[5000].request);
  const auto all = backend_.redis().FindReservationsBefore(coupon_.id, backend_.Now(), 100000);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->size(), static_cast<size_t>(kStockUnits));
  ASSERT_TRUE(backend_.gate().Recorded(claims).ok());
  EXPECT_EQ(Inspect().reservations, 1);  // user 1 holds one by an earlier request
  EXPECT_TRUE(Inspect().open);
}

TEST_F(RedisGate, ArmsWithMoreParticipantsThanOneCallTakes) {
  coupon::GateContents contents{.stock = 10};
  for (int64_t user = 1; user <= 25000; ++user) contents.participants.push_back({user});
  coupon_.total_quantity = 25010;
  Arm(contents);
  EXPECT_TRUE(Inspect().open);
  EXPECT_EQ(Inspect().participants, 25000);
  EXPECT_EQ((*Admit({ClaimOf(25000)}))[0].verdict, Verdict::kDuplicate);
  EXPECT_EQ((*Admit({ClaimOf(25001)}))[0].verdict, Verdict::kAdmitted);
}

TEST_F(RedisGate, KeepsTheLastDigitOfTheBiggestUserIdAndTheTime) {
  Arm({.stock = 5});
  constexpr int64_t kBiggest = std::numeric_limits<int64_t>::max();
  const Claim biggest = ClaimOf(kBiggest);
  const absl::Time before = backend_.Now();
  const auto admissions = Admit({biggest, ClaimOf(kBiggest - 1)});
  const absl::Time after = backend_.Now();
  ASSERT_TRUE(admissions.ok());
  EXPECT_EQ((*admissions)[0].verdict, Verdict::kAdmitted);
  EXPECT_EQ((*admissions)[1].verdict, Verdict::kAdmitted);
  EXPECT_EQ(backend_.server().Do({"SISMEMBER", kParticipants, "9223372036854775807"}), "1");
  const auto found =
      backend_.redis().FindReservationsBefore(coupon_.id, after + absl::Seconds(1), 10);
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 2u);
  for (const coupon::Reservation& reservation : *found) {
    EXPECT_GE(reservation.claim.holder.user.value, kBiggest - 1);
    EXPECT_GE(reservation.claimed_at, before);
    EXPECT_LE(reservation.claimed_at, after);
  }
}

TEST_F(RedisGate, RefusesAsBusyBeyondTheCapOnReservations) {
  RedisGateBackend backend({.reservations_max = 1});
  ASSERT_TRUE(backend.control().Arm(coupon_, {.stock = 5}).ok());
  const std::vector claims = {ClaimOf(1), ClaimOf(2)};
  EXPECT_EQ((*backend.gate().Admit(coupon_, claims))[1].verdict, Verdict::kBusy);
  ASSERT_TRUE(backend.gate().Recorded({&claims[0], 1}).ok());
  EXPECT_EQ((*backend.gate().Admit(coupon_, claims))[1].verdict, Verdict::kAdmitted);
}

TEST_F(RedisGate, OutlivesItsUseByAMarginEvenInKeysThatCameLater) {
  Arm({.stock = 5});
  const std::vector claims = {ClaimOf(1)};
  ASSERT_TRUE(Admit(claims).ok());
  ASSERT_TRUE(backend_.gate().Recorded(claims).ok());  // the hash is empty, and so gone
  ASSERT_TRUE(Admit({ClaimOf(2)}).ok());
  const std::string expiry = backend_.server().Do({"PEXPIRETIME", kMeta});
  int64_t expires_ms = 0;
  ASSERT_TRUE(absl::SimpleAtoi(expiry, &expires_ms));
  // A server's clock may be an hour behind, and it may have begun a call at the last moment.
  EXPECT_GT(absl::FromUnixMillis(expires_ms),
            coupon_.ends_at + coupon::kArmedPastEnd + absl::Hours(1) + absl::Minutes(1));
  for (const char* const key : {kStock, kParticipants, kReservations}) {
    EXPECT_EQ(backend_.server().Do({"PEXPIRETIME", key}), expiry) << key;
  }

  ++coupon_.gate_generation.value;
  coupon_.ends_at = backend_.Now() - coupon::kArmedPastEnd - absl::Hours(1);
  Arm({.stock = 5});
  EXPECT_EQ((*Admit({ClaimOf(3)}))[0].verdict, Verdict::kNotOpen);
  ++coupon_.gate_generation.value;
  coupon_.ends_at = backend_.Now() - coupon::kArmedPastEnd - absl::Hours(3);
  EXPECT_TRUE(absl::IsFailedPrecondition(backend_.control().Arm(coupon_, {.stock = 5})));
}

TEST_F(RedisGate, StaysAsItIsWhenTheSameArmComesLate) {
  Arm({.stock = 5});
  ASSERT_TRUE(Admit({ClaimOf(1)}).ok());
  Arm({.stock = 5});
  EXPECT_EQ(Inspect().stock, 4);
  coupon_.gate_generation = {2};
  Arm({.stock = 5});
  coupon_.gate_generation = {1};
  EXPECT_TRUE(absl::IsFailedPrecondition(backend_.control().Arm(coupon_, {.stock = 5})));
  EXPECT_EQ(Inspect().generation.value, 2);
}

TEST_F(RedisGate, ArmsAgainAtAGenerationThatWasLeftHalfArmed) {
  coupon::GateContents wrong{.stock = 3, .participants = {{1}, {1}}};
  EXPECT_TRUE(absl::IsFailedPrecondition(backend_.control().Arm(coupon_, wrong)));
  EXPECT_FALSE(Inspect().open);
  EXPECT_TRUE(absl::IsFailedPrecondition(Admit({ClaimOf(3)}).status()));
  Arm({.stock = 3, .participants = {{1}, {2}}});
  EXPECT_TRUE(Inspect().open);
}

TEST_F(RedisGate, IsReadyWhenRowsExceedTheTotal) {
  coupon_.total_quantity = 1;
  Arm({.stock = 0, .participants = {{1}, {2}}});
  const auto admissions = Admit({ClaimOf(1), ClaimOf(3)});
  ASSERT_TRUE(admissions.ok()) << admissions.status();
  EXPECT_EQ((*admissions)[0].verdict, Verdict::kDuplicate);
  EXPECT_EQ((*admissions)[1].verdict, Verdict::kSoldOut);
}

TEST_F(RedisGate, IsReadyWhenUnitsWereTakenAway) {
  Arm({.stock = 1, .participants = {{1}}});
  EXPECT_TRUE(Inspect().open);
  const auto admissions = Admit({ClaimOf(2), ClaimOf(3)});
  ASSERT_TRUE(admissions.ok()) << admissions.status();
  EXPECT_EQ((*admissions)[0].verdict, Verdict::kAdmitted);
  EXPECT_EQ((*admissions)[1].verdict, Verdict::kSoldOut);
}

TEST_F(RedisGate, KeepsCouponsApart) {
  Coupon other = coupon_;
  other.id = {2};
  Arm({.stock = 5});
  ASSERT_TRUE(backend_.control().Arm(other, {.stock = 5}).ok());
  const Claim mine = ClaimOf(1);
  const Claim others{.holder = {.coupon = other.id, .user = {1}}, .request = RequestId::Random()};
  ASSERT_TRUE(Admit({mine}).ok());
  ASSERT_TRUE(backend_.gate().Admit(other, {&others, 1}).ok());
  const std::vector<coupon::UserId> users = {{1}, {2}, {1}};
  EXPECT_EQ(*backend_.gate().FindReservations(other, users),
            (std::vector<std::optional<RequestId>>{others.request, std::nullopt, others.request}));
  EXPECT_EQ((*backend_.gate().FindReservations(coupon_, users))[0], mine.request);
  ASSERT_TRUE(backend_.gate().Recorded(std::vector{others, mine}).ok());
  EXPECT_EQ(Inspect().reservations, 0);
  EXPECT_EQ((*backend_.control().Inspect(other))->reservations, 0);
}

TEST_F(RedisGate, AdmitsExactlyTheStockUnderManyCallers) {
  Arm({.stock = 5});
  std::vector<std::thread> callers;
  std::vector<int> admitted(4);
  for (size_t caller = 0; caller < admitted.size(); ++caller) {
    callers.emplace_back([this, caller, &admitted] {
      for (int64_t user = 1; user <= 50; ++user) {
        const auto admissions = Admit({ClaimOf(user)});
        if (admissions.ok() && (*admissions)[0].verdict == Verdict::kAdmitted) ++admitted[caller];
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(admitted[0] + admitted[1] + admitted[2] + admitted[3], 5);
  EXPECT_EQ(Inspect().stock, 0);
  EXPECT_TRUE(Inspect().open);
}

TEST_F(RedisGate, ShowsItsParticipantsInOrderAndWhatIsNone) {
  std::vector<coupon::UserId> users;
  for (int64_t user = 3000; user > 0; --user) users.push_back({user});  // more than one scan reads
  Arm({.stock = 5, .participants = users});
  backend_.server().Do({"SADD", kParticipants, "nobody", "1e3"});
  const auto found = backend_.redis().ReadParticipants(coupon_.id, 3002);
  ASSERT_TRUE(found.ok()) << found.status();
  std::sort(users.begin(), users.end());
  EXPECT_EQ(found->users, users);
  EXPECT_EQ(found->foreign, (std::vector<std::string>{"1e3", "nobody"}));
  const auto too_many = backend_.redis().ReadParticipants(coupon_.id, 3001);
  EXPECT_TRUE(absl::IsResourceExhausted(too_many.status())) << too_many.status();

  EXPECT_TRUE(backend_.redis().ReadParticipants({99}, 1)->users.empty());
  backend_.server().Do({"SET", kParticipants, "a string"});
  const auto no_set = backend_.redis().ReadParticipants(coupon_.id, 3002);
  EXPECT_TRUE(absl::IsFailedPrecondition(no_set.status())) << no_set.status();
}

TEST_F(RedisGate, ShowsWhatItHoldsOfOneUserThoughItIsClosed) {
  ArmAndUse();
  ++coupon_.gate_generation.value;
  ASSERT_TRUE(backend_.control().Close(coupon_).ok());
  const auto recorded = backend_.redis().ReadHolder({coupon_.id, {1}});
  ASSERT_TRUE(recorded.ok()) << recorded.status();
  EXPECT_TRUE(recorded->is_participant);
  EXPECT_FALSE(recorded->reservation);
  const auto queued = backend_.redis().ReadHolder({coupon_.id, {2}});
  ASSERT_TRUE(queued.ok()) << queued.status();
  ASSERT_TRUE(queued->reservation);
  EXPECT_EQ(queued->reservation->claim.holder.user.value, 2);
  EXPECT_LT(backend_.Now() - queued->reservation->claimed_at, absl::Minutes(1));
  EXPECT_FALSE(backend_.redis().ReadHolder({coupon_.id, {3}})->is_participant);
  backend_.server().Do({"HSET", kReservations, "3", "nonsense"});
  const auto spoilt = backend_.redis().ReadHolder({coupon_.id, {3}});
  EXPECT_TRUE(absl::IsFailedPrecondition(spoilt.status())) << spoilt.status();
}

}  // namespace
}  // namespace ecom::tests
