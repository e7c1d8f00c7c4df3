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

struct sqlite3;
struct sqlite3_stmt;

namespace ecom::adapters::embedded {

/// The one table from SQLite's result codes to statuses. `what` names the action.
///
/// * BUSY, LOCKED, FULL, INTERRUPT: UNAVAILABLE, nothing was changed.
/// * IOERR, CORRUPT, NOTADB, CANTOPEN, READONLY, PERM, AUTH: DATA_LOSS, the file can't be
///   trusted or used any more.
/// * CONSTRAINT: ALREADY_EXISTS.
/// * the rest: INTERNAL, our own bug.
absl::Status SqliteStatus(int result_code, std::string_view what);

/// A prepared statement, borrowed from its connection until it goes out of scope.
class Statement {
 public:
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  ~Statement();
  Statement(Statement&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)) {}
  Statement& operator=(Statement&&) = delete;

  /// Binds the parameters in order, from the first on. Text must live until the last Step.
  template <typename... Values>
  Statement& Bind(const Values&... values) {
    int index = 0;
    (BindOne(++index, values), ...);
    return *this;
  }

  /// Makes the statement ready for further parameters and another run.
  void Reset();

  /// Runs to the next row: true when there is one, false at the end.
  absl::StatusOr<bool> Step();

  /// Runs a statement that answers no rows.
  absl::Status Run();

  int64_t Int(int column) const;
  /// Valid until the next Step.
  std::string_view Text(int column) const;
  absl::Time Time(int column) const { return absl::FromUnixMicros(Int(column)); }
  bool IsNull(int column) const;

 private:
  void BindOne(int index, int64_t value);
  void BindOne(int index, int value) { BindOne(index, static_cast<int64_t>(value)); }
  void BindOne(int index, bool value) { BindOne(index, static_cast<int64_t>(value)); }
  void BindOne(int index, std::string_view text);
  void BindOne(int index, const std::string& text) { BindOne(index, std::string_view(text)); }
  void BindOne(int index, absl::Time time) { BindOne(index, absl::ToUnixMicros(time)); }

  sqlite3_stmt* statement_;
};

/// One connection to a SQLite file. Not thread-safe.
class Connection {
 public:
  /// Opens the file, or makes it. `flags` are SQLITE_OPEN_ flags. DATA_LOSS: can't be opened.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& path, int flags);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Prepares a statement, once for each `sql`, which must be a literal: its address is the
  /// cache's key. At most one Statement of the same `sql` may be in scope.
  absl::StatusOr<Statement> Prepare(const char* sql);

  /// Prepares and runs a statement that has no parameters and answers no rows.
  absl::Status Run(const char* sql);

  /// Runs one or more statements that answer no rows. Not cached.
  absl::Status Execute(const std::string& sql);

  /// False once an error has rolled the transaction back by itself, as a full disk does.
  bool InTransaction() const;

  /// Rows that the last statement inserted, updated or deleted.
  int64_t Changes() const;

 private:
  explicit Connection(sqlite3* handle) : handle_(handle) {}

  sqlite3* handle_;
  absl::flat_hash_map<const char*, sqlite3_stmt*> statements_;
};

}  // namespace ecom::adapters::embedded
