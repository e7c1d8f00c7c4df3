#include "adapters/mysql/schema.h"

#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"

namespace ecom::adapters::mysql {
namespace {

/// One version's statements, at its number less one.
constexpr std::array<const char*, kSchemaVersion> kMigrations = {kSchemaSql, kSchema2Sql};

/// How long a server waits for others that migrate.
constexpr absl::Duration kLockWait = absl::Minutes(1);

// Locks are the server's, not the database's, and their names are short.
#define ECOM_LOCK_NAME "CONCAT('ecom.schema.', MD5(DATABASE()))"

absl::StatusOr<int64_t> ReadInt(Connection& connection, const char* sql) {
  ASSIGN_OR_RETURN(Statement select, connection.Prepare(sql));
  ASSIGN_OR_RETURN(const bool found, select.Step());
  if (!found) return absl::InternalError(absl::StrCat("no answer to ", sql));
  return select.Int(0);
}

absl::Status Lock(Connection& connection) {
  const absl::Time until = absl::Now() + kLockWait;
  do {  // a second at a time, which is less than any read timeout
    ASSIGN_OR_RETURN(const int64_t locked,
                     ReadInt(connection, "SELECT GET_LOCK(" ECOM_LOCK_NAME ", 1)"));
    if (locked == 1) return absl::OkStatus();
  } while (absl::Now() < until);
  return absl::UnavailableError("another server is changing the schema");
}

absl::StatusOr<int64_t> ReadVersion(Connection& connection) {
  ASSIGN_OR_RETURN(const int64_t tables,
                   ReadInt(connection,
                           "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = "
                           "DATABASE() AND table_name = 'schema_version'"));
  if (tables == 0) return 0;
  return ReadInt(connection, "SELECT COALESCE(MAX(version), 0) FROM schema_version");
}

absl::Status MigrateLocked(Connection& connection) {
  ASSIGN_OR_RETURN(const int64_t version, ReadVersion(connection));
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat("the database has schema version ", version,
                                                      ", this program knows up to ", kSchemaVersion,
                                                      ": start a newer one"));
  }
  for (int64_t next = version; next < kSchemaVersion; ++next) {
    RETURN_IF_ERROR(connection.ExecuteAll(kMigrations[static_cast<size_t>(next)]));
  }
  for (const char* table : {"coupons", "coupon_issues", "coupon_rejections", "gate_barriers",
                            "log_partitions", "dead_letters_settled", "products"}) {
    const absl::Status found = connection.Execute(
        absl::StrCat("DO (SELECT COUNT(*) FROM (SELECT 1 FROM ", table, " LIMIT 1) AS row_found)"));
    if (absl::IsFailedPrecondition(found)) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the database lacks the table ", table, ", though its schema version is ", kSchemaVersion,
          ": restore it, or start on an empty database (", found.message(), ")"));
    }
    RETURN_IF_ERROR(found);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Migrate(ConnectionPool& pool) {
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool.Acquire());
  RETURN_IF_ERROR(Lock(*connection));
  absl::Status migrated = MigrateLocked(*connection);
  const absl::Status unlocked = connection->Execute("DO RELEASE_LOCK(" ECOM_LOCK_NAME ")");
  if (!unlocked.ok()) connection->Abandon();  // the lock ends with the connection
  return migrated;
}

}  // namespace ecom::adapters::mysql
