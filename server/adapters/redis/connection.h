#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "adapters/redis/error.h"
#include "adapters/redis/scripts.h"
#include "adapters/redis/url.h"

struct redisContext;
struct redisReply;

namespace ecom::adapters::redis {

struct ReplyDeleter {
  void operator()(redisReply* reply) const;
};
using Reply = std::unique_ptr<redisReply, ReplyDeleter>;

/// A command's name and arguments.
using Command = std::vector<std::string>;

/// One run of a script.
struct ScriptCall {
  const Script& script;
  std::vector<std::string> keys;
  std::vector<std::string> arguments;
};

/// One connection to one Redis, made when it is first needed and made anew after it failed.
/// Thread-safe: callers take turns, each for at most the two timeouts.
class Connection {
 public:
  struct Options {
    Address address;
    /// From the first packet to an open connection; looking up a host's name is not bounded by it.
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
  /// keeps from then on. Replies and errors as Run's.
  absl::StatusOr<std::vector<Reply>> RunScripts(std::span<const ScriptCall> calls);

 private:
  struct ContextDeleter {
    void operator()(redisContext* context) const;
  };

  absl::StatusOr<std::vector<Reply>> Exchange(std::span<const Command> commands);
  absl::Status EnsureConnected();
  bool StillOpen() const;
  absl::Status Send(const std::string& bytes, absl::Time deadline);
  absl::StatusOr<Reply> Receive(absl::Time deadline);
  absl::Status Wait(short events, absl::Time deadline, Progress progress);

  const Options options_;
  std::mutex mutex_;
  std::unique_ptr<redisContext, ContextDeleter> context_;
};

}  // namespace ecom::adapters::redis
