#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "adapters/redis/link.h"
#include "adapters/redis/scripts.h"
#include "base/call_stats.h"

namespace ecom::adapters::redis {

/// The value of one field of an INFO reply; empty where there is none.
std::string InfoField(const redisReply& info, std::string_view name);

/// One run of a script.
struct ScriptCall {
  const Script& script;
  std::vector<std::string> keys;
  std::vector<std::string> arguments;
};

/// One connection to one Redis, made when it is first needed and made anew after it failed.
/// Thread-safe: callers take turns, each for at most the two timeouts; for twice that when the
/// Redis turns out to be another one, or does not have the script.
class Connection {
 public:
  struct Options {
    Address address;
    /// From the first packet to a connection whose Redis has said who it is; looking up a host's
    /// name is not bounded by it.
    absl::Duration connect_timeout = absl::Milliseconds(500);
    /// From the first byte sent to the last byte of the last answer.
    absl::Duration command_timeout = absl::Milliseconds(500);
  };

  explicit Connection(Options options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Runs `commands` in one round trip. Never tries again.
  ///
  /// Returns their replies, none of them an error, or the status of the first error, as in error.h.
  absl::StatusOr<std::vector<Reply>> Run(std::span<const Command> commands);

  /// Runs `calls` in one round trip; in two when Redis does not have one of the scripts, which it
  /// keeps from then on. Replies and errors as Run's; and with a `home`, FAILED_PRECONDITION when
  /// the Redis behind this connection is another one: nothing was sent.
  absl::StatusOr<std::vector<Reply>> RunScripts(std::span<const ScriptCall> calls,
                                                std::string_view home = "");

  /// Names the Redis behind this connection and its history: run_id and master_replid, of which one
  /// changes with a restart, the other with a failover. One round trip: a connection may outlive a
  /// change of history. Connects if need be.
  absl::StatusOr<std::string> Home();

  /// Run, RunScripts and Home: how long they took, their turn included, and how they ended.
  base::CallStats::Snapshot calls() const { return calls_.snapshot(); }

 private:
  absl::StatusOr<std::vector<Reply>> TryScripts(std::span<const ScriptCall> calls,
                                                std::string_view home);
  absl::StatusOr<std::string> AskHome();
  absl::StatusOr<std::vector<Reply>> Exchange(std::span<const Command> commands,
                                              std::string_view home);
  absl::StatusOr<std::vector<Reply>> SendAndReceive(std::span<const Command> commands,
                                                    absl::Time deadline);
  absl::Status EnsureConnected();
  absl::Status Introduce(absl::Time deadline);
  absl::Status LearnHome(std::vector<Command> commands, absl::Time deadline);
  absl::Status LearnHomeAgain();

  const Options options_;
  base::CallStats calls_;
  std::mutex mutex_;
  std::unique_ptr<Link> link_;
  std::string home_;  // of the Redis behind link_
};

}  // namespace ecom::adapters::redis
