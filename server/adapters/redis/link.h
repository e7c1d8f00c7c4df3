#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "adapters/redis/error.h"
#include "base/clock.h"

struct redisContext;
struct redisReply;

namespace ecom::adapters::redis {

/// Where a Redis listens: a TCP address, or a Unix socket when `socket_path` is not empty.
struct Address {
  std::string host;
  int port = 0;
  std::string socket_path;
  /// Of an ACL user; empty: the default one. Without a password nobody is authenticated.
  std::string user;
  std::string password;
  int database = 0;
};

struct ReplyDeleter {
  void operator()(redisReply* reply) const;
};
using Reply = std::unique_ptr<redisReply, ReplyDeleter>;

/// The text of a reply, as long as that lives; empty where it has none.
std::string_view TextOf(const redisReply& reply);

/// The elements of a reply, as long as that lives; none where it is no array.
std::span<redisReply* const> ElementsOf(const redisReply& reply);

/// A command's name and arguments.
using Command = std::vector<std::string>;

/// What a caller of Redis has to say first: AUTH, where the address has a password.
std::vector<Command> Greeting(const Address& address);

using base::MonotonicNow;

/// One stream to one Redis, for as long as it holds. Each deadline is one of MonotonicNow(). Not
/// thread-safe. After an error it is of no use any more: what comes late would be taken for the
/// answer to another command.
class Link {
 public:
  /// Connects; looking up a host's name is not bounded by the deadline. UNAVAILABLE.
  static absl::StatusOr<std::unique_ptr<Link>> Connect(const Address& address, absl::Time deadline);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  /// Sends commands. Errors as in error.h.
  absl::Status Send(std::span<const Command> commands, absl::Time deadline);

  /// Waits for the next answer, which may be an error of Redis. Errors as in error.h, of a call
  /// that was sent.
  absl::StatusOr<Reply> Receive(absl::Time deadline);

  /// As Receive; but null when nothing has come by the deadline, which is no error. One in the past
  /// asks for what is there.
  absl::StatusOr<Reply> Await(absl::Time deadline);

  /// False when Redis has closed the stream, or something came that nobody asked for.
  bool StillOpen() const;

 private:
  struct ContextDeleter {
    void operator()(redisContext* context) const;
  };

  explicit Link(redisContext* context) : context_(context) {}
  absl::Status FinishConnecting(absl::Time deadline);
  absl::StatusOr<bool> Wait(short events, absl::Time deadline, Progress progress);

  std::unique_ptr<redisContext, ContextDeleter> context_;
};

}  // namespace ecom::adapters::redis
