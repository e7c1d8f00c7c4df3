#include "adapters/embedded/sqlite.h"

#include <sqlite3.h>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace ecom::adapters::embedded {

absl::Status SqliteStatus(int result_code, std::string_view what) {
  const std::string message =
      absl::StrCat(std::string(what), ": ", sqlite3_errstr(result_code), " (", result_code, ")");
  switch (result_code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return absl::OkStatus();
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_FULL:
    case SQLITE_INTERRUPT: return absl::UnavailableError(message);
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: return absl::DataLossError(message);
    case SQLITE_CONSTRAINT: return absl::AlreadyExistsError(message);
    default: return absl::InternalError(message);
  }
}

Statement::~Statement() {
  if (statement_ != nullptr) Reset();
}

void Statement::Reset() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

absl::StatusOr<bool> Statement::Step() {
  const int result_code = sqlite3_step(statement_);
  if (result_code == SQLITE_ROW) return true;
  if (result_code == SQLITE_DONE) return false;
  return SqliteStatus(sqlite3_extended_errcode(sqlite3_db_handle(statement_)),
                      sqlite3_sql(statement_));
}

absl::Status Statement::Run() { return Step().status(); }

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_, column); }

std::string_view Statement::Text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_, column);
  if (text == nullptr) return {};
  return {reinterpret_cast<const char*>(text),
          static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

void Statement::BindOne(int index, int64_t value) { sqlite3_bind_int64(statement_, index, value); }

void Statement::BindOne(int index, std::string_view text) {
  sqlite3_bind_text(statement_, index, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
}

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const std::string& path, int flags) {
  sqlite3* handle = nullptr;
  const int result_code =
      sqlite3_open_v2(path.c_str(), &handle, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                      /*zVfs=*/nullptr);
  auto connection = std::unique_ptr<Connection>(new Connection(handle));
  if (result_code != SQLITE_OK) return SqliteStatus(result_code, absl::StrCat("open ", path));
  return connection;
}

Connection::~Connection() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

absl::StatusOr<Statement> Connection::Prepare(const char* sql) {
  auto [position, is_new] = statements_.try_emplace(sql, nullptr);
  if (is_new) {
    const int result_code =
        sqlite3_prepare_v3(handle_, sql, /*nByte=*/-1, SQLITE_PREPARE_PERSISTENT, &position->second,
                           /*pzTail=*/nullptr);
    if (result_code != SQLITE_OK) {
      statements_.erase(position);
      return SqliteStatus(result_code,
                          absl::StrCat("prepare ", sql, ": ", sqlite3_errmsg(handle_)));
    }
  }
  return Statement(position->second);
}

absl::Status Connection::Run(const char* sql) {
  ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  return statement.Run();
}

absl::Status Connection::Execute(const std::string& sql) {
  return SqliteStatus(sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr), sql);
}

bool Connection::InTransaction() const { return sqlite3_get_autocommit(handle_) == 0; }

int64_t Connection::Changes() const { return sqlite3_changes64(handle_); }

}  // namespace ecom::adapters::embedded
