#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "adapters/mysql/connection.h"

namespace ecom::adapters::mysql {

/// Connections to one database, opened when they are needed and kept. Thread-safe.
class ConnectionPool {
 public:
  struct Options {
    Endpoint endpoint;
    Timeouts timeouts;
    /// Connections at most: what runs at once beyond it waits. Each costs the database a thread.
    int connections_max = 8;
    /// How long a caller waits for a connection that another one has.
    absl::Duration acquire_timeout = absl::Seconds(2);
    /// A connection that was idle for longer is asked whether it still stands, which costs a round
    /// trip; under load none is.
    absl::Duration idle_max = absl::Seconds(1);
  };

  /// A connection, until this object ends.
  class Lease {
   public:
    Lease(ConnectionPool& pool, std::unique_ptr<Connection> connection)
        : pool_(&pool), connection_(std::move(connection)) {}
    Lease(Lease&&) = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (connection_) pool_->Release(std::move(connection_));
    }

    Connection& operator*() const { return *connection_; }
    Connection* operator->() const { return connection_.get(); }

   private:
    ConnectionPool* pool_;
    std::unique_ptr<Connection> connection_;
  };

  /// Does not connect: a database that is down is waited for, not died of.
  explicit ConnectionPool(Options options) : options_(std::move(options)) {}

  /// Takes a connection that stands, or opens one. Blocks up to the acquire timeout and the
  /// connect timeout.
  ///
  /// * UNAVAILABLE: all are busy, or the database cannot be reached; ask again.
  /// * PERMISSION_DENIED, FAILED_PRECONDITION: as configured, it never will be.
  absl::StatusOr<Lease> Acquire();

  /// How much of the pool is in use.
  struct Use {
    int in_use = 0;
    int size = 0;     ///< connections at most
    int waiting = 0;  ///< callers for whom there is none
  };
  Use use() const;

  /// The statements on its connections: how long they took, and how they ended. A caller who got no
  /// connection is counted as one, too.
  base::CallStats::Snapshot calls() const { return calls_.snapshot(); }

 private:
  struct Idle {
    std::unique_ptr<Connection> connection;
    absl::Time since;
  };

  void Release(std::unique_ptr<Connection> connection);
  absl::StatusOr<std::unique_ptr<Connection>> TakeOrOpen();
  void GiveUpPlace();
  absl::StatusOr<Lease> TryAcquire();

  const Options options_;
  base::CallStats calls_;
  mutable std::mutex mutex_;
  std::condition_variable released_;
  int leased_ = 0;
  int waiting_ = 0;
  std::vector<Idle> idle_;  // the last one used is the first one taken
};

}  // namespace ecom::adapters::mysql
