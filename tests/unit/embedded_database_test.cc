#include <gtest/gtest.h>
#include <sqlite3.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "adapters/embedded/database.h"
#include "adapters/embedded/schema.h"
#include "support/temporary_folder.h"

namespace ecom::tests {
namespace {

using adapters::embedded::Connection;
using adapters::embedded::Database;

std::string Contents(const std::string& path) {
  std::ostringstream contents;
  contents << std::ifstream(path, std::ios::binary).rdbuf();
  return contents.str();
}

class EmbeddedDatabase : public testing::Test {
 protected:
  absl::Status Insert(Database& database, int64_t id) {
    return database.Write([id](Connection& connection) -> absl::Status {
      auto insert = connection.Prepare(
          "INSERT INTO coupons (id, name, total_quantity, available_quantity, starts_at_us, "
          "ends_at_us) VALUES (?, 'c', 1, 1, 0, 1)");
      if (!insert.ok()) return insert.status();
      return insert->Bind(id).Run();
    });
  }

  int64_t Count(Database& database) {
    int64_t count = -1;
    EXPECT_TRUE(database
                    .Read([&](Connection& connection) -> absl::Status {
                      auto select = connection.Prepare("SELECT COUNT(*) FROM coupons");
                      if (!select.ok()) return select.status();
                      if (auto row = select->Step(); !row.ok()) return row.status();
                      count = select->Int(0);
                      return absl::OkStatus();
                    })
                    .ok());
    return count;
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.path() + "/ecom.db";
};

TEST_F(EmbeddedDatabase, KeepsWhatWasWrittenWhenItIsOpenedAgain) {
  {
    auto database = Database::Create({.path = path_});
    ASSERT_TRUE(database.ok()) << database.status();
    ASSERT_TRUE(Insert(**database, 1).ok());
  }
  auto database = Database::Create({.path = path_});
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_EQ(Count(**database), 1);
}

TEST_F(EmbeddedDatabase, UndoesOnlyTheWriteThatFailed) {
  auto database = *Database::Create({.path = path_});
  std::vector<std::thread> writers;
  std::atomic<int> failed = 0;
  for (int i = 0; i < 8; ++i) {
    writers.emplace_back([&, i] {
      for (int round = 0; round < 20; ++round) {
        // Every second one is there already.
        failed += absl::IsAlreadyExists(Insert(*database, 1 + (i / 2) * 20 + round));
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(failed, 80);
  EXPECT_EQ(Count(*database), 80);
}

TEST_F(EmbeddedDatabase, RefusesAFileOfSomethingElseAndLeavesItAsItIs) {
  const std::string text(4096, 'x');
  std::ofstream(path_) << text;
  auto database = Database::Create({.path = path_});
  EXPECT_TRUE(absl::IsFailedPrecondition(database.status())) << database.status();
  EXPECT_EQ(Contents(path_), text);
}

TEST_F(EmbeddedDatabase, RefusesADatabaseOfAnotherApplicationAndLeavesItAsItIs) {
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "CREATE TABLE t (x)", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  const std::string before = Contents(path_);
  EXPECT_TRUE(absl::IsFailedPrecondition(Database::Create({.path = path_}).status()));
  EXPECT_EQ(Contents(path_), before);
}

TEST_F(EmbeddedDatabase, RefusesAFileOfANewerVersion) {
  { ASSERT_TRUE(Database::Create({.path = path_}).ok()); }
  sqlite3* file = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &file), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(file, "PRAGMA journal_mode=DELETE; PRAGMA user_version=1000", nullptr,
                         nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(file);
  const absl::Status refused = Database::Create({.path = path_}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_NE(std::string(refused.message()).find("1000"), std::string::npos);
}

TEST_F(EmbeddedDatabase, BringsAFileOfVersion1ToTheSameTablesAsANewOne) {
  constexpr char kTables[] =
      "SELECT group_concat(name || '(' || (SELECT group_concat(c.name) FROM "
      "pragma_table_info(t.name) c ORDER BY c.cid) || ')') FROM "
      "(SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name) t";
  const auto read = [](const std::string& path, const char* sql) {
    sqlite3* file = nullptr;
    EXPECT_EQ(sqlite3_open(path.c_str(), &file), SQLITE_OK);
    std::string text;
    EXPECT_EQ(sqlite3_exec(
                  file, sql,
                  [](void* out, int, char** values, char**) {
                    *static_cast<std::string*>(out) += values[0] ? values[0] : "NULL";
                    return 0;
                  },
                  &text, nullptr),
              SQLITE_OK)
        << sql;
    sqlite3_close(file);
    return text;
  };
  { ASSERT_TRUE(Database::Create({.path = path_}).ok()); }
  const std::string wanted = read(path_, kTables);
  // What version 1 had instead.
  read(
      path_,
      "DROP INDEX products_by_version; ALTER TABLE products DROP COLUMN version;"
      "DROP TABLE gate_barriers; DROP TABLE log_partitions; DROP TABLE dead_letters;"
      "ALTER TABLE coupons DROP COLUMN gate_home;"
      "ALTER TABLE claim_log DROP COLUMN trace_parent;"
      "ALTER TABLE coupons ADD COLUMN passed_barrier INTEGER NOT NULL DEFAULT 0;"
      "INSERT INTO coupons (id, name, total_quantity, available_quantity, starts_at_us, ends_at_us,"
      " gate_generation, passed_barrier) VALUES (7, 'a', 1, 1, 0, 1, 5, 4);"
      "PRAGMA user_version = 1");
  { ASSERT_TRUE(Database::Create({.path = path_}).ok()); }
  EXPECT_EQ(read(path_, kTables), wanted);
  EXPECT_EQ(read(path_,
                 "SELECT coupon_id || '/' || log_partition || '/' || gate_generation "
                 "FROM gate_barriers"),
            "7/0/4");
  EXPECT_TRUE(Database::Create({.path = path_}).ok()) << "once is enough";
}

TEST_F(EmbeddedDatabase, RefusesAFileThatAnotherServerHasOpen) {
  auto first = Database::Create({.path = path_});
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Database::Create({.path = path_}).status()));
  first->reset();
  EXPECT_TRUE(Database::Create({.path = path_}).ok());
}

TEST_F(EmbeddedDatabase, RefusesAFolderThatIsNotThere) {
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Database::Create({.path = folder_.path() + "/none/ecom.db"}).status()));
}

TEST_F(EmbeddedDatabase, StartsOverAfterACrashWhileTheFileWasMade) {
  std::ofstream(path_ + ".new") << "half made";
  EXPECT_TRUE(Database::Create({.path = path_}).ok());
}

TEST_F(EmbeddedDatabase, DoesNotReplayTheLogOfAFileThatAPersonRemoved) {
  {
    auto database = *Database::Create({.path = path_});
    ASSERT_TRUE(Insert(*database, 1).ok());
    std::filesystem::copy_file(path_ + "-wal", path_ + "-kept");
  }
  std::filesystem::remove(path_);
  std::filesystem::rename(path_ + "-kept", path_ + "-wal");
  auto database = Database::Create({.path = path_});
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_EQ(Count(**database), 0);
}

TEST_F(EmbeddedDatabase, IsUnavailableToAllOfAGroupWhenTheDiskIsFullAndGoesOnAfterwards) {
  auto database = *Database::Create({.path = path_});
  auto set_page_limit = [&](const char* sql) {
    // No transaction may be open for the pragma, but the limit is the connection's own.
    return database->Write([sql](Connection& connection) { return connection.Execute(sql); });
  };
  ASSERT_TRUE(set_page_limit("PRAGMA max_page_count = 1").ok());
  const std::string large(1 << 20, 'x');
  const absl::Status full = database->Write([&](Connection& connection) -> absl::Status {
    auto insert = connection.Prepare("INSERT INTO coupon_rejections VALUES (1, 1, ?, '', 0)");
    if (!insert.ok()) return insert.status();
    return insert->Bind(large).Run();
  });
  EXPECT_TRUE(absl::IsUnavailable(full)) << full;
  ASSERT_TRUE(set_page_limit("PRAGMA max_page_count = 1000000").ok());
  EXPECT_TRUE(Insert(*database, 1).ok());
}

TEST_F(EmbeddedDatabase, ReportsACorruptFileOnceAndRefusesFromThenOn) {
  std::atomic<int> failures = 0;
  auto database =
      *Database::Create({.path = path_, .on_failure = [&](const absl::Status&) { ++failures; }});
  const absl::Status failed = database->Write(
      [](Connection&) { return adapters::embedded::SqliteStatus(SQLITE_IOERR_FSYNC, "fsync"); });
  EXPECT_TRUE(absl::IsUnavailable(failed) || absl::IsDataLoss(failed)) << failed;
  EXPECT_TRUE(absl::IsUnavailable(Insert(*database, 1)));
  EXPECT_EQ(failures, 1);
}

TEST_F(EmbeddedDatabase, WorksInMemory) {
  auto database = *Database::Create({.path = ":memory:"});
  ASSERT_TRUE(Insert(*database, 1).ok());
  EXPECT_EQ(Count(*database), 1);
}

}  // namespace
}  // namespace ecom::tests
