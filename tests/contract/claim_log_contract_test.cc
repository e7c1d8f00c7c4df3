// What every ClaimLog, with its ClaimSource and its LogProgress, must do, whatever is behind it.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "coupon/claim_log.h"
#include "support/kafka_backend.h"

namespace ecom::tests {
namespace {

using coupon::AdmittedClaim;
using coupon::Barrier;
using coupon::LagOf;
using coupon::LogPartition;
using coupon::LogPosition;
using coupon::LogPositions;
using coupon::LogRecord;
using coupon::Reached;
using coupon::RequestId;

constexpr absl::Duration kPatience = absl::Seconds(10);

class ClaimLog : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { backend_ = MakeClaimLogBackend(GetParam()); }

  AdmittedClaim ClaimOf(int64_t user) {
    return {.holder = {.coupon = {1}, .user = {user}},
            .request = RequestId::Random(),
            .incarnation = "first",
            .generation = {3},
            .claimed_at = absl::FromUnixMicros(1234567)};
  }

  /// Polls until `count` records came.
  std::vector<LogRecord> Take(size_t count) {
    std::vector<LogRecord> taken;
    while (taken.size() < count) {
      auto records = backend_->source().Poll(static_cast<int>(count - taken.size()), kPatience);
      if (!records.ok() || records->empty()) {
        ADD_FAILURE() << "only " << taken.size() << " of " << count
                      << " records: " << records.status();
        break;
      }
      taken.insert(taken.end(), records->begin(), records->end());
    }
    return taken;
  }

  /// The requests of the claims among `records`, in order.
  static std::vector<RequestId> RequestsOf(const std::vector<LogRecord>& records) {
    std::vector<RequestId> requests;
    for (const LogRecord& record : records) {
      const auto* claim = std::get_if<AdmittedClaim>(&record.record);
      if (claim != nullptr) requests.push_back(claim->request);
    }
    return requests;
  }

  LogPositions Ends() { return Made(backend_->progress().Ends()); }
  LogPositions Committed() { return Made(backend_->progress().Committed()); }

  std::unique_ptr<ClaimLogBackend> backend_;
};

TEST_P(ClaimLog, DeliversAClaimWhole) {
  AdmittedClaim claim = ClaimOf(9223372036854775807);
  claim.trace_parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  ASSERT_TRUE(backend_->log().Append({&claim, 1}).ok());
  const std::vector<LogRecord> records = Take(1);
  ASSERT_EQ(records.size(), 1u);
  const auto& delivered = std::get<AdmittedClaim>(records[0].record);
  EXPECT_EQ(delivered.holder, claim.holder);
  EXPECT_EQ(delivered.request, claim.request);
  EXPECT_EQ(delivered.incarnation, claim.incarnation);
  EXPECT_EQ(delivered.generation, claim.generation);
  EXPECT_EQ(delivered.claimed_at, claim.claimed_at);
  EXPECT_EQ(delivered.trace_parent, claim.trace_parent);
}

TEST_P(ClaimLog, KeepsTheOrderOfAUsersClaimsAndCountsUpwardsInAPartition) {
  std::map<int64_t, std::vector<RequestId>> appended;
  for (int batch = 0; batch < 3; ++batch) {
    std::vector<AdmittedClaim> claims;
    for (int64_t claim = 0; claim < 40; ++claim) {
      claims.push_back(ClaimOf(1 + claim % 20));
      appended[1 + claim % 20].push_back(claims.back().request);
    }
    ASSERT_TRUE(backend_->log().Append(claims).ok());
  }
  std::map<int64_t, std::vector<RequestId>> delivered;
  std::map<LogPartition, LogPosition> last;
  for (const LogRecord& record : Take(120)) {
    const auto& claim = std::get<AdmittedClaim>(record.record);
    delivered[claim.holder.user.value].push_back(claim.request);
    const auto [position, first] = last.try_emplace(record.partition, record.position);
    EXPECT_TRUE(first || record.position > position->second);
    position->second = record.position;
  }
  EXPECT_EQ(delivered, appended);
}

TEST_P(ClaimLog, PutsABarrierBehindEverythingInEveryPartition) {
  std::vector<AdmittedClaim> claims;
  for (int64_t user = 1; user <= 30; ++user) claims.push_back(ClaimOf(user));
  ASSERT_TRUE(backend_->log().Append(claims).ok());
  const absl::StatusOr<int> partitions = backend_->log().AppendBarrier({{1}, {4}, "first"});
  ASSERT_TRUE(partitions.ok()) << partitions.status();
  ASSERT_TRUE(backend_->log().Append(claims).ok());

  std::map<LogPartition, int> claims_before;
  std::set<LogPartition> barriers;
  for (const LogRecord& record : Take(60 + *partitions)) {
    if (const auto* barrier = std::get_if<Barrier>(&record.record)) {
      EXPECT_EQ(barrier->coupon, coupon::CouponId{1});
      EXPECT_EQ(barrier->generation, coupon::Generation{4});
      EXPECT_EQ(barrier->incarnation, "first");
      EXPECT_TRUE(barriers.insert(record.partition).second);
    } else if (!barriers.contains(record.partition)) {
      ++claims_before[record.partition];
    }
  }
  EXPECT_EQ(barriers.size(), static_cast<size_t>(*partitions));
  EXPECT_EQ(Ends().size(), static_cast<size_t>(*partitions));
  int before = 0;
  for (const auto& [partition, count] : claims_before) before += count;
  EXPECT_EQ(before, 30);
}

TEST_P(ClaimLog, AnswersNothingWithinTheTimeoutWhenThereIsNothing) {
  auto records = backend_->source().Poll(10, absl::Milliseconds(5));
  ASSERT_TRUE(records.ok());
  EXPECT_TRUE(records->empty());
}

TEST_P(ClaimLog, WakesAReaderThatWaits) {
  std::vector<LogRecord> records;
  std::thread reader([&] { records = Take(1); });
  const AdmittedClaim claim = ClaimOf(5);
  ASSERT_TRUE(backend_->log().Append({&claim, 1}).ok());
  reader.join();
  EXPECT_EQ(RequestsOf(records), std::vector{claim.request});
}

TEST_P(ClaimLog, DeliversNoMoreAtOnceThanIsAskedFor) {
  std::vector<RequestId> appended;
  std::vector<AdmittedClaim> claims;
  for (int i = 0; i < 5; ++i) appended.push_back(claims.emplace_back(ClaimOf(1)).request);
  ASSERT_TRUE(backend_->log().Append(claims).ok());
  std::vector<RequestId> delivered;
  while (delivered.size() < appended.size()) {
    const auto records = backend_->source().Poll(2, kPatience);
    ASSERT_TRUE(records.ok()) << records.status();
    ASSERT_FALSE(records->empty()) << "the rest does not come";
    EXPECT_LE(records->size(), 2u);
    for (const RequestId& request : RequestsOf(*records)) delivered.push_back(request);
  }
  EXPECT_EQ(delivered, appended);
}

TEST_P(ClaimLog, DeliversAgainAfterRewindWhatWasNotCommitted) {
  const std::vector claims = {ClaimOf(1), ClaimOf(1), ClaimOf(1)};
  ASSERT_TRUE(backend_->log().Append(claims).ok());
  ASSERT_TRUE(backend_->source().Commit(Take(1)).ok());
  EXPECT_EQ(RequestsOf(Take(2)), (std::vector{claims[1].request, claims[2].request}));
  backend_->source().Rewind();
  EXPECT_EQ(RequestsOf(Take(2)), (std::vector{claims[1].request, claims[2].request}));
  backend_->source().Rewind();
  ASSERT_TRUE(backend_->source().Commit(Take(1)).ok());
  backend_->source().Rewind();
  EXPECT_EQ(RequestsOf(Take(1)), std::vector{claims[2].request});
}

TEST_P(ClaimLog, DeliversFromTheStartAfterRewindWhenNothingWasCommitted) {
  std::vector<AdmittedClaim> claims;
  for (int64_t user = 1; user <= 300; ++user) claims.push_back(ClaimOf(user));
  ASSERT_TRUE(backend_->log().Append(claims).ok());
  const auto first = RequestsOf(Take(100));  // and more is fetched ahead
  backend_->source().Rewind();
  const auto all = RequestsOf(Take(300));
  const std::set<RequestId> distinct(all.begin(), all.end());
  EXPECT_EQ(distinct.size(), 300u);
  for (const RequestId& request : first) EXPECT_TRUE(distinct.contains(request));
}

TEST_P(ClaimLog, GoesOnWhereItIsAfterRewindWhenAllWasCommitted) {
  const std::vector claims = {ClaimOf(1), ClaimOf(1)};
  ASSERT_TRUE(backend_->log().Append({&claims[0], 1}).ok());
  ASSERT_TRUE(backend_->source().Commit(Take(1)).ok());
  backend_->source().Rewind();
  ASSERT_TRUE(backend_->log().Append({&claims[1], 1}).ok());
  EXPECT_EQ(RequestsOf(Take(1)), std::vector{claims[1].request});
}

TEST_P(ClaimLog, SaysHowFarItHasBeenRead) {
  EXPECT_EQ(LagOf(Ends(), Committed()), 0);
  ASSERT_TRUE(backend_->log().Append(std::vector{ClaimOf(1), ClaimOf(2), ClaimOf(3)}).ok());
  const LogPositions ends = Ends();
  EXPECT_EQ(LagOf(ends, Committed()), 3);
  EXPECT_FALSE(Reached(Committed(), ends));
  const std::vector<LogRecord> records = Take(3);
  EXPECT_EQ(LagOf(ends, Committed()), 3);
  ASSERT_TRUE(backend_->source().Commit(records).ok());
  EXPECT_TRUE(Eventually([&] { return Reached(Committed(), ends); }));
  EXPECT_EQ(LagOf(Ends(), Committed()), 0);
  ASSERT_TRUE(backend_->log().Append(std::vector{ClaimOf(4)}).ok());
  EXPECT_TRUE(Reached(Committed(), ends));
  EXPECT_EQ(LagOf(Ends(), Committed()), 1);
}

TEST_P(ClaimLog, AppendsNothingOnRequest) {
  const LogPositions ends = Ends();
  EXPECT_TRUE(backend_->log().Append({}).ok());
  EXPECT_TRUE(backend_->source().Commit({}).ok());
  EXPECT_EQ(Ends(), ends);
}

TEST_P(ClaimLog, TakesManyWritersAtOnce) {
  std::vector<std::thread> writers;
  std::vector<int> failed(8);
  for (size_t writer = 0; writer < failed.size(); ++writer) {
    writers.emplace_back([this, writer, &failed] {
      for (int64_t i = 0; i < 20; ++i) {
        const auto user = static_cast<int64_t>(writer) * 100 + i + 1;
        if (!backend_->log().Append(std::vector{ClaimOf(user)}).ok()) ++failed[writer];
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(failed, std::vector<int>(8));
  const auto requests = RequestsOf(Take(160));
  EXPECT_EQ(std::set<RequestId>(requests.begin(), requests.end()).size(), 160u);
}

TEST_P(ClaimLog, KeepsDeadRecordsWithTheirReasonAndWhereTheyStood) {
  ASSERT_TRUE(backend_->log().Append(std::vector{ClaimOf(1)}).ok());
  const std::vector<LogRecord> records = Take(1);
  ASSERT_EQ(records.size(), 1u);
  const coupon::LogRecord garbage = {
      .partition = 0,
      .position = 7,
      .record = coupon::Malformed{.reason = "garbage", .key = "k", .payload = {"\0\xff", 2}}};
  const std::vector<coupon::DeadRecord> dead = {{.record = records[0], .reason = "no such coupon"},
                                                {.record = garbage, .reason = "garbage"}};
  const absl::Status added = backend_->dead_letters().Add(dead);
  ASSERT_TRUE(added.ok()) << added;
  EXPECT_TRUE(backend_->dead_letters().Add({}).ok());
  const std::vector<KeptLetter> kept = backend_->ReadLetters();
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0].position, records[0].position);
  EXPECT_EQ(kept[0].reason, "no such coupon");
  EXPECT_EQ(kept[0].key, "1");
  EXPECT_FALSE(kept[0].payload.empty());
  EXPECT_EQ(kept[1].position, 7);
  EXPECT_EQ(kept[1].reason, "garbage");
  EXPECT_EQ(kept[1].key, "k");
  EXPECT_EQ(kept[1].payload, std::string("\0\xff", 2));
}

TEST_P(ClaimLog, IsReadyWhenItCanBeReached) { EXPECT_TRUE(backend_->log().Ready().ok()); }

INSTANTIATE_TEST_SUITE_P(Backends, ClaimLog, testing::ValuesIn(kClaimLogBackends),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace ecom::tests
