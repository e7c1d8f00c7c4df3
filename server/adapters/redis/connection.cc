#include "adapters/redis/connection.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace ecom::adapters::redis {
namespace {

/// CLOCK_MONOTONIC as an absl::Time, so that deadlines read well. No wall clock: that may jump.
absl::Time MonotonicNow() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::TimeFromTimespec(now);
}

void AppendRespTo(std::string& bytes, const Command& command) {
  absl::StrAppend(&bytes, "*", command.size(), "\r\n");
  for (const std::string& argument : command) {
    absl::StrAppend(&bytes, "$", argument.size(), "\r\n", argument, "\r\n");
  }
}

Command CommandOf(const ScriptCall& call, std::string_view name, std::string_view script) {
  Command command = {std::string(name), std::string(script), absl::StrCat(call.keys.size())};
  command.reserve(command.size() + call.keys.size() + call.arguments.size());
  command.insert(command.end(), call.keys.begin(), call.keys.end());
  command.insert(command.end(), call.arguments.begin(), call.arguments.end());
  return command;
}

absl::Status StatusOf(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_ERROR) return absl::OkStatus();
  return RedisStatus(std::string_view(reply.str, reply.len));
}

absl::Status FirstError(std::span<const Reply> replies) {
  for (const Reply& reply : replies) RETURN_IF_ERROR(StatusOf(*reply));
  return absl::OkStatus();
}

bool IsReadOnly(const Reply& reply) {
  constexpr std::string_view kCode = "READONLY";
  return reply->type == REDIS_REPLY_ERROR &&
         std::string_view(reply->str, reply->len).substr(0, kCode.size()) == kCode;
}

}  // namespace

std::string InfoField(const redisReply& info, std::string_view name) {
  if (info.str == nullptr) return "";
  const std::string text = absl::StrCat("\n", std::string(info.str, info.len));
  const std::string key = absl::StrCat("\n", std::string(name), ":");
  const size_t found = text.find(key);
  if (found == text.npos) return "";
  const size_t begin = found + key.size();
  return text.substr(begin, text.find_first_of("\r\n", begin) - begin);
}

void ReplyDeleter::operator()(redisReply* reply) const { freeReplyObject(reply); }
void Connection::ContextDeleter::operator()(redisContext* context) const { redisFree(context); }

Connection::Connection(Options options) : options_(std::move(options)) {}
Connection::~Connection() = default;

absl::StatusOr<std::vector<Reply>> Connection::Run(std::span<const Command> commands) {
  ASSIGN_OR_RETURN(std::vector<Reply> replies, Exchange(commands, ""));
  RETURN_IF_ERROR(FirstError(replies));
  return replies;
}

absl::StatusOr<std::vector<Reply>> Connection::RunScripts(std::span<const ScriptCall> calls,
                                                          std::string_view home) {
  std::vector<Command> commands;
  commands.reserve(calls.size());
  for (const ScriptCall& call : calls) {
    commands.push_back(CommandOf(call, "EVALSHA", call.script.hash));
  }
  ASSIGN_OR_RETURN(std::vector<Reply> replies, Exchange(commands, home));

  std::vector<size_t> unknown;
  commands.clear();
  for (size_t i = 0; i < replies.size(); ++i) {
    if (!absl::IsNotFound(StatusOf(*replies[i]))) continue;
    unknown.push_back(i);
    commands.push_back(CommandOf(calls[i], "EVAL", calls[i].script.text));
  }
  if (!unknown.empty()) {
    ASSIGN_OR_RETURN(std::vector<Reply> again, Exchange(commands, home));
    for (size_t i = 0; i < unknown.size(); ++i) replies[unknown[i]] = std::move(again[i]);
  }
  RETURN_IF_ERROR(FirstError(replies));
  return replies;
}

absl::StatusOr<std::string> Connection::Home() {
  std::lock_guard lock(mutex_);
  if (!context_ || !StillOpen()) {
    RETURN_IF_ERROR(EnsureConnected());
  } else {
    RETURN_IF_ERROR(LearnHomeAgain());
  }
  return home_;
}

/// A primary that becomes a replica, and a primary again, has another history and the same
/// connections.
absl::Status Connection::LearnHomeAgain() {
  const absl::Status learned = LearnHome({}, MonotonicNow() + options_.command_timeout);
  if (learned.ok()) return learned;
  context_.reset();
  return absl::UnavailableError(learned.message());  // the caller's commands were not sent
}

absl::StatusOr<std::vector<Reply>> Connection::Exchange(std::span<const Command> commands,
                                                        std::string_view home) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(EnsureConnected());
  if (!home.empty() && home != home_) RETURN_IF_ERROR(LearnHomeAgain());
  if (!home.empty() && home != home_) {
    return absl::FailedPreconditionError(
        "Redis: restarted, or another one, since the gate was built");
  }
  auto replies = SendAndReceive(commands, MonotonicNow() + options_.command_timeout);
  // What comes late on this connection would be taken for the answer to another call. And one that
  // may not be written to may be about to become another primary.
  if (!replies.ok() || std::any_of(replies->begin(), replies->end(), IsReadOnly)) context_.reset();
  return replies;
}

absl::StatusOr<std::vector<Reply>> Connection::SendAndReceive(std::span<const Command> commands,
                                                              absl::Time deadline) {
  std::string bytes;
  for (const Command& command : commands) AppendRespTo(bytes, command);
  RETURN_IF_ERROR(Send(bytes, deadline));
  std::vector<Reply> replies;
  replies.reserve(commands.size());
  while (replies.size() < commands.size()) {
    ASSIGN_OR_RETURN(replies.emplace_back(), Receive(deadline));
  }
  return replies;
}

absl::Status Connection::EnsureConnected() {
  if (context_ && StillOpen()) return absl::OkStatus();
  const absl::Time deadline = MonotonicNow() + options_.connect_timeout;
  absl::Status status = Connect(deadline);
  if (status.ok()) status = Introduce(deadline);
  if (status.ok()) return status;
  context_.reset();
  // Whatever became of the introduction, the caller's commands were not sent.
  return absl::UnavailableError(status.message());
}

absl::Status Connection::Connect(absl::Time deadline) {
  const Address& address = options_.address;
  context_.reset(address.socket_path.empty()
                     ? redisConnectNonBlock(address.host.c_str(), address.port)
                     : redisConnectUnixNonBlock(address.socket_path.c_str()));
  if (!context_) return RedisStatus(REDIS_ERR_OOM, 0, Progress::kNothingSent, "connect");
  if (context_->err != 0) {
    return RedisStatus(context_->err, errno, Progress::kNothingSent,
                       absl::StrCat("connect (", static_cast<const char*>(context_->errstr), ")"));
  }
  RETURN_IF_ERROR(Wait(POLLOUT, deadline, Progress::kNothingSent));
  int error = 0;
  socklen_t size = sizeof(error);
  if (getsockopt(context_->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) return RedisStatus(REDIS_ERR_IO, error, Progress::kNothingSent, "connect");
  context_->reader->maxbuf = 0;  // else hiredis frees and makes its buffer for each big answer
  return absl::OkStatus();
}

/// Says who we are, and learns who is there.
absl::Status Connection::Introduce(absl::Time deadline) {
  const Address& address = options_.address;
  std::vector<Command> commands;
  if (!address.password.empty()) {
    Command& auth = commands.emplace_back(Command{"AUTH"});
    if (!address.user.empty()) auth.push_back(address.user);
    auth.push_back(address.password);
  }
  if (address.database != 0) commands.push_back({"SELECT", absl::StrCat(address.database)});
  return LearnHome(std::move(commands), deadline);
}

/// Learns who is there, after these commands.
absl::Status Connection::LearnHome(std::vector<Command> commands, absl::Time deadline) {
  commands.push_back({"INFO", "server"});
  commands.push_back({"INFO", "replication"});
  ASSIGN_OR_RETURN(const std::vector<Reply> replies, SendAndReceive(commands, deadline));
  RETURN_IF_ERROR(FirstError(replies));
  const size_t last = replies.size() - 1;
  const std::string run_id = InfoField(*replies[last - 1], "run_id");
  const std::string history = InfoField(*replies[last], "master_replid");
  if (run_id.empty() || history.empty()) {
    return absl::UnavailableError("Redis: INFO does not name its run_id and master_replid");
  }
  home_ = absl::StrCat(run_id, "/", history);
  return absl::OkStatus();
}

/// A connection that Redis closed between two calls has to be found out before sending: after it,
/// the outcome would be unknown.
bool Connection::StillOpen() const {
  char byte = 0;
  const ssize_t peeked = recv(context_->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return peeked < 0 && (errno == EAGAIN || errno == EINTR);
}

absl::Status Connection::Send(const std::string& bytes, absl::Time deadline) {
  size_t sent = 0;
  while (sent < bytes.size()) {
    const Progress progress = sent == 0 ? Progress::kNothingSent : Progress::kSent;
    const ssize_t taken =
        send(context_->fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken >= 0) {
      sent += static_cast<size_t>(taken);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return RedisStatus(REDIS_ERR_IO, errno, progress, "send");
    RETURN_IF_ERROR(Wait(POLLOUT, deadline, progress));
  }
  return absl::OkStatus();
}

absl::StatusOr<Reply> Connection::Receive(absl::Time deadline) {
  std::array<char, 16384> buffer;
  for (;;) {
    void* reply = nullptr;
    if (redisReaderGetReply(context_->reader, &reply) != REDIS_OK) {
      return RedisStatus(context_->reader->err, 0, Progress::kSent, "receive");
    }
    if (reply != nullptr) return Reply(static_cast<redisReply*>(reply));
    const ssize_t taken = recv(context_->fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (taken == 0) return RedisStatus(REDIS_ERR_EOF, 0, Progress::kSent, "receive");
    if (taken < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return RedisStatus(REDIS_ERR_IO, errno, Progress::kSent, "receive");
      RETURN_IF_ERROR(Wait(POLLIN, deadline, Progress::kSent));
      continue;
    }
    if (redisReaderFeed(context_->reader, buffer.data(), static_cast<size_t>(taken)) != REDIS_OK) {
      return RedisStatus(context_->reader->err, 0, Progress::kSent, "receive");
    }
  }
}

absl::Status Connection::Wait(short events, absl::Time deadline, Progress progress) {
  for (;;) {
    const absl::Duration left = std::max(deadline - MonotonicNow(), absl::ZeroDuration());
    const timespec timeout = absl::ToTimespec(left);
    pollfd waiting = {.fd = context_->fd, .events = events, .revents = 0};
    const int ready = ppoll(&waiting, 1, &timeout, nullptr);
    if (ready > 0) return absl::OkStatus();
    if (ready == 0) return RedisStatus(REDIS_ERR_IO, ETIMEDOUT, progress, "wait");
    if (errno != EINTR) return RedisStatus(REDIS_ERR_IO, errno, progress, "wait");
  }
}

}  // namespace ecom::adapters::redis
