#include "adapters/embedded/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "adapters/embedded/schema.h"
#include "base/status_macros.h"

namespace ecom::adapters::embedded {
namespace {

constexpr int kReaders = 2;  // as many as the machine that we tune for has cores
constexpr absl::Duration kLockPollInterval = absl::Milliseconds(20);
constexpr int kBusyTimeoutMs = 2000;  // for a person's sqlite3 shell that writes meanwhile

// https://www.sqlite.org/fileformat.html, "The Database Header".
constexpr size_t kHeaderBytes = 100;
constexpr size_t kUserVersionOffset = 60;
constexpr size_t kApplicationIdOffset = 68;

uint32_t BigEndian32(const unsigned char* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

/// Looks at the file's header without SQLite, so that a file that is not ours stays untouched.
/// Returns the file's schema version, 0 when there is no file.
absl::StatusOr<uint32_t> ReadVersion(const std::string& path) {
  FILE* file = std::fopen(path.c_str(), "rbe");
  if (file == nullptr) {
    if (errno == ENOENT) return 0;
    return absl::FailedPreconditionError(absl::StrCat(path, ": ", strerror(errno)));
  }
  std::array<unsigned char, kHeaderBytes> header{};
  const size_t bytes = std::fread(header.data(), 1, header.size(), file);
  std::fclose(file);
  if (bytes < kHeaderBytes || std::memcmp(header.data(), "SQLite format 3", 16) != 0 ||
      BigEndian32(&header[kApplicationIdOffset]) != kApplicationId) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is not an ecom data file; it was left as it is"));
  }
  const uint32_t version = BigEndian32(&header[kUserVersionOffset]);
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " has schema version ", version, ", this program knows up to ", kSchemaVersion));
  }
  return version;
}

/// Makes the file aside and moves it into place whole, so that a crash leaves no half-made one.
absl::Status MakeFile(const std::string& path) {
  const std::string aside = path + ".new";
  for (const char* suffix : {"", "-journal"}) std::remove(absl::StrCat(aside, suffix).c_str());
  // Of a file that a person has removed: it would be replayed into the new one.
  for (const char* suffix : {"-wal", "-shm"}) std::remove(absl::StrCat(path, suffix).c_str());
  {
    auto connection = Connection::Open(aside, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (!connection.ok()) return connection.status();
    RETURN_IF_ERROR((*connection)->Execute(kSchema));
  }
  if (std::rename(aside.c_str(), path.c_str()) != 0) {
    return absl::DataLossError(absl::StrCat("rename ", aside, ": ", strerror(errno)));
  }
  const std::string folder = path.substr(0, path.find_last_of('/') + 1);
  const int descriptor = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0 || fsync(descriptor) != 0) {
    return absl::DataLossError(absl::StrCat("fsync ", folder, ": ", strerror(errno)));
  }
  close(descriptor);
  return absl::OkStatus();
}

/// Waits up to `timeout` for a process that is still dying.
absl::StatusOr<int> LockAgainstOthers(const std::string& path, absl::Duration timeout) {
  const std::string lock_path = path + ".lock";
  const int descriptor = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    return absl::FailedPreconditionError(absl::StrCat(lock_path, ": ", strerror(errno)));
  }
  const absl::Time give_up = absl::Now() + timeout;
  while (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (absl::Now() < give_up) {
      absl::SleepFor(kLockPollInterval);
      continue;
    }
    close(descriptor);
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is in use by another server; give this one another DATA_DIR"));
  }
  return descriptor;
}

absl::StatusOr<std::unique_ptr<Connection>> OpenConnection(const std::string& path, int flags) {
  auto connection = Connection::Open(path, flags);
  if (!connection.ok()) return connection;
  RETURN_IF_ERROR((*connection)->Execute(absl::StrCat("PRAGMA busy_timeout = ", kBusyTimeoutMs)));
  RETURN_IF_ERROR((*connection)->Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"));
  return connection;
}

}  // namespace

/// One write that waits for the group commit. Lives on the stack of its caller.
class Database::Job {
 public:
  explicit Job(Work work) : work_(work) {}

  absl::Status Run(Connection& connection) { return work_(connection); }

  void Finish(absl::Status status) {
    // Told under the lock: the waiting caller takes the job with it.
    std::lock_guard lock(mutex_);
    status_ = std::move(status);
    finished_ = true;
    changed_.notify_one();
  }

  absl::Status Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return finished_; });
    return std::move(status_);
  }

 private:
  Work work_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool finished_ = false;
  absl::Status status_;
};

absl::StatusOr<std::unique_ptr<Database>> Database::Create(Options options) {
  if (options.path == ":memory:") {
    auto writer = Connection::Open(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (!writer.ok()) return writer.status();
    RETURN_IF_ERROR((*writer)->Execute(kSchema));
    return std::unique_ptr<Database>(
        new Database(std::move(options), *std::move(writer), {}, /*lock_file=*/-1));
  }

  RETURN_IF_ERROR(ReadVersion(options.path).status());  // a file that is not ours gets no lock file
  ASSIGN_OR_RETURN(const int lock_file, LockAgainstOthers(options.path, options.lock_timeout));
  auto opened = [&]() -> absl::StatusOr<std::unique_ptr<Database>> {
    ASSIGN_OR_RETURN(const uint32_t version, ReadVersion(options.path));
    if (version == 0) RETURN_IF_ERROR(MakeFile(options.path));
    ASSIGN_OR_RETURN(auto writer, OpenConnection(options.path, SQLITE_OPEN_READWRITE));
    if (version == 1) RETURN_IF_ERROR(writer->Execute(kMigrationTo2));
    if (version == 1 || version == 2) RETURN_IF_ERROR(writer->Execute(kMigrationTo3));
    if (version >= 1 && version <= 3) RETURN_IF_ERROR(writer->Execute(kMigrationTo4));
    std::vector<std::unique_ptr<Connection>> readers;
    for (int i = 0; i < kReaders; ++i) {
      ASSIGN_OR_RETURN(auto reader, OpenConnection(options.path, SQLITE_OPEN_READWRITE));
      RETURN_IF_ERROR(reader->Execute("PRAGMA query_only = ON"));
      readers.push_back(std::move(reader));
    }
    return std::unique_ptr<Database>(
        new Database(std::move(options), std::move(writer), std::move(readers), lock_file));
  }();
  if (!opened.ok()) {
    close(lock_file);
    return absl::FailedPreconditionError(opened.status().message());
  }
  return opened;
}

absl::StatusOr<std::unique_ptr<Database>> Database::OpenBeside(const std::string& path) {
  auto opened = [&]() -> absl::StatusOr<std::unique_ptr<Database>> {
    ASSIGN_OR_RETURN(const uint32_t version, ReadVersion(path));
    if (version != kSchemaVersion) {
      return absl::FailedPreconditionError(absl::StrCat("there is no data file ", path,
                                                        " of version ", kSchemaVersion,
                                                        ": start the server once"));
    }
    ASSIGN_OR_RETURN(auto writer, OpenConnection(path, SQLITE_OPEN_READWRITE));
    std::vector<std::unique_ptr<Connection>> readers;
    ASSIGN_OR_RETURN(readers.emplace_back(), OpenConnection(path, SQLITE_OPEN_READWRITE));
    RETURN_IF_ERROR(readers.back()->Execute("PRAGMA query_only = ON"));
    return std::unique_ptr<Database>(
        new Database({.path = path}, std::move(writer), std::move(readers), /*lock_file=*/-1));
  }();
  if (!opened.ok()) return absl::FailedPreconditionError(opened.status().message());
  return opened;
}

Database::Database(Options options, std::unique_ptr<Connection> writer,
                   std::vector<std::unique_ptr<Connection>> readers, int lock_file)
    : options_(std::move(options)),
      lock_file_(lock_file),
      writer_(std::move(writer)),
      readers_(std::move(readers)),
      in_memory_(readers_.empty()),
      group_commit_(std::make_unique<base::Batcher<Job*>>(
          base::Batcher<Job*>::Options{.name = "group-commit",
                                       .batch_items_max = 64,
                                       .queue_items_max = options_.writes_waiting_max},
          [this](std::vector<Job*>& jobs) { CommitGroup(jobs); })) {}

Database::~Database() {
  group_commit_->Stop();
  readers_.clear();
  writer_.reset();
  if (lock_file_ >= 0) close(lock_file_);
}

absl::Status Database::Write(Work work) {
  Job job(work);
  if (!group_commit_->Add(&job)) {
    return absl::UnavailableError("too many writes are waiting, or the file is being closed");
  }
  return job.Wait();
}

absl::Status Database::Read(Work work) {
  if (in_memory_) return Write(work);
  std::unique_ptr<Connection> reader;
  {
    std::unique_lock lock(readers_mutex_);
    reader_free_.wait(lock, [this] { return !readers_.empty(); });
    reader = std::move(readers_.back());
    readers_.pop_back();
  }
  absl::Status status = work(*reader);
  {
    std::lock_guard lock(readers_mutex_);
    readers_.push_back(std::move(reader));
  }
  reader_free_.notify_one();
  return absl::IsDataLoss(status) ? Fail(status) : status;
}

void Database::CommitGroup(std::vector<Job*>& jobs) {
  std::vector<absl::Status> statuses;
  absl::Status committed = failed_ ? absl::UnavailableError("the data file has failed")
                                   : RunInOneTransaction(jobs, statuses);
  if (absl::IsDataLoss(committed)) committed = Fail(committed);
  for (size_t i = 0; i < jobs.size(); ++i) {
    jobs[i]->Finish(committed.ok() ? std::move(statuses[i]) : committed);
  }
}

absl::Status Database::RunInOneTransaction(std::vector<Job*>& jobs,
                                           std::vector<absl::Status>& statuses) {
  RETURN_IF_ERROR(writer_->Execute("BEGIN IMMEDIATE"));
  absl::Status status;
  for (Job* job : jobs) {
    status = RunInSavepoint(*job, statuses.emplace_back());
    if (!status.ok()) break;
  }
  if (status.ok()) status = writer_->Run("COMMIT");
  // A failed COMMIT may or may not have rolled back by itself; where it did, this says so.
  if (!status.ok()) writer_->Run("ROLLBACK").IgnoreError();
  return status;
}

/// Leaves in `outcome` what the job returned, its changes undone if that is an error. Returns an
/// error when the transaction can't go on.
absl::Status Database::RunInSavepoint(Job& job, absl::Status& outcome) {
  RETURN_IF_ERROR(writer_->Run("SAVEPOINT job"));
  outcome = job.Run(*writer_);
  if (absl::IsDataLoss(outcome) || !writer_->InTransaction()) return outcome;
  if (!outcome.ok()) RETURN_IF_ERROR(writer_->Run("ROLLBACK TO job"));
  return writer_->Run("RELEASE job");
}

/// Reports a failure of the file, the first time, and returns what callers are told.
absl::Status Database::Fail(const absl::Status& status) {
  if (!failed_.exchange(true) && options_.on_failure) options_.on_failure(status);
  return absl::UnavailableError(status.message());
}

}  // namespace ecom::adapters::embedded
