#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace ecom::adapters::mysql {

/// The one table from the error numbers of server and client library to statuses. `what` names
/// the action, `message` is the driver's.
///
/// * deadlock (1213), lock wait (1205), a lost, refused or overloaded server, a full disk:
///   UNAVAILABLE; ask again.
/// * duplicate key (1062): ALREADY_EXISTS.
/// * a value that breaks a rule of the schema: INVALID_ARGUMENT.
/// * no such database, table, column or index: FAILED_PRECONDITION, the schema is not ours.
/// * access denied: PERMISSION_DENIED.
/// * the rest: INTERNAL, our own bug.
absl::Status MysqlStatus(unsigned error, std::string_view what, std::string_view message);

/// Whether a connection on which `error` happened may be used again, after a rollback. What the
/// table does not know surely is no.
bool LeavesConnectionUsable(unsigned error);

}  // namespace ecom::adapters::mysql
