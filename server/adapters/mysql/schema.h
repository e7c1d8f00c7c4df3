#pragma once

#include "absl/status/status.h"
#include "adapters/mysql/connection_pool.h"

namespace ecom::adapters::mysql {

/// The highest version that this program knows; a database of a higher one is refused.
inline constexpr int kSchemaVersion = 2;

/// The text of schema.sql, version 1, and of schema_2.sql, which makes version 2 of it.
extern const char kSchemaSql[];
extern const char kSchema2Sql[];

/// Applies the versions of the schema that the database does not have yet, and checks that every
/// table is there. Servers that start together apply each version once: they take turns by a lock
/// in the database, for at most a minute. Idempotent; a version that was cut short is applied
/// again. Blocks.
///
/// * UNAVAILABLE: the database cannot be asked, or another server holds the lock; migrate again.
/// * FAILED_PRECONDITION: the schema is newer than this program, or a table is missing.
/// * PERMISSION_DENIED: the user may not do this.
absl::Status Migrate(ConnectionPool& pool);

}  // namespace ecom::adapters::mysql
