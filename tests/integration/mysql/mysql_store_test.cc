// What the MySQL adapter does beyond its ports' contracts: when the database is gone, busy, or not
// ours.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "adapters/mysql/schema.h"
#include "adapters/mysql/settled_letters.h"
#include "app/sample_data.h"
#include "base/status_macros.h"
#include "support/mysql_backend.h"

namespace ecom::tests {
namespace {

using adapters::mysql::Connection;
using adapters::mysql::ConnectionPool;
using adapters::mysql::Migrate;
using adapters::mysql::MysqlProductStore;
using adapters::mysql::Transaction;
using coupon::AdmittedClaim;
using coupon::LogRecord;
using coupon::RecordOutcome;
using coupon::RequestId;
using Outcomes = std::vector<RecordOutcome>;

class MysqlStore : public testing::Test {
 protected:
  MysqlStore() { backend_.PutCoupon(coupon_); }

  LogRecord RecordOf(int64_t user, const coupon::Coupon& coupon) const {
    return {.record = AdmittedClaim{.holder = {.coupon = coupon.id, .user = {user}},
                                    .request = RequestId::Random(),
                                    .incarnation = coupon.incarnation,
                                    .generation = {1}}};
  }
  LogRecord RecordOf(int64_t user) const { return RecordOf(user, coupon_); }

  absl::StatusOr<Outcomes> Record(const std::vector<LogRecord>& batch) {
    ASSIGN_OR_RETURN(const auto results, backend_.store().Record(batch, {}));
    Outcomes outcomes;
    for (const coupon::RecordResult& result : results) outcomes.push_back(result.outcome);
    return outcomes;
  }

  int64_t Available() {
    return database().Count("SELECT available_quantity FROM coupons WHERE id = 1");
  }

  /// A session of somebody else, who keeps no rule of ours.
  std::unique_ptr<Connection> OpenOther() {
    auto other = Connection::Open(database().server().endpoint("ecommerce"), {}, others_);
    Require(other.status());
    return *std::move(other);
  }

  /// Waits until some transaction waits for a row.
  void WaitUntilOneWaits() {
    const absl::Time until = absl::Now() + absl::Seconds(30);
    while (database().Count("SELECT variable_value FROM information_schema.global_status "
                            "WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'") == 0) {
      if (absl::Now() > until) Require(absl::DeadlineExceededError("no transaction waits"));
    }
  }

  MysqlDatabase& database() { return backend_.database(); }

  MysqlCouponStoreBackend backend_;
  coupon::Coupon coupon_ = OpenCoupon(backend_.clock(), 1, 10);
  base::CallStats others_;
};

TEST_F(MysqlStore, AnswersUnavailableWhileTheServerIsDownAndWorksOnceItIsBack) {
  const std::vector<LogRecord> batch = {RecordOf(1), RecordOf(2)};
  ASSERT_TRUE(Record(batch).ok());
  database().server().Kill();
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(absl::IsUnavailable(Record(batch).status())) << i;
    EXPECT_TRUE(absl::IsUnavailable(backend_.store().FindCoupons({&coupon_.id, 1}).status())) << i;
  }
  database().server().Start();
  EXPECT_EQ(*Record(batch),
            (Outcomes{RecordOutcome::kIssuedEarlier, RecordOutcome::kIssuedEarlier}))
      << "what was committed is there after a crash";
  EXPECT_EQ(Available(), 8);
}

TEST_F(MysqlStore, LosesAtMostOneCallToARestartBetweenCalls) {
  {  // so that several connections are kept
    auto first = database().pool().Acquire();
    auto second = database().pool().Acquire();
    ASSERT_TRUE(first.ok() && second.ok());
  }
  database().server().Kill();
  database().server().Start();
  const auto lost = Record({RecordOf(1)});
  EXPECT_TRUE(lost.ok() || absl::IsUnavailable(lost.status())) << lost.status();
  EXPECT_TRUE(Record({RecordOf(2)}).ok());
  EXPECT_TRUE(Record({RecordOf(3)}).ok());
}

TEST_F(MysqlStore, AnswersUnavailableWhenACouponIsLockedForTooLongAndChangesNothing) {
  const std::vector<LogRecord> batch = {RecordOf(1)};
  const auto other = OpenOther();
  {
    auto transaction = Transaction::Begin(*other);
    ASSERT_TRUE(other->Execute("UPDATE coupons SET name = 'held' WHERE id = 1").ok());
    const absl::Status waited = Record(batch).status();
    EXPECT_TRUE(absl::IsUnavailable(waited)) << waited;
    EXPECT_TRUE(absl::StrContains(waited.message(), "1205")) << waited;
  }
  EXPECT_EQ(backend_.CountIssues(coupon_.id), 0);
  EXPECT_EQ(*Record(batch), Outcomes{RecordOutcome::kIssued});
  EXPECT_EQ(Available(), 9);
}

TEST_F(MysqlStore, WaitsForAProcessThatStandsStillInATransactionOnlyUntilItsSessionEnds) {
  const std::vector<LogRecord> batch = {RecordOf(1)};
  base::CallStats calls;
  auto standing = Connection::Open(database().server().endpoint("ecommerce"),
                                   {.idle = absl::Seconds(1)}, calls);
  ASSERT_TRUE(standing.ok()) << standing.status();
  auto transaction = Transaction::Begin(**standing);
  ASSERT_TRUE(transaction.ok());
  ASSERT_TRUE((*standing)->Execute("UPDATE coupons SET name = 'held' WHERE id = 1").ok());
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  auto recorded = Record(batch);
  while (!recorded.ok() && absl::Now() < give_up) recorded = Record(batch);
  ASSERT_TRUE(recorded.ok()) << recorded.status();
  EXPECT_EQ(*recorded, Outcomes{RecordOutcome::kIssued});
  EXPECT_TRUE(absl::IsUnavailable(transaction->Commit())) << "it finds out when it wakes up";
  EXPECT_EQ(database().Count("SELECT COUNT(*) FROM coupons WHERE name = 'held'"), 0);
}

TEST_F(MysqlStore, AnswersUnavailableToADeadlockAndRecordsTheSameBatchAfterIt) {
  const std::vector<LogRecord> batch = {RecordOf(1), RecordOf(2)};
  const auto other = OpenOther();
  absl::Status recorded;
  {
    // Issues first and the coupon after them: the wrong way round. The rows before it make it the
    // heavier transaction, so that the other one is the victim.
    auto transaction = Transaction::Begin(*other);
    std::string rows = "(1, 2, 'by hand', NOW(6))";
    for (int user = 100; user < 200; ++user) absl::StrAppend(&rows, ",(7, ", user, ", '', NOW(6))");
    ASSERT_TRUE(other->Execute("INSERT INTO coupon_issues VALUES " + rows).ok());
    std::thread recorder([&] { recorded = Record(batch).status(); });
    WaitUntilOneWaits();
    EXPECT_TRUE(other->Execute("UPDATE coupons SET name = 'mine' WHERE id = 1").ok());
    recorder.join();
  }
  EXPECT_TRUE(absl::IsUnavailable(recorded)) << recorded;
  EXPECT_TRUE(absl::StrContains(recorded.message(), "1213")) << recorded;
  EXPECT_EQ(*Record(batch), (Outcomes{RecordOutcome::kIssued, RecordOutcome::kIssued}));
  EXPECT_EQ(Available(), 8);
}

TEST_F(MysqlStore, TakesARowThatCameInBetweenForADuplicateTheNextTime) {
  const std::vector<LogRecord> batch = {RecordOf(1), RecordOf(2)};
  const auto other = OpenOther();
  absl::Status recorded;
  {
    auto transaction = Transaction::Begin(*other);
    ASSERT_TRUE(other
                    ->Execute("INSERT INTO coupon_issues VALUES (1, 2, "
                              "'00000000-0000-4000-8000-000000000000', NOW(6))")
                    .ok());
    std::thread recorder([&] { recorded = Record(batch).status(); });
    WaitUntilOneWaits();
    EXPECT_TRUE(transaction->Commit().ok());
    recorder.join();
  }
  EXPECT_TRUE(absl::IsUnavailable(recorded)) << recorded;
  EXPECT_TRUE(absl::StrContains(recorded.message(), "1062")) << recorded;
  EXPECT_EQ(backend_.CountIssues(coupon_.id), 1) << "nothing of the batch";
  EXPECT_EQ(*Record(batch), (Outcomes{RecordOutcome::kIssued, RecordOutcome::kDuplicate}));
  EXPECT_EQ(Available(), 9);
}

TEST_F(MysqlStore, SaysUnavailableWhenTheAnswerToACommitIsLost) {
  auto connection = OpenOther();
  auto transaction = Transaction::Begin(*connection);
  ASSERT_TRUE(connection->Execute("UPDATE coupons SET name = 'new' WHERE id = 1").ok());
  auto id = connection->Prepare("SELECT CONNECTION_ID()");
  ASSERT_TRUE(*id->Step());
  ASSERT_TRUE(database().Query(absl::StrCat("KILL ", id->Int(0))).ok());
  EXPECT_TRUE(absl::IsUnavailable(transaction->Commit()));
  EXPECT_FALSE(connection->usable());
}

TEST_F(MysqlStore, NeverIssuesBeyondTheStockWithRecordersSideBySide) {
  const coupon::Coupon second = OpenCoupon(backend_.clock(), 2, 300);
  coupon::Coupon first = OpenCoupon(backend_.clock(), 1, 700);
  backend_.PutCoupon(first);
  backend_.PutCoupon(second);
  std::vector<std::thread> recorders;
  for (int recorder = 0; recorder < 3; ++recorder) {
    recorders.emplace_back([&, recorder] {
      for (int batch_number = 0; batch_number < 6; ++batch_number) {
        std::vector<LogRecord> batch;
        for (int64_t i = 0; i < 100; ++i) {  // half of the users are another recorder's, too
          const int64_t user = 1 + recorder * 300 + batch_number * 100 + i;
          batch.push_back(RecordOf(user, i % 2 == recorder % 2 ? first : second));
          batch.push_back(RecordOf(user, i % 2 == recorder % 2 ? second : first));
        }
        absl::StatusOr<Outcomes> outcomes = Record(batch);
        for (int again = 0; !outcomes.ok() && again < 20; ++again) {
          ASSERT_TRUE(absl::IsUnavailable(outcomes.status())) << outcomes.status();
          outcomes = Record(batch);
        }
        ASSERT_TRUE(outcomes.ok()) << outcomes.status();
      }
    });
  }
  for (std::thread& recorder : recorders) recorder.join();
  EXPECT_EQ(backend_.CountIssues(first.id), 700);
  EXPECT_EQ(backend_.CountIssues(second.id), 300);
  EXPECT_EQ(database().Count("SELECT SUM(available_quantity) FROM coupons"), 0);
  EXPECT_EQ(database().Count("SELECT COUNT(*) FROM coupon_issues i JOIN coupon_rejections r "
                             "USING (coupon_id, user_id) WHERE i.request_id = r.request_id"),
            0);
}

TEST_F(MysqlStore, FindsTheRowsOfABatchByTheirKey) {
  for (int batch_number = 0; batch_number < 4; ++batch_number) {
    coupon_.available_quantity = 1000;
    backend_.PutCoupon(coupon_);
    std::vector<LogRecord> batch;
    for (int64_t i = 0; i < 500; ++i) batch.push_back(RecordOf(1 + batch_number * 500 + i));
    ASSERT_TRUE(Record(batch).ok());
  }
  ASSERT_TRUE(database().Query("ANALYZE TABLE coupon_issues").ok());
  auto connection = database().pool().Acquire();
  auto explain = (*connection)
                     ->Prepare(
                         "EXPLAIN SELECT coupon_id, user_id FROM coupon_issues WHERE (coupon_id = "
                         "? AND user_id = ?) "
                         "OR (coupon_id = ? AND user_id = ?)");
  ASSERT_TRUE(explain.ok()) << explain.status();
  explain->Bind(int64_t{1}, int64_t{7}, int64_t{1}, int64_t{900});
  auto found = explain->Step();
  ASSERT_TRUE(found.ok() && *found);
  EXPECT_EQ(explain->Text(3), "range");
  EXPECT_EQ(explain->Text(8), "2") << "rows that are read";
}

TEST(MysqlProducts, AreListedFromAnIndexWithoutSortingMoreThanAPage) {
  MysqlProductBackend backend;
  std::vector<product::Product> products = MakeProducts(2'000);
  for (product::Product& product : products) {
    product.is_active = product.id.value % 3 != 0;
    product.view_count = product.id.value % 700;
    product.created_at += absl::Seconds(product.id.value % 900);
  }
  backend.PutProducts(products);
  ASSERT_TRUE(backend.database().Query("ANALYZE TABLE products").ok());
  auto connection = backend.database().pool().Acquire();
  using product::Sort;
  for (const Sort sort : {Sort::kPrice, Sort::kViews, Sort::kNewest}) {
    for (const int filters : {0, 1, 2, 3}) {
      product::ListQuery query{.sort = sort};
      if (filters & 1) query.category = product::CategoryId{1};
      if (filters & 2) query.is_active = true;
      const std::string sql = "EXPLAIN " + MysqlProductStore::ListStatement(query);
      auto explain = (*connection)->Prepare(sql);
      ASSERT_TRUE(explain.ok()) << explain.status();
      if (query.category) explain->Bind(query.category->value);
      if (query.is_active) explain->Bind(*query.is_active);
      auto found = explain->Bind(query.limit).Step();
      ASSERT_TRUE(found.ok() && *found);
      EXPECT_TRUE(absl::StartsWith(std::string(explain->Text(5)), "products_by_")) << sql;
      EXPECT_FALSE(absl::StrContains(std::string(explain->Text(9)), "filesort")) << sql;
    }
  }
}

TEST(MysqlSession, IsReadCommittedStrictInUtcAndCountsChangedRows) {
  MysqlDatabase database;
  EXPECT_EQ(database.Texts("SELECT @@session.time_zone"), std::vector<std::string>{"+00:00"});
  EXPECT_EQ(database.Texts("SELECT @@session.tx_isolation"),
            std::vector<std::string>{"READ-COMMITTED"});
  EXPECT_EQ(database.Texts("SELECT @@session.character_set_client"),
            std::vector<std::string>{"utf8mb4"});
  EXPECT_EQ(database.Count("SELECT FIND_IN_SET('STRICT_ALL_TABLES', @@session.sql_mode) > 0"), 1);
  ASSERT_TRUE(LoadSampleData(database.pool(), {}, MakeProducts(1)).ok());
  auto connection = database.pool().Acquire();
  auto update = (*connection)->Prepare("UPDATE products SET stock_quantity = ? WHERE id = 1");
  EXPECT_EQ(*update->Bind(5).Run(), 1);
  update->Reset();
  EXPECT_EQ(*update->Bind(5).Run(), 0) << "met, and not changed";
}

TEST(MysqlSession, RefusesATextThatItWouldHaveToCut) {
  MysqlDatabase database;
  auto connection = database.pool().Acquire();
  auto fits = (*connection)->Prepare("SELECT REPEAT('x', 4096)");
  EXPECT_EQ(*fits->Step(), true);
  EXPECT_EQ(fits->Text(0), std::string(4096, 'x'));
  auto longer = (*connection)->Prepare("SELECT REPEAT('x', 4097)");
  EXPECT_EQ(longer->Step().status().code(), absl::StatusCode::kInternal);
}

TEST(MysqlPool, LetsNobodyWaitForLongWhenAllConnectionsAreBusy) {
  MysqlDatabase database;
  ConnectionPool pool({.endpoint = database.server().endpoint("ecommerce"),
                       .connections_max = 1,
                       .acquire_timeout = absl::Milliseconds(50)});
  {
    auto only = pool.Acquire();
    ASSERT_TRUE(only.ok()) << only.status();
    EXPECT_TRUE(absl::IsUnavailable(pool.Acquire().status()));
  }
  EXPECT_TRUE(pool.Acquire().ok());
}

TEST(MysqlPool, CountsStatementsAndCallersWhoGotNoConnection) {
  MysqlDatabase database;
  ConnectionPool pool({.endpoint = database.server().endpoint("ecommerce"),
                       .connections_max = 1,
                       .acquire_timeout = absl::Milliseconds(50)});
  EXPECT_EQ(pool.use().in_use, 0);
  {
    auto only = pool.Acquire();
    ASSERT_TRUE(only.ok()) << only.status();
    EXPECT_EQ(pool.use().in_use, 1);
    EXPECT_EQ(pool.use().size, 1);
    const int64_t before = pool.calls().by_code[0];  // to set the session up
    ASSERT_TRUE((*only)->Execute("DO 1").ok());
    auto prepared = (*only)->Prepare("SELECT 1");
    ASSERT_TRUE(*prepared->Step());
    EXPECT_FALSE(*prepared->Step());
    EXPECT_EQ(pool.calls().by_code[0] - before, 2);
    EXPECT_TRUE(absl::IsFailedPrecondition((*only)->Execute("SELECT nothing FROM nowhere")));
    EXPECT_TRUE(absl::IsUnavailable(pool.Acquire().status()));
  }
  EXPECT_EQ(pool.use().in_use, 0);
  EXPECT_EQ(pool.use().waiting, 0);
  const auto calls = pool.calls();
  EXPECT_EQ(calls.by_code[static_cast<size_t>(absl::StatusCode::kFailedPrecondition)], 1);
  EXPECT_EQ(calls.by_code[static_cast<size_t>(absl::StatusCode::kUnavailable)], 1);
  EXPECT_GE(calls.total, absl::Milliseconds(50)) << "what the caller waited for a connection";
}

TEST(MysqlPool, SaysWhyItWillNeverConnect) {
  MysqlServer& server = MysqlServer::Get();
  ConnectionPool unknown({.endpoint = server.endpoint("no_such_database")});
  EXPECT_TRUE(absl::IsFailedPrecondition(unknown.Acquire().status()));
  adapters::mysql::Endpoint denied = server.endpoint("mysql");
  denied.user = "nobody_we_know";
  denied.password = "wrong";
  ConnectionPool refused({.endpoint = denied});
  EXPECT_TRUE(absl::IsPermissionDenied(refused.Acquire().status()));
}

TEST(MysqlSchema, IsMadeOnceByServersThatStartTogetherAndChangesNoMore) {
  MysqlDatabase database;
  database.server().MakeEmptyDatabase();
  ConnectionPool pool({.endpoint = database.server().endpoint("ecommerce")});
  std::vector<std::thread> servers;
  for (int i = 0; i < 4; ++i)
    servers.emplace_back([&] { EXPECT_EQ(Migrate(pool), absl::OkStatus()); });
  for (std::thread& server : servers) server.join();

  const std::string all =
      "SELECT CONCAT_WS(' ', table_name, column_name, column_type, column_key, "
      "CAST(column_default AS CHAR)) FROM information_schema.columns "
      "WHERE table_schema = 'ecommerce' ORDER BY table_name, ordinal_position";
  const std::string versions = "SELECT CONCAT(version, ' ', applied_at) FROM schema_version";
  const std::vector<std::string> tables_before = database.Texts(all);
  const std::vector<std::string> versions_before = database.Texts(versions);
  EXPECT_GT(tables_before.size(), 20u);
  EXPECT_EQ(versions_before.size(), static_cast<size_t>(adapters::mysql::kSchemaVersion));
  EXPECT_EQ(Migrate(pool), absl::OkStatus());
  EXPECT_EQ(database.Query(adapters::mysql::kSchemaSql), absl::OkStatus()) << "by hand";
  EXPECT_EQ(database.Query(adapters::mysql::kSchema2Sql), absl::OkStatus()) << "by hand";
  EXPECT_EQ(database.Texts(all), tables_before);
  EXPECT_EQ(database.Texts(versions), versions_before);
}

TEST(MysqlSchema, IsCompletedWhenItsFirstApplicationWasCutShort) {
  MysqlDatabase database;
  ASSERT_TRUE(database.Query("DELETE FROM schema_version; DROP TABLE products").ok());
  EXPECT_EQ(Migrate(database.pool()), absl::OkStatus());
  EXPECT_EQ(database.Count("SELECT COUNT(*) FROM products"), 0);
}

TEST(MysqlSchema, IsCompletedWhenItsSecondVersionWasCutShort) {
  MysqlDatabase database;
  ASSERT_TRUE(database.Query("DELETE FROM schema_version WHERE version = 2").ok());
  EXPECT_EQ(Migrate(database.pool()), absl::OkStatus()) << "the column is there already";
  ASSERT_TRUE(database
                  .Query("DELETE FROM schema_version WHERE version = 2; "
                         "ALTER TABLE products DROP COLUMN version")
                  .ok());
  EXPECT_EQ(Migrate(database.pool()), absl::OkStatus());
  EXPECT_EQ(database.Count("SELECT COUNT(version) FROM products"), 0);
}

TEST(MysqlSchema, IsRefusedWhenItIsNewerThanTheProgram) {
  MysqlDatabase database;
  const int newer = adapters::mysql::kSchemaVersion + 1;
  ASSERT_TRUE(
      database.Query(absl::StrCat("INSERT INTO schema_version VALUES (", newer, ", NOW(6))")).ok());
  const absl::Status refused = Migrate(database.pool());
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), absl::StrCat("version ", newer))) << refused;
}

TEST(MysqlSchema, IsRefusedWithTheNameOfATableThatIsMissing) {
  MysqlDatabase database;
  ASSERT_TRUE(database.Query("DROP TABLE coupon_rejections").ok());
  const absl::Status refused = Migrate(database.pool());
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "coupon_rejections")) << refused;
}

/// Every row of the sample data, but for when the open coupons open, and the incarnations.
std::vector<std::string> SampleRows(MysqlDatabase& database) {
  std::vector<std::string> rows = database.Texts(
      "SELECT CONCAT_WS('|', id, name, total_quantity, available_quantity, "
      "IF(id > 2, starts_at, ''), TIMESTAMPDIFF(MICROSECOND, starts_at, ends_at), "
      "gate_generation, gate_home, CHAR_LENGTH(incarnation), MICROSECOND(starts_at)) "
      "FROM coupons ORDER BY id");
  for (std::string& row : database.Texts(
           "SELECT CONCAT_WS('|', id, category_id, name, price, stock_quantity, is_active, "
           "view_count, created_at, updated_at) FROM products ORDER BY id")) {
    rows.push_back(std::move(row));
  }
  return rows;
}

TEST(MysqlSampleData, IsTheSameFromTheLoaderAndFromTheFileBesideTheLoadScenarios) {
  MysqlDatabase database;
  const app::SampleData sample = app::MakeSampleData(absl::Now(), 1000);
  ASSERT_EQ(LoadSampleData(database.pool(), sample.coupons, sample.products), absl::OkStatus());
  const std::vector<std::string> loaded = SampleRows(database);
  ASSERT_EQ(loaded.size(), 104u);
  EXPECT_EQ(loaded[4],
            "1|1|부하테스트상품_1|10100.00|1000|1|0|2025-12-25 09:02:23.000000|2025-12-25 "
            "09:02:23.000000");

  std::ifstream file(ECOM_SOURCE_DIR "/bench/k6/setup-test-data.sql");
  const std::string script(std::istreambuf_iterator<char>(file), {});
  MysqlDatabase by_hand;  // made anew
  for (int times = 0; times < 2; ++times) {
    ASSERT_EQ(by_hand.Query(script), absl::OkStatus());
    EXPECT_EQ(SampleRows(by_hand), loaded);
  }
  const std::string incarnations = "SELECT incarnation FROM coupons ORDER BY id";
  const std::vector<std::string> before = by_hand.Texts(incarnations);
  ASSERT_EQ(LoadSampleData(by_hand.pool(), sample.coupons, sample.products), absl::OkStatus());
  EXPECT_EQ(SampleRows(by_hand), loaded);
  EXPECT_EQ(by_hand.Texts(incarnations), before);
}

TEST(MysqlSampleData, ChangesNothingWhenOneValueBreaksARule) {
  MysqlDatabase database;
  for (const int64_t price : {int64_t{-1}, int64_t{1'000'000'000'000}}) {
    std::vector<product::Product> products = MakeProducts(3);
    products[2].price_minor = price;
    const absl::Status refused = LoadSampleData(database.pool(), {}, products);
    EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
    EXPECT_EQ(database.Count("SELECT COUNT(*) FROM products"), 0);
  }
}

TEST(MysqlSettledLetters, KeepsWhoWasFirst) {
  MysqlDatabase database;
  FakeClock clock;
  adapters::mysql::MysqlSettledLetters settled(database.pool(), clock);
  const absl::Time first = absl::FromUnixMicros(absl::ToUnixMicros(clock.Now()));
  ASSERT_EQ(settled.Settle(0, 7, "replayed"), absl::OkStatus());
  clock.Advance(absl::Hours(1));
  ASSERT_EQ(settled.Settle(0, 7, "discarded"), absl::OkStatus());
  ASSERT_EQ(settled.Settle(0, 9, "discarded"), absl::OkStatus());
  ASSERT_EQ(settled.Settle(1, 8, "discarded"), absl::OkStatus());
  const auto letters = settled.Between(0, 7, 10);
  ASSERT_TRUE(letters.ok()) << letters.status();
  ASSERT_EQ(letters->size(), 2u);
  EXPECT_EQ((*letters)[0].position, 7);
  EXPECT_EQ((*letters)[0].settled_as, "replayed");
  EXPECT_EQ((*letters)[0].settled_at, first);
  EXPECT_EQ((*letters)[1].position, 9);
  EXPECT_TRUE(settled.Between(0, 8, 9)->empty());
}

}  // namespace
}  // namespace ecom::tests
