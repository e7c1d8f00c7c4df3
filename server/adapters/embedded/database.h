#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "adapters/embedded/sqlite.h"
#include "base/batcher.h"

namespace ecom::adapters::embedded {

/// One SQLite file that is store and log at once, and the group commit in front of it: writes
/// that come together share one transaction, and so one fsync. Thread-safe.
///
/// The file is in WAL mode with synchronous=FULL: a write that returned OK survives `kill -9`
/// and a power cut. It is locked against a second process.
class Database {
 public:
  using Work = absl::FunctionRef<absl::Status(Connection&)>;

  struct Options {
    /// The file, or ":memory:" for one that ends with this object.
    std::string path;
    /// How long to wait for another process to let go of the file: one that was killed may take a
    /// moment to be gone.
    absl::Duration lock_timeout = absl::ZeroDuration();
    /// Writes that wait for the group commit; more are refused.
    size_t writes_waiting_max = 1024;
    /// Called once, from any thread, when the file failed in a way after which nothing may be
    /// promised any more: an fsync that failed cannot be repeated. Every later call gets
    /// UNAVAILABLE. The caller ends the process.
    absl::AnyInvocable<void(const absl::Status&)> on_failure;
  };

  /// Opens the file, or makes it, with the schema.
  ///
  /// FAILED_PRECONDITION, with a message for the operator and the file untouched: the folder
  /// can't be written, the file is not ours, it was made by a newer version, or another process
  /// has it open.
  static absl::StatusOr<std::unique_ptr<Database>> Create(Options options);

  /// Opens a file that is there beside a server, which may be running: SQLite lets one of them
  /// write at a time. For a program that does a thing or two and ends.
  ///
  /// FAILED_PRECONDITION, with a message for the operator: there is no such file of this version.
  static absl::StatusOr<std::unique_ptr<Database>> OpenBeside(const std::string& path);

  ~Database();

  /// Runs `work` inside the next group commit, and returns once that is durable. When `work`
  /// fails, its changes alone are undone and its status is returned. Blocks for an fsync.
  ///
  /// UNAVAILABLE: the queue is full, or the commit failed and nothing was changed, or the file
  /// failed and the outcome is unknown.
  absl::Status Write(Work work);

  /// Runs `work`, which only reads, on a connection of its own. Blocks for the I/O.
  absl::Status Read(Work work);

 private:
  class Job;

  Database(Options options, std::unique_ptr<Connection> writer,
           std::vector<std::unique_ptr<Connection>> readers, int lock_file);

  void CommitGroup(std::vector<Job*>& jobs);
  absl::Status RunInOneTransaction(std::vector<Job*>& jobs, std::vector<absl::Status>& statuses);
  absl::Status RunInSavepoint(Job& job, absl::Status& outcome);
  absl::Status Fail(const absl::Status& status);

  Options options_;
  const int lock_file_;
  std::unique_ptr<Connection> writer_;  // only the group commit's thread touches it
  std::mutex readers_mutex_;
  std::condition_variable reader_free_;
  std::vector<std::unique_ptr<Connection>> readers_;  // none for :memory:
  const bool in_memory_;
  std::atomic<bool> failed_ = false;
  std::unique_ptr<base::Batcher<Job*>> group_commit_;
};

}  // namespace ecom::adapters::embedded
