#include "adapters/redis/link.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace ecom::adapters::redis {
namespace {

void AppendRespTo(std::string& bytes, const Command& command) {
  absl::StrAppend(&bytes, "*", command.size(), "\r\n");
  for (const std::string& argument : command) {
    absl::StrAppend(&bytes, "$", argument.size(), "\r\n", argument, "\r\n");
  }
}

absl::Status TimedOut(Progress progress) {
  return RedisStatus(REDIS_ERR_IO, ETIMEDOUT, progress, "wait");
}

}  // namespace

std::vector<Command> Greeting(const Address& address) {
  if (address.password.empty()) return {};
  Command auth = {"AUTH"};
  if (!address.user.empty()) auth.push_back(address.user);
  auth.push_back(address.password);
  return {std::move(auth)};
}

void ReplyDeleter::operator()(redisReply* reply) const { freeReplyObject(reply); }
void Link::ContextDeleter::operator()(redisContext* context) const { redisFree(context); }

std::string_view TextOf(const redisReply& reply) {
  return reply.str == nullptr ? std::string_view() : std::string_view(reply.str, reply.len);
}

std::span<redisReply* const> ElementsOf(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_ARRAY) return {};
  return {reply.element, reply.elements};
}

Link::~Link() = default;

absl::StatusOr<std::unique_ptr<Link>> Link::Connect(const Address& address, absl::Time deadline) {
  std::unique_ptr<Link> link(new Link(address.socket_path.empty()
                                          ? redisConnectNonBlock(address.host.c_str(), address.port)
                                          : redisConnectUnixNonBlock(address.socket_path.c_str())));
  RETURN_IF_ERROR(link->FinishConnecting(deadline));
  return link;
}

absl::Status Link::FinishConnecting(absl::Time deadline) {
  if (!context_) return RedisStatus(REDIS_ERR_OOM, 0, Progress::kNothingSent, "connect");
  if (context_->err != 0) {
    return RedisStatus(context_->err, errno, Progress::kNothingSent,
                       absl::StrCat("connect (", static_cast<const char*>(context_->errstr), ")"));
  }
  ASSIGN_OR_RETURN(const bool ready, Wait(POLLOUT, deadline, Progress::kNothingSent));
  if (!ready) return TimedOut(Progress::kNothingSent);
  int error = 0;
  socklen_t size = sizeof(error);
  if (getsockopt(context_->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) return RedisStatus(REDIS_ERR_IO, error, Progress::kNothingSent, "connect");
  context_->reader->maxbuf = 0;  // else hiredis frees and makes its buffer for each big answer
  return absl::OkStatus();
}

absl::Status Link::Send(std::span<const Command> commands, absl::Time deadline) {
  std::string bytes;
  for (const Command& command : commands) AppendRespTo(bytes, command);
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
    ASSIGN_OR_RETURN(const bool ready, Wait(POLLOUT, deadline, progress));
    if (!ready) return TimedOut(progress);
  }
  return absl::OkStatus();
}

absl::StatusOr<Reply> Link::Receive(absl::Time deadline) {
  ASSIGN_OR_RETURN(Reply reply, Await(deadline));
  if (reply == nullptr) return TimedOut(Progress::kSent);
  return reply;
}

absl::StatusOr<Reply> Link::Await(absl::Time deadline) {
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
      ASSIGN_OR_RETURN(const bool ready, Wait(POLLIN, deadline, Progress::kSent));
      if (!ready) return Reply();
      continue;
    }
    if (redisReaderFeed(context_->reader, buffer.data(), static_cast<size_t>(taken)) != REDIS_OK) {
      return RedisStatus(context_->reader->err, 0, Progress::kSent, "receive");
    }
  }
}

bool Link::StillOpen() const {
  char byte = 0;
  const ssize_t peeked = recv(context_->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return peeked < 0 && (errno == EAGAIN || errno == EINTR);
}

/// False when the deadline has passed first.
absl::StatusOr<bool> Link::Wait(short events, absl::Time deadline, Progress progress) {
  for (;;) {
    const absl::Duration left = std::max(deadline - MonotonicNow(), absl::ZeroDuration());
    const timespec timeout = absl::ToTimespec(left);
    pollfd waiting = {.fd = context_->fd, .events = events, .revents = 0};
    const int ready = ppoll(&waiting, 1, &timeout, nullptr);
    if (ready > 0) return true;
    if (ready == 0) return false;
    if (errno != EINTR) return RedisStatus(REDIS_ERR_IO, errno, progress, "wait");
  }
}

}  // namespace ecom::adapters::redis
