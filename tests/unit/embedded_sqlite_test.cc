#include <gtest/gtest.h>
#include <sqlite3.h>

#include <string>

#include "adapters/embedded/sqlite.h"

namespace ecom::tests {
namespace {

using adapters::embedded::Connection;
using adapters::embedded::SqliteStatus;

struct Row {
  int result_code;
  absl::StatusCode status;
};

class SqliteErrorTable : public testing::TestWithParam<Row> {};

TEST_P(SqliteErrorTable, MapsTheResultCode) {
  const absl::Status status = SqliteStatus(GetParam().result_code, "the action");
  EXPECT_EQ(status.code(), GetParam().status) << status;
  if (!status.ok()) {
    EXPECT_EQ(std::string(status.message()).find("the action: "), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, SqliteErrorTable,
    testing::Values(Row{SQLITE_OK, absl::StatusCode::kOk}, Row{SQLITE_ROW, absl::StatusCode::kOk},
                    Row{SQLITE_DONE, absl::StatusCode::kOk},
                    Row{SQLITE_BUSY, absl::StatusCode::kUnavailable},
                    Row{SQLITE_BUSY_SNAPSHOT, absl::StatusCode::kUnavailable},
                    Row{SQLITE_LOCKED, absl::StatusCode::kUnavailable},
                    Row{SQLITE_FULL, absl::StatusCode::kUnavailable},
                    Row{SQLITE_INTERRUPT, absl::StatusCode::kUnavailable},
                    Row{SQLITE_IOERR, absl::StatusCode::kDataLoss},
                    Row{SQLITE_IOERR_FSYNC, absl::StatusCode::kDataLoss},
                    Row{SQLITE_CORRUPT, absl::StatusCode::kDataLoss},
                    Row{SQLITE_NOTADB, absl::StatusCode::kDataLoss},
                    Row{SQLITE_CANTOPEN, absl::StatusCode::kDataLoss},
                    Row{SQLITE_READONLY, absl::StatusCode::kDataLoss},
                    Row{SQLITE_PERM, absl::StatusCode::kDataLoss},
                    Row{SQLITE_AUTH, absl::StatusCode::kDataLoss},
                    Row{SQLITE_CONSTRAINT_PRIMARYKEY, absl::StatusCode::kAlreadyExists},
                    Row{SQLITE_ERROR, absl::StatusCode::kInternal},
                    Row{SQLITE_MISUSE, absl::StatusCode::kInternal},
                    Row{SQLITE_TOOBIG, absl::StatusCode::kInternal}));

TEST(SqliteConnection, BindsAndReadsEachType) {
  auto connection = *Connection::Open(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  ASSERT_TRUE(connection->Execute("CREATE TABLE t (i, b, s, w, n)").ok());
  {
    auto insert = connection->Prepare("INSERT INTO t VALUES (?, ?, ?, ?, NULL)");
    ASSERT_TRUE(insert
                    ->Bind(int64_t{9223372036854775807}, true, std::string("a\0b", 3),
                           absl::FromUnixMicros(42))
                    .Run()
                    .ok());
  }
  auto select = connection->Prepare("SELECT i, b, s, w, n FROM t");
  ASSERT_TRUE(*select->Step());
  EXPECT_EQ(select->Int(0), 9223372036854775807);
  EXPECT_EQ(select->Int(1), 1);
  EXPECT_EQ(select->Text(2), std::string_view("a\0b", 3));
  EXPECT_EQ(select->Time(3), absl::FromUnixMicros(42));
  EXPECT_TRUE(select->IsNull(4));
  EXPECT_FALSE(*select->Step());
}

TEST(SqliteConnection, SaysWhatIsWrongWithAStatement) {
  auto connection = *Connection::Open(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  const absl::Status status = connection->Prepare("SELECT x FROM nowhere").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_NE(std::string(status.message()).find("nowhere"), std::string::npos);
}

}  // namespace
}  // namespace ecom::tests
