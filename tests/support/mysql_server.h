#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "adapters/mysql/connection_pool.h"
#include "adapters/mysql/schema.h"
#include "support/free_port.h"
#include "support/temporary_folder.h"

namespace ecom::tests {

/// Ends the program, with the reason, when what a test stands on failed.
inline void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

/// A database server of this test program's own: behind a Unix socket in a temporary folder and a
/// port that was free, with the durability of production, and gone when the program is, however it
/// ends. Without MariaDB on the machine the program fails.
class MysqlServer {
 public:
  /// The program's server, started at the first call.
  static MysqlServer& Get() {
    static MysqlServer server;
    return server;
  }

  MysqlServer(const MysqlServer&) = delete;
  MysqlServer& operator=(const MysqlServer&) = delete;
  ~MysqlServer() { Kill(); }

  /// Starts the server on its data, and waits until it answers.
  void Start() {
    std::vector<std::string> arguments = {
        "mariadbd",
        "--no-defaults",
        "--datadir=" + data(),
        "--socket=" + socket(),
        "--pid-file=" + folder_.path() + "/mysql.pid",
        "--bind-address=127.0.0.1",
        "--port=" + std::to_string(port_),
        "--skip-log-bin",
        "--skip-name-resolve",
        "--character-set-server=utf8mb4",
        "--default-time-zone=+09:00",  // so that whoever relies on the server's zone is seen
        "--innodb-flush-log-at-trx-commit=1",
        "--innodb-buffer-pool-size=32M",
        "--innodb-log-file-size=16M",
        "--performance-schema=OFF",
        "--key-buffer-size=1M",
        "--max-connections=50"};
    if (geteuid() == 0) arguments.emplace_back("--user=root");
    process_ = Spawn(arguments);
    const absl::Time until = absl::Now() + absl::Seconds(60);
    for (;;) {
      const absl::Status answered = Query("", "DO 1");
      if (answered.ok()) return;
      if (waitpid(process_, nullptr, WNOHANG) == process_) {
        process_ = -1;
        Die("mariadbd ended");
      }
      if (absl::Now() > until) Die("mariadbd does not answer: " + std::string(answered.message()));
      absl::SleepFor(absl::Milliseconds(10));  // between two looks at it
    }
  }

  /// Ends the server as a crash would.
  void Kill() {
    if (process_ <= 0) return;
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
    process_ = -1;
  }

  /// How to reach `database` on this server.
  adapters::mysql::Endpoint endpoint(const std::string& database) const {
    return {.socket = socket(), .user = "root", .database = database};
  }

  /// How a program is told to reach `database`: MYSQL_URL.
  std::string url(const std::string& database) const {
    return "mysql://root@127.0.0.1:" + std::to_string(port_) + "/" + database;
  }

  /// Runs a script on a connection of its own, as a person would.
  absl::Status Query(const std::string& database, const std::string& script) const {
    base::CallStats calls;
    auto connection = adapters::mysql::Connection::Open(endpoint(database), {}, calls);
    if (!connection.ok()) return connection.status();
    return (*connection)->ExecuteAll(script);
  }

  /// Makes the test's database anew, and empty.
  void MakeEmptyDatabase() const {
    Require(Query("", "DROP DATABASE IF EXISTS ecommerce; CREATE DATABASE ecommerce"));
  }

 private:
  MysqlServer() {
    std::vector<std::string> install = {"mariadb-install-db",
                                        "--no-defaults",
                                        "--datadir=" + data(),
                                        "--auth-root-authentication-method=normal",
                                        "--skip-test-db",
                                        "--skip-log-bin",
                                        "--innodb-log-file-size=16M"};
    if (geteuid() == 0) install.emplace_back("--user=root");
    int status = -1;
    if (waitpid(Spawn(install), &status, 0) < 0 || status != 0) Die("mariadb-install-db failed");
    Start();
  }

  std::string data() const { return folder_.path() + "/data"; }
  std::string socket() const { return folder_.path() + "/mysql.sock"; }
  std::string log() const { return folder_.path() + "/log"; }

  pid_t Spawn(const std::vector<std::string>& arguments) const {
    std::vector<char*> pointers;
    for (const std::string& argument : arguments) {
      pointers.push_back(const_cast<char*>(argument.c_str()));
    }
    pointers.push_back(nullptr);
    const int output = open(log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child != 0) {
      close(output);
      return child;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);  // it ended before the line above
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    execvp(pointers[0], pointers.data());
    _exit(127);
  }

  [[noreturn]] void Die(const std::string& why) const {
    std::ifstream file(log());
    const std::string output(std::istreambuf_iterator<char>(file), {});
    std::fprintf(stderr, "%s; these tests need Debian's mariadb-server. Its output:\n%s\n",
                 why.c_str(), output.c_str());
    std::abort();
  }

  TemporaryFolder folder_;
  const int port_ = FreePort();
  pid_t process_ = -1;
};

/// A fresh database with the schema, and a pool of connections to it.
class MysqlDatabase {
 public:
  MysqlDatabase() {
    server_.MakeEmptyDatabase();
    Require(adapters::mysql::Migrate(pool_));
  }

  MysqlServer& server() { return server_; }
  adapters::mysql::ConnectionPool& pool() { return pool_; }

  /// Runs a script as a person would.
  absl::Status Query(const std::string& script) { return server_.Query("ecommerce", script); }

  /// The first column of each row that `sql` answers, as text.
  std::vector<std::string> Texts(const std::string& sql) {
    std::vector<std::string> texts;
    Require(ReadTexts(sql, texts));
    return texts;
  }

  /// The first column of the only row that `sql` answers, a number.
  int64_t Count(const std::string& sql) {
    return std::atoll(Texts("SELECT CAST((" + sql + ") AS CHAR(20))").at(0).c_str());
  }

 private:
  absl::Status ReadTexts(const std::string& sql, std::vector<std::string>& texts) {
    auto connection = pool_.Acquire();
    if (!connection.ok()) return connection.status();
    auto select = (*connection)->Prepare(sql);
    if (!select.ok()) return select.status();
    for (;;) {
      auto more = select->Step();
      if (!more.ok() || !*more) return more.status();
      texts.emplace_back(select->Text(0));
    }
  }

  MysqlServer& server_ = MysqlServer::Get();
  adapters::mysql::ConnectionPool pool_{
      {.endpoint = server_.endpoint("ecommerce"), .timeouts = {.lock_wait = absl::Seconds(3)}}};
};

}  // namespace ecom::tests
