#include "adapters/mysql/mysql_status.h"

#include <errmsg.h>
#include <mysqld_error.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace ecom::adapters::mysql {
namespace {

// Numbers that only one of MySQL and MariaDB has a name for.
constexpr unsigned kMysqlCheckViolated = 3819;
constexpr unsigned kMysqlClientInactive = 4031;
constexpr unsigned kMysqlQueryTimeout = 3024;
constexpr unsigned kMariadbCheckViolated = 4025;
constexpr unsigned kMariadbConnectionKilled = 1927;
constexpr unsigned kMariadbStatementTimeout = 1969;

absl::StatusCode CodeOf(unsigned error) {
  switch (error) {
    case 0: return absl::StatusCode::kOk;

    case ER_LOCK_DEADLOCK:
    case ER_LOCK_WAIT_TIMEOUT:
    case CR_CONNECTION_ERROR:
    case CR_CONN_HOST_ERROR:
    case CR_IPSOCK_ERROR:
    case CR_UNKNOWN_HOST:
    case CR_SERVER_GONE_ERROR:
    case CR_SERVER_HANDSHAKE_ERR:
    case CR_SERVER_LOST:
    case CR_SERVER_LOST_EXTENDED:
    case ER_CON_COUNT_ERROR:
    case ER_TOO_MANY_USER_CONNECTIONS:
    case ER_HOST_IS_BLOCKED:
    case ER_SERVER_SHUTDOWN:
    case ER_NORMAL_SHUTDOWN:
    case ER_QUERY_INTERRUPTED:
    case ER_ERROR_DURING_COMMIT:
    case ER_NET_READ_ERROR:
    case ER_NET_READ_INTERRUPTED:
    case ER_NET_ERROR_ON_WRITE:
    case ER_NET_WRITE_INTERRUPTED:
    case ER_OPTION_PREVENTS_STATEMENT:
    case ER_DISK_FULL:
    case ER_RECORD_FILE_FULL:
    case ER_OUTOFMEMORY:
    case ER_OUT_OF_SORTMEMORY:
    case ER_OUT_OF_RESOURCES:
    case ER_UNKNOWN_STMT_HANDLER:
    case ER_MAX_PREPARED_STMT_COUNT_REACHED:
    case ER_NEED_REPREPARE:
    case ER_TABLE_DEF_CHANGED:
    case kMysqlClientInactive:
    case kMysqlQueryTimeout:
    case kMariadbConnectionKilled:
    case kMariadbStatementTimeout: return absl::StatusCode::kUnavailable;

    case ER_DUP_ENTRY: return absl::StatusCode::kAlreadyExists;

    case ER_BAD_NULL_ERROR:
    case ER_WARN_DATA_OUT_OF_RANGE:
    case ER_DATA_OUT_OF_RANGE:
    case ER_TRUNCATED_WRONG_VALUE:
    case ER_TRUNCATED_WRONG_VALUE_FOR_FIELD:
    case ER_DATA_TOO_LONG:
    case kMysqlCheckViolated:
    case kMariadbCheckViolated: return absl::StatusCode::kInvalidArgument;

    case ER_BAD_DB_ERROR:
    case ER_BAD_FIELD_ERROR:
    case ER_NO_SUCH_TABLE:
    case ER_KEY_DOES_NOT_EXISTS:
    case ER_NO_DEFAULT_FOR_FIELD: return absl::StatusCode::kFailedPrecondition;

    case ER_DBACCESS_DENIED_ERROR:
    case ER_ACCESS_DENIED_ERROR:
    case ER_ACCESS_DENIED_NO_PASSWORD_ERROR:
    case ER_TABLEACCESS_DENIED_ERROR:
    case ER_COLUMNACCESS_DENIED_ERROR:
    case ER_SPECIFIC_ACCESS_DENIED_ERROR: return absl::StatusCode::kPermissionDenied;

    default: return absl::StatusCode::kInternal;
  }
}

}  // namespace

absl::Status MysqlStatus(unsigned error, std::string_view what, std::string_view message) {
  const absl::StatusCode code = CodeOf(error);
  if (code == absl::StatusCode::kOk) return absl::OkStatus();
  return {code,
          absl::StrCat(std::string(what), ": mysql error ", error, ": ", std::string(message))};
}

bool LeavesConnectionUsable(unsigned error) {
  if (error == ER_LOCK_DEADLOCK || error == ER_LOCK_WAIT_TIMEOUT) return true;
  switch (CodeOf(error)) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition: return true;
    default: return false;
  }
}

}  // namespace ecom::adapters::mysql
