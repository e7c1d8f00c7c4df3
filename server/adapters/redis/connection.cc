#include "adapters/redis/connection.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace ecom::adapters::redis {
namespace {

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

Connection::Connection(Options options) : options_(std::move(options)) {}
Connection::~Connection() = default;

absl::StatusOr<std::vector<Reply>> Connection::Run(std::span<const Command> commands) {
  return base::Counted(calls_, [&]() -> absl::StatusOr<std::vector<Reply>> {
    ASSIGN_OR_RETURN(std::vector<Reply> replies, Exchange(commands, ""));
    RETURN_IF_ERROR(FirstError(replies));
    return replies;
  });
}

absl::StatusOr<std::vector<Reply>> Connection::RunScripts(std::span<const ScriptCall> calls,
                                                          std::string_view home) {
  return base::Counted(calls_, [&] { return TryScripts(calls, home); });
}

absl::StatusOr<std::vector<Reply>> Connection::TryScripts(std::span<const ScriptCall> calls,
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
  return base::Counted(calls_, [&] { return AskHome(); });
}

absl::StatusOr<std::string> Connection::AskHome() {
  std::lock_guard lock(mutex_);
  if (!link_ || !link_->StillOpen()) {
    RETURN_IF_ERROR(EnsureConnected());
  } else {
    RETURN_IF_ERROR(LearnHomeAgain());
  }
  return home_;
}

/// A primary that becomes a replica, and a primary again, has another history and the same
/// connections.
absl::Status Connection::LearnHomeAgain() {
  absl::Status learned = LearnHome({}, MonotonicNow() + options_.command_timeout);
  if (learned.ok()) return learned;
  link_.reset();
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
  if (!replies.ok() || std::any_of(replies->begin(), replies->end(), IsReadOnly)) link_.reset();
  return replies;
}

absl::StatusOr<std::vector<Reply>> Connection::SendAndReceive(std::span<const Command> commands,
                                                              absl::Time deadline) {
  RETURN_IF_ERROR(link_->Send(commands, deadline));
  std::vector<Reply> replies;
  replies.reserve(commands.size());
  while (replies.size() < commands.size()) {
    ASSIGN_OR_RETURN(replies.emplace_back(), link_->Receive(deadline));
  }
  return replies;
}

/// A connection that Redis closed between two calls has to be found out before sending: after it,
/// the outcome would be unknown.
absl::Status Connection::EnsureConnected() {
  if (link_ && link_->StillOpen()) return absl::OkStatus();
  link_.reset();
  const absl::Time deadline = MonotonicNow() + options_.connect_timeout;
  auto link = Link::Connect(options_.address, deadline);
  if (!link.ok()) return absl::UnavailableError(link.status().message());
  link_ = *std::move(link);
  absl::Status status = Introduce(deadline);
  if (status.ok()) return status;
  link_.reset();
  // Whatever became of the introduction, the caller's commands were not sent.
  return absl::UnavailableError(status.message());
}

/// Says who we are, and learns who is there.
absl::Status Connection::Introduce(absl::Time deadline) {
  std::vector<Command> commands = Greeting(options_.address);
  if (options_.address.database != 0) {
    commands.push_back({"SELECT", absl::StrCat(options_.address.database)});
  }
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

}  // namespace ecom::adapters::redis
