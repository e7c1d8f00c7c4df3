#include "adapters/mysql/connection_pool.h"

#include "absl/time/clock.h"
#include "base/status_macros.h"

namespace ecom::adapters::mysql {

absl::StatusOr<ConnectionPool::Lease> ConnectionPool::Acquire() {
  const absl::Time began = base::MonotonicNow();
  auto lease = TryAcquire();
  if (!lease.ok()) {
    calls_.Started();
    calls_.Ended(base::CodeOf(lease), base::MonotonicNow() - began);
  }
  return lease;
}

ConnectionPool::Use ConnectionPool::use() const {
  std::lock_guard lock(mutex_);
  return {.in_use = leased_, .size = options_.connections_max, .waiting = waiting_};
}

absl::StatusOr<ConnectionPool::Lease> ConnectionPool::TryAcquire() {
  {
    std::unique_lock lock(mutex_);
    ++waiting_;
    const bool free = released_.wait_for(lock, absl::ToChronoNanoseconds(options_.acquire_timeout),
                                         [&] { return leased_ < options_.connections_max; });
    --waiting_;
    if (!free) {
      return absl::UnavailableError("all connections to the database are busy");
    }
    ++leased_;
  }
  auto connection = TakeOrOpen();
  if (!connection.ok()) {
    GiveUpPlace();
    return connection.status();
  }
  return Lease(*this, *std::move(connection));
}

absl::StatusOr<std::unique_ptr<Connection>> ConnectionPool::TakeOrOpen() {
  for (;;) {
    Idle idle;
    {
      std::lock_guard lock(mutex_);
      if (idle_.empty()) break;
      idle = std::move(idle_.back());
      idle_.pop_back();
    }
    if (absl::Now() - idle.since < options_.idle_max || idle.connection->Ping()) {
      return std::move(idle.connection);
    }
  }
  return Connection::Open(options_.endpoint, options_.timeouts, calls_);
}

void ConnectionPool::Release(std::unique_ptr<Connection> connection) {
  std::vector<Idle> abandoned;  // closed outside the lock
  {
    std::lock_guard lock(mutex_);
    --leased_;
    if (connection->usable() && !connection->discarded()) {
      idle_.push_back({std::move(connection), absl::Now()});
    } else if (!connection->usable()) {
      // What broke this one has probably broken the others: one error for an outage is enough.
      abandoned.swap(idle_);
    }
  }
  released_.notify_one();
}

void ConnectionPool::GiveUpPlace() {
  {
    std::lock_guard lock(mutex_);
    --leased_;
  }
  released_.notify_one();
}

}  // namespace ecom::adapters::mysql
