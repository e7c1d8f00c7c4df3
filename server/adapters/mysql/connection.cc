#include "adapters/mysql/connection.h"

#include <mysql.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"
#include "adapters/mysql/mysql_status.h"
#include "base/status_macros.h"

namespace ecom::adapters::mysql {
namespace {

/// The longest text that is read: VARCHAR(255) in utf8mb4 needs 1020 bytes.
constexpr unsigned long kTextBytesMax = 4096;

MYSQL_TIME ToMysqlTime(absl::Time time) {
  static const absl::Time kLeast = absl::FromCivil(absl::CivilSecond(1000), absl::UTCTimeZone());
  static const absl::Time kMost =
      absl::FromCivil(absl::CivilSecond(10000), absl::UTCTimeZone()) - absl::Microseconds(1);
  // Down to the microsecond, before 1970 too.
  const absl::Time micros =
      absl::FromUnixMicros(absl::ToUnixMicros(std::clamp(time, kLeast, kMost)));
  const absl::TimeZone::CivilInfo civil = absl::UTCTimeZone().At(micros);
  MYSQL_TIME result{};
  result.year = static_cast<unsigned>(civil.cs.year());
  result.month = static_cast<unsigned>(civil.cs.month());
  result.day = static_cast<unsigned>(civil.cs.day());
  result.hour = static_cast<unsigned>(civil.cs.hour());
  result.minute = static_cast<unsigned>(civil.cs.minute());
  result.second = static_cast<unsigned>(civil.cs.second());
  result.second_part = static_cast<unsigned long>(absl::ToInt64Microseconds(civil.subsecond));
  result.time_type = MYSQL_TIMESTAMP_DATETIME;
  return result;
}

absl::Time FromMysqlTime(const MYSQL_TIME& time) {
  const absl::CivilSecond civil(time.year, static_cast<int>(time.month), static_cast<int>(time.day),
                                static_cast<int>(time.hour), static_cast<int>(time.minute),
                                static_cast<int>(time.second));
  return absl::FromCivil(civil, absl::UTCTimeZone()) +
         absl::Microseconds(static_cast<int64_t>(time.second_part));
}

/// A value on its way in or out; which field counts is known by `type`.
struct Value {
  enum_field_types type = MYSQL_TYPE_LONGLONG;
  int64_t integer = 0;
  std::string text;
  MYSQL_TIME time{};
  unsigned long length = 0;
};

void PointAt(Value& value, MYSQL_BIND& bind) {
  bind = {};
  bind.buffer_type = value.type;
  switch (value.type) {
    case MYSQL_TYPE_LONGLONG: bind.buffer = &value.integer; return;
    case MYSQL_TYPE_DATETIME: bind.buffer = &value.time; return;
    default: break;
  }
  bind.buffer = value.text.data();
  bind.buffer_length = value.text.size();
  bind.length = &value.length;
}

unsigned WholeSeconds(absl::Duration duration) {
  return static_cast<unsigned>(
      std::max<int64_t>(1, absl::ToInt64Seconds(absl::Ceil(duration, absl::Seconds(1)))));
}

void InitializeLibrary() {
  static std::once_flag once;  // the driver's own is not thread-safe
  std::call_once(once, [] { mysql_library_init(0, nullptr, nullptr); });
}

}  // namespace

/// A statement that the server has prepared, with room for its parameters and for one row.
class PreparedStatement {
 public:
  explicit PreparedStatement(MYSQL_STMT* prepared) : handle(prepared) {}
  ~PreparedStatement() { mysql_stmt_close(handle); }
  PreparedStatement(const PreparedStatement&) = delete;
  PreparedStatement& operator=(const PreparedStatement&) = delete;

  /// Makes room for the columns, by the types that the server tells.
  void DescribeRow() {
    MYSQL_RES* metadata = mysql_stmt_result_metadata(handle);
    if (metadata == nullptr) return;
    const unsigned columns = mysql_num_fields(metadata);
    row.resize(columns);
    row_binds.resize(columns);
    for (unsigned i = 0; i < columns; ++i) {
      const MYSQL_FIELD& field = *mysql_fetch_field_direct(metadata, i);
      row[i].type = TypeOf(field.type);
      if (row[i].type == MYSQL_TYPE_STRING) {
        row[i].text.resize(std::min(field.length, kTextBytesMax));
      }
      PointAt(row[i], row_binds[i]);
    }
    mysql_free_result(metadata);
  }

  MYSQL_STMT* handle;
  std::vector<Value> parameters;
  std::vector<MYSQL_BIND> parameter_binds;
  std::vector<Value> row;
  std::vector<MYSQL_BIND> row_binds;
  bool executed = false;

 private:
  static enum_field_types TypeOf(enum_field_types type) {
    switch (type) {
      case MYSQL_TYPE_TINY:
      case MYSQL_TYPE_SHORT:
      case MYSQL_TYPE_LONG:
      case MYSQL_TYPE_LONGLONG: return MYSQL_TYPE_LONGLONG;
      case MYSQL_TYPE_DATETIME: return MYSQL_TYPE_DATETIME;
      default: return MYSQL_TYPE_STRING;
    }
  }
};

Statement::~Statement() {
  if (prepared_ != nullptr) Reset();
}

void Statement::Reset() {
  prepared_->parameters.clear();
  if (prepared_->executed) mysql_stmt_free_result(prepared_->handle);
  prepared_->executed = false;
}

void Statement::BindOne(int64_t value) { prepared_->parameters.push_back({.integer = value}); }

void Statement::BindOne(std::string_view text) {
  prepared_->parameters.push_back(
      {.type = MYSQL_TYPE_STRING, .text = std::string(text), .length = text.size()});
}

void Statement::BindOne(absl::Time time) {
  prepared_->parameters.push_back({.type = MYSQL_TYPE_DATETIME, .time = ToMysqlTime(time)});
}

void Statement::BindOne(Hundredths amount) {
  // Unsigned, because the least integer has no positive counterpart.
  const uint64_t magnitude = amount.value < 0 ? 0 - static_cast<uint64_t>(amount.value)
                                              : static_cast<uint64_t>(amount.value);
  std::string text =
      absl::StrFormat("%s%d.%02d", amount.value < 0 ? "-" : "", magnitude / 100, magnitude % 100);
  const size_t length = text.size();
  prepared_->parameters.push_back(
      {.type = MYSQL_TYPE_NEWDECIMAL, .text = std::move(text), .length = length});
}

absl::Status Statement::Execute() {
  return base::Counted(connection_->calls_, [&] { return Send(); });
}

absl::Status Statement::Send() {
  PreparedStatement& prepared = *prepared_;
  MYSQL_STMT* handle = prepared.handle;
  if (prepared.parameters.size() != mysql_stmt_param_count(handle)) {
    return absl::InternalError(absl::StrCat("a statement takes ", mysql_stmt_param_count(handle),
                                            " parameters, and was given ",
                                            prepared.parameters.size()));
  }
  prepared.parameter_binds.resize(prepared.parameters.size());
  for (size_t i = 0; i < prepared.parameters.size(); ++i) {
    PointAt(prepared.parameters[i], prepared.parameter_binds[i]);
  }
  auto failed = [&](std::string_view what) {
    return connection_->Failed(mysql_stmt_errno(handle), mysql_stmt_error(handle), what);
  };
  if (!prepared.parameters.empty() &&
      mysql_stmt_bind_param(handle, prepared.parameter_binds.data()) != 0) {
    return failed("binding parameters");
  }
  if (mysql_stmt_execute(handle) != 0) return failed("running a statement");
  prepared.executed = true;
  if (prepared.row.empty()) return absl::OkStatus();
  if (mysql_stmt_bind_result(handle, prepared.row_binds.data()) != 0) {
    return failed("binding a row");
  }
  if (mysql_stmt_store_result(handle) != 0) return failed("reading rows");
  return absl::OkStatus();
}

absl::StatusOr<bool> Statement::Step() {
  if (!prepared_->executed) RETURN_IF_ERROR(Execute());
  MYSQL_STMT* handle = prepared_->handle;
  switch (mysql_stmt_fetch(handle)) {
    case 0: return true;
    case MYSQL_NO_DATA: return false;
    case MYSQL_DATA_TRUNCATED: return absl::InternalError("a text is too long to be read");
    default:
      return connection_->Failed(mysql_stmt_errno(handle), mysql_stmt_error(handle),
                                 "reading a row");
  }
}

absl::StatusOr<int64_t> Statement::Run() {
  RETURN_IF_ERROR(Execute());
  return static_cast<int64_t>(mysql_stmt_affected_rows(prepared_->handle));
}

int64_t Statement::Int(size_t column) const { return prepared_->row[column].integer; }

std::string_view Statement::Text(size_t column) const {
  const Value& value = prepared_->row[column];
  return {value.text.data(), std::min<size_t>(value.length, value.text.size())};
}

absl::Time Statement::Time(size_t column) const {
  return FromMysqlTime(prepared_->row[column].time);
}

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const Endpoint& endpoint,
                                                             const Timeouts& timeouts,
                                                             base::CallStats& calls) {
  InitializeLibrary();
  MYSQL* handle = mysql_init(nullptr);
  if (handle == nullptr) return absl::UnavailableError("no memory for a connection");
  std::unique_ptr<Connection> connection(new Connection(handle, calls));

  const unsigned connect = WholeSeconds(timeouts.connect);
  const unsigned read = WholeSeconds(timeouts.read);
  const unsigned write = WholeSeconds(timeouts.write);
  mysql_options(handle, MYSQL_OPT_CONNECT_TIMEOUT, &connect);
  mysql_options(handle, MYSQL_OPT_READ_TIMEOUT, &read);
  mysql_options(handle, MYSQL_OPT_WRITE_TIMEOUT, &write);
  mysql_options(handle, MYSQL_SET_CHARSET_NAME, "utf8mb4");
  const bool by_socket = !endpoint.socket.empty();
  // Without CLIENT_FOUND_ROWS: an update tells how many rows it changed, not how many it met.
  if (mysql_real_connect(handle, by_socket ? nullptr : endpoint.host.c_str(), endpoint.user.c_str(),
                         endpoint.password.c_str(), endpoint.database.c_str(),
                         by_socket ? 0 : endpoint.port,
                         by_socket ? endpoint.socket.c_str() : nullptr, 0) == nullptr) {
    return connection->Failed("connecting to the database");
  }
  RETURN_IF_ERROR(connection->Execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"));
  RETURN_IF_ERROR(connection->Execute(absl::StrCat(
      "SET SESSION autocommit = 1, time_zone = '+00:00', "
      "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = ",
      WholeSeconds(timeouts.lock_wait), ", wait_timeout = ", WholeSeconds(timeouts.idle))));
  return connection;
}

Connection::Connection(st_mysql* handle, base::CallStats& calls) : handle_(handle), calls_(calls) {}

Connection::~Connection() {
  statements_.clear();
  mysql_close(handle_);
}

absl::StatusOr<Statement> Connection::Prepare(const std::string& sql) {
  if (const auto found = statements_.find(sql); found != statements_.end()) {
    return Statement(*this, *found->second);
  }
  MYSQL_STMT* handle = mysql_stmt_init(handle_);
  if (handle == nullptr) return Failed("preparing a statement");
  auto prepared = std::make_unique<PreparedStatement>(handle);
  if (mysql_stmt_prepare(handle, sql.data(), sql.size()) != 0) {
    return Failed(mysql_stmt_errno(handle), mysql_stmt_error(handle), "preparing a statement");
  }
  prepared->DescribeRow();
  PreparedStatement& kept = *prepared;
  statements_.emplace(sql, std::move(prepared));
  return Statement(*this, kept);
}

absl::Status Connection::Execute(std::string_view sql) {
  return base::Counted(calls_, [&] {
    if (mysql_real_query(handle_, sql.data(), sql.size()) == 0) return absl::OkStatus();
    return Failed("running a statement");
  });
}

absl::Status Connection::ExecuteAll(std::string_view script) {
  if (mysql_set_server_option(handle_, MYSQL_OPTION_MULTI_STATEMENTS_ON) != 0) {
    return Failed("running a script");
  }
  RETURN_IF_ERROR(Execute(script));
  for (;;) {
    if (MYSQL_RES* rows = mysql_store_result(handle_)) mysql_free_result(rows);
    const int next = mysql_next_result(handle_);
    if (next > 0) {
      Abandon();  // it would go on taking several statements at once
      return Failed("running a script");
    }
    if (next < 0) break;
  }
  if (mysql_set_server_option(handle_, MYSQL_OPTION_MULTI_STATEMENTS_OFF) != 0) {
    return Failed("running a script");
  }
  return absl::OkStatus();
}

bool Connection::Ping() { return mysql_ping(handle_) == 0; }

absl::Status Connection::Failed(unsigned error, const char* message, std::string_view what) {
  if (!LeavesConnectionUsable(error)) usable_ = false;
  // The driver has failures without a number; what they leave behind is unknown.
  if (error == 0) {
    usable_ = false;
    return absl::InternalError(absl::StrCat(std::string(what), ": unknown driver error"));
  }
  return MysqlStatus(error, what, message);
}

absl::Status Connection::Failed(std::string_view what) {
  return Failed(mysql_errno(handle_), mysql_error(handle_), what);
}

absl::StatusOr<Transaction> Transaction::Begin(Connection& connection) {
  RETURN_IF_ERROR(connection.Execute("START TRANSACTION"));
  return Transaction(connection);
}

Transaction::~Transaction() {
  if (connection_ == nullptr || !connection_->usable()) return;
  if (!connection_->Execute("ROLLBACK").ok()) connection_->Abandon();
}

absl::Status Transaction::Commit() {
  Connection& connection = *std::exchange(connection_, nullptr);
  absl::Status committed = connection.Execute("COMMIT");
  if (committed.ok()) return committed;
  connection.Abandon();
  return absl::UnavailableError(absl::StrCat("unknown whether committed: ", committed.message()));
}

}  // namespace ecom::adapters::mysql
