#pragma once

#include <gtest/gtest.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "support/temporary_folder.h"

namespace ecom::tests {

/// A redis-server of the test's own (Debian package redis-server): on a Unix socket in a temporary
/// folder, nothing on disk. Ends with this object, and with the process. A server that does not
/// come up ends the test program. Not thread-safe.
class RedisServer {
 public:
  RedisServer() { Start(); }
  ~RedisServer() { Kill(); }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  std::string socket_path() const { return folder_.path() + "/redis.sock"; }

  /// Starts the server again after Kill, empty.
  void Start() {
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(1);
      execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket_path().c_str(),
             "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--dir",
             folder_.path().c_str(), "--logfile", log_path().c_str(), "--enable-debug-command",
             "yes", nullptr);
      std::perror("redis-server");
      _exit(127);
    }
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (!Answers()) {
      if (waitpid(pid_, nullptr, WNOHANG) == pid_ || absl::Now() > deadline) {
        std::fprintf(stderr, "redis-server (Debian package redis-server) does not come up\n");
        std::abort();
      }
      poll(nullptr, 0, 5);  // nothing to wait on before the socket exists
    }
  }

  void Kill() {
    if (pid_ <= 0) return;
    context_.reset();
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
    unlink(socket_path().c_str());
  }

  /// As after a crash that lost nothing: the keys are there, the process is another one.
  void RestartWithItsKeys() {
    Do({"SAVE"});
    Kill();
    Start();
    unlink((folder_.path() + "/dump.rdb").c_str());
  }

  /// Returns when the server stands still.
  void Freeze() {
    kill(pid_, SIGSTOP);
    waitpid(pid_, nullptr, WUNTRACED);
  }
  void Thaw() { kill(pid_, SIGCONT); }

  /// What a person would do with redis-cli. Returns the reply as text: of an array its elements,
  /// one a line; of an error "ERROR" and its text.
  std::string Do(const std::vector<std::string>& command) {
    if (!context_) context_.reset(redisConnectUnix(socket_path().c_str()));
    std::vector<const char*> texts;
    std::vector<size_t> sizes;
    for (const std::string& argument : command) {
      texts.push_back(argument.data());
      sizes.push_back(argument.size());
    }
    auto* reply = static_cast<redisReply*>(redisCommandArgv(
        context_.get(), static_cast<int>(texts.size()), texts.data(), sizes.data()));
    if (reply == nullptr) {
      ADD_FAILURE() << command[0] << ": " << context_->errstr;
      context_.reset();
      return "";
    }
    std::string text = TextOf(*reply);
    freeReplyObject(reply);
    return text;
  }

  /// The clock that the server decides by.
  absl::Time Now() {
    const std::string time = Do({"TIME"});  // seconds, newline, microseconds
    const size_t end = time.find('\n');
    return absl::FromUnixSeconds(std::stoll(time.substr(0, end))) +
           absl::Microseconds(std::stoll(time.substr(end + 1)));
  }

  /// How often the server ran a command, as INFO commandstats has it.
  int64_t CallsOf(const std::string& command) {
    const std::string stats = Do({"INFO", "commandstats"});
    const std::string key = "cmdstat_" + command + ":calls=";
    const size_t at = stats.find(key);
    return at == stats.npos ? 0 : std::stoll(stats.substr(at + key.size()));
  }

 private:
  struct ContextDeleter {
    void operator()(redisContext* context) const { redisFree(context); }
  };

  std::string log_path() const { return folder_.path() + "/redis.log"; }

  bool Answers() {
    if (access(socket_path().c_str(), F_OK) != 0) return false;
    const std::unique_ptr<redisContext, ContextDeleter> context(
        redisConnectUnix(socket_path().c_str()));
    if (!context || context->err != 0) return false;
    auto* reply = static_cast<redisReply*>(redisCommand(context.get(), "PING"));
    const bool answers = reply != nullptr && reply->type == REDIS_REPLY_STATUS;
    if (reply != nullptr) freeReplyObject(reply);
    return answers;
  }

  static std::string TextOf(const redisReply& reply) {
    switch (reply.type) {
      case REDIS_REPLY_INTEGER: return std::to_string(reply.integer);
      case REDIS_REPLY_NIL: return "";
      case REDIS_REPLY_ERROR: return "ERROR " + std::string(reply.str, reply.len);
      case REDIS_REPLY_ARRAY: {
        std::string text;
        for (size_t i = 0; i < reply.elements; ++i) {
          if (i > 0) text += '\n';
          text += TextOf(*reply.element[i]);
        }
        return text;
      }
      default: return {reply.str, reply.len};
    }
  }

  TemporaryFolder folder_;
  pid_t pid_ = 0;
  std::unique_ptr<redisContext, ContextDeleter> context_;
};

/// The test program's server, emptied.
inline RedisServer& EmptyRedisServer() {
  static RedisServer server;
  server.Do({"FLUSHALL"});
  return server;
}

}  // namespace ecom::tests
