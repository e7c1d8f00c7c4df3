#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/call_stats.h"

struct st_mysql;

namespace ecom::adapters::mysql {

/// Where the database is. With a `socket`, host and port do not count.
struct Endpoint {
  std::string host = "127.0.0.1";
  uint16_t port = 3306;
  std::string socket;
  std::string user;
  std::string password;
  std::string database;
};

/// Bounds on every wait for the database. The driver knows whole seconds; parts are rounded up.
struct Timeouts {
  absl::Duration connect = absl::Seconds(2);
  absl::Duration read = absl::Seconds(5);
  absl::Duration write = absl::Seconds(5);
  /// For a row that another transaction holds: less than `read`, so that it ends as an error and
  /// not as a lost connection.
  absl::Duration lock_wait = absl::Seconds(2);
  /// For the next statement, after which the database ends the session and lets go of its rows: a
  /// process that stands still in the middle of a transaction holds nobody up for longer. Far more
  /// than one of ours takes between two statements.
  absl::Duration idle = absl::Seconds(5);
};

/// Hundredths of a unit, as a parameter for a DECIMAL with two decimals.
struct Hundredths {
  int64_t value = 0;
};

class PreparedStatement;
class Connection;

/// A prepared statement, borrowed from its connection until it goes out of scope. Its results are
/// read whole when it runs.
class Statement {
 public:
  Statement(Connection& connection, PreparedStatement& prepared)
      : connection_(&connection), prepared_(&prepared) {}
  ~Statement();
  Statement(Statement&& other) noexcept
      : connection_(other.connection_), prepared_(std::exchange(other.prepared_, nullptr)) {}
  Statement& operator=(Statement&&) = delete;

  /// Appends values to the parameters. Text is copied.
  template <typename... Values>
  Statement& Bind(const Values&... values) {
    (BindOne(values), ...);
    return *this;
  }

  /// Forgets parameters and results, for another run.
  void Reset();

  /// Runs to the next row: true when there is one, false at the end. Errors as MysqlStatus;
  /// INTERNAL for a text of more than 4 KB, which no column of ours holds.
  absl::StatusOr<bool> Step();

  /// Runs a statement that answers no rows, and returns how many rows it changed.
  absl::StatusOr<int64_t> Run();

  int64_t Int(size_t column) const;
  /// Valid until the next Step.
  std::string_view Text(size_t column) const;
  absl::Time Time(size_t column) const;

 private:
  void BindOne(int64_t value);
  void BindOne(int value) { BindOne(static_cast<int64_t>(value)); }
  void BindOne(bool value) { BindOne(static_cast<int64_t>(value)); }
  void BindOne(std::string_view text);
  void BindOne(const std::string& text) { BindOne(std::string_view(text)); }
  void BindOne(const char*) = delete;  // would become a bool
  /// A time that a DATETIME(6) cannot hold becomes the nearest one that it can.
  void BindOne(absl::Time time);
  void BindOne(Hundredths amount);

  absl::Status Execute();
  absl::Status Send();

  Connection* connection_;
  PreparedStatement* prepared_;
};

/// One connection: READ COMMITTED, UTC, strict. Not thread-safe.
class Connection {
 public:
  /// Connects and sets the session up: three round trips. Statements are counted in `calls`, which
  /// must outlive the connection. Errors as MysqlStatus.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const Endpoint& endpoint,
                                                          const Timeouts& timeouts,
                                                          base::CallStats& calls);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Prepares a statement once for each text, and keeps it: texts must be few. At most one
  /// Statement of the same text may be in scope.
  absl::StatusOr<Statement> Prepare(const std::string& sql);

  /// Runs one statement that answers no rows and has no parameters.
  absl::Status Execute(std::string_view sql);

  /// Runs a script of statements; the first error ends it.
  absl::Status ExecuteAll(std::string_view script);

  /// Whether the server still answers. One round trip.
  bool Ping();

  /// False after an error that leaves open what state the session is in.
  bool usable() const { return usable_; }
  void Abandon() { usable_ = false; }

  /// Has this session end instead of being used again, though nothing is wrong with it.
  void Discard() { discarded_ = true; }
  bool discarded() const { return discarded_; }

 private:
  friend class Statement;

  Connection(st_mysql* handle, base::CallStats& calls);

  absl::Status Failed(unsigned error, const char* message, std::string_view what);
  absl::Status Failed(std::string_view what);

  st_mysql* handle_;
  base::CallStats& calls_;
  bool usable_ = true;
  bool discarded_ = false;
  absl::flat_hash_map<std::string, std::unique_ptr<PreparedStatement>> statements_;
};

/// A transaction on a connection; without a Commit it is rolled back.
class Transaction {
 public:
  static absl::StatusOr<Transaction> Begin(Connection& connection);
  ~Transaction();
  Transaction(Transaction&& other) noexcept
      : connection_(std::exchange(other.connection_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;

  /// UNAVAILABLE: unknown whether it was committed.
  absl::Status Commit();

 private:
  explicit Transaction(Connection& connection) : connection_(&connection) {}

  Connection* connection_;
};

}  // namespace ecom::adapters::mysql
