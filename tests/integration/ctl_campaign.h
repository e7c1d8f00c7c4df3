#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <future>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "adapters/kafka/claim_source.h"
#include "adapters/mysql/sample_loader.h"
#include "app/config.h"
#include "app/stack_backing.h"
#include "base/clock.h"
#include "base/log.h"
#include "coupon/claim_writer.h"
#include "coupon/directory.h"
#include "coupon/issuer.h"
#include "coupon/reconciler.h"
#include "coupon/recorder.h"
#include "ctl/commands.h"
#include "support/kafka_backend.h"
#include "support/mysql_server.h"
#include "support/redis_server.h"
#include "support/temporary_folder.h"

namespace ecom::tests {

/// A Redis, a Kafka and a MariaDB of the test program's own, with the names of production, and one
/// recorder, which stands in for a running server's.
class CtlStack {
 public:
  static CtlStack& Get() {
    static CtlStack stack;
    return stack;
  }

  /// What tells ecomctl where the stack is.
  const app::Environment& environment() const { return environment_; }
  const base::Clock& clock() const { return clock_; }
  app::StackBacking& backing() { return *backing_; }
  RedisServer& redis() { return redis_; }
  MysqlDatabase& database() { return database_; }
  KafkaServer& kafka() { return kafka_; }

  /// By the same name as before, so that Kafka hands the partitions over at once.
  void StartRecorder() {
    source_ = Made(adapters::kafka::KafkaClaimSource::Create(
        {.brokers = kafka_.brokers(), .instance = "ctl-test"}));
    recorder_ = std::make_unique<coupon::Recorder>(
        coupon::Recorder::Options{.poll_timeout = absl::Milliseconds(5)},
        coupon::Recorder::Deps{.source = *source_,
                               .store = backing_->coupon_store(),
                               .gate = backing_->gate(),
                               .dead_letters = backing_->dead_letters(),
                               .feed = backing_->feed(),
                               .clock = clock_,
                               .on_over_admitted = [](coupon::CouponId) {}});
  }
  void StopRecorder() {
    recorder_.reset();
    source_.reset();
  }

 private:
  CtlStack() {
    base::SetLogLevel(base::Level::kError);
    for (const auto& [topic, partitions] :
         {std::pair("coupon-issue", 3), {"coupon-issue.DLT", 1}, {"coupon-issued", 3}}) {
      kafka_.MakeTopicNamed(topic, partitions);
    }
    environment_ = {{"REDIS_URL", "unix://" + redis_.socket_path()},
                    {"KAFKA_BROKERS", kafka_.brokers()},
                    {"MYSQL_URL", database_.server().url("ecommerce")},
                    {"DATA_DIR", folder_.path()},
                    {"ECOM_ACK_DEADLINE", "1s"},
                    {"ECOM_RECONCILE_INTERVAL", "10ms"}};
    const std::vector<std::string> arguments = {"--backend=stack"};
    const app::ParsedConfig parsed =
        Made(app::ParseConfig(arguments, environment_, app::ReadConfigFile));
    backing_ = Made(app::StackBacking::Create(parsed.config, clock_));
    Require(backing_->Prepare(nullptr));
    if (!Eventually([&] { return backing_->log().Ready().ok(); })) std::abort();
    StartRecorder();
  }

  TemporaryFolder folder_;
  base::SystemClock clock_;
  RedisServer& redis_ = EmptyRedisServer();
  KafkaServer& kafka_ = KafkaServer::Get();
  MysqlDatabase database_;
  app::Environment environment_;
  std::unique_ptr<app::StackBacking> backing_;
  std::unique_ptr<adapters::kafka::KafkaClaimSource> source_;
  std::unique_ptr<coupon::Recorder> recorder_;
};

/// A line of a journal.
struct JournalEntry {
  int64_t user = 0;
  std::string answer;
  std::string key;
  std::string request_id;
  int64_t invoke_ns = 0;
  int64_t done_ns = 0;
};

/// What ecomctl answered.
struct CtlAnswer {
  ctl::Exit exit = ctl::Exit::kUnable;
  std::string out;
  std::string error;

  nlohmann::json json() const { return nlohmann::json::parse(out, nullptr, false); }
};

using Users = std::vector<int64_t>;

/// Users by rule and text: what `verify` found.
using FoundUsers = std::map<std::pair<std::string, std::string>, Users>;

inline FoundUsers FindingsOf(const CtlAnswer& answer) {
  FoundUsers found;
  const nlohmann::json json = answer.json();
  if (!json.contains("findings")) {
    ADD_FAILURE() << answer.out << answer.error;
    return found;
  }
  for (const auto& finding : json["findings"]) {
    found[{finding["invariant"], finding["what"]}] = finding["users"].get<Users>();
  }
  return found;
}

/// A campaign on the stack with the real issuer, reconciler and recorder, and ecomctl beside it.
/// Nothing repairs by itself: the reconciler's passes are the test's to call. Each test has a
/// coupon of its own, and takes it away at its end.
class CtlCampaign : public testing::Test {
 protected:
  static constexpr uint64_t kSeed = 20251225;

  ~CtlCampaign() override {
    issuer_.Stop();
    writer_.Stop();
    Require(
        database().Query("DELETE FROM coupons; DELETE FROM coupon_issues; "
                         "DELETE FROM coupon_rejections"));
    Require(backing().gate().Disarm(id_));
    Run({"dlt", "discard", "--all"});
  }

  /// Defines the coupon, with its gate open.
  void Open(int64_t total) {
    Define(total);
    ASSERT_TRUE(Eventually([&] { return reconciler_.EnsureArmed(id_).ok(); }));
  }

  void Define(int64_t total, absl::Duration until_start = -absl::Hours(1)) {
    const absl::Time starts_at = absl::Now() + until_start;
    const coupon::Coupon coupon = {.id = id_,
                                   .name = "쿠폰",
                                   .incarnation = incarnation_,
                                   .total_quantity = total,
                                   .available_quantity = total,
                                   .starts_at = starts_at,
                                   .ends_at = starts_at + absl::Hours(2)};
    Require(adapters::mysql::LoadSampleData(database().pool(), {&coupon, 1}, {}));
  }

  /// Everybody asks at once, with a key where `key_of` gives one; the journal keeps what each was
  /// told.
  template <typename KeyOf>
  void Ask(const Users& users, KeyOf key_of) {
    std::vector<std::future<absl::StatusOr<coupon::IssueAnswer>>> answers;
    const size_t first = journal_.size();
    for (const int64_t user : users) {
      const std::string key = key_of(user);
      journal_.push_back({.user = user, .key = key, .invoke_ns = absl::GetCurrentTimeNanos()});
      auto promise = std::make_shared<std::promise<absl::StatusOr<coupon::IssueAnswer>>>();
      answers.push_back(promise->get_future());
      issuer_.Issue({.holder = {id_, {user}},
                     .idempotency_key = key.empty() ? std::nullopt : std::optional(key)},
                    [promise](auto answer) { promise->set_value(std::move(answer)); });
    }
    for (size_t i = 0; i < answers.size(); ++i) Note(answers[i].get(), journal_[first + i]);
  }
  void Ask(const Users& users) {
    Ask(users, [](int64_t) { return std::string(); });
  }

  /// A campaign as it should be: sold out, with keys for the even users, who ask again with them
  /// and get the same; of the odd ones, and of those who come too late, some are refused.
  void SellOut(int64_t users) {
    const auto key_of = [](int64_t user) { return user % 2 == 0 ? absl::StrCat("k", user) : ""; };
    Open(users);
    Ask(Range(1, users), key_of);
    Ask(Range(1, kLate), key_of);
    Ask(Range(users + 1, users + kLate), key_of);
    ASSERT_TRUE(Drain());
    ASSERT_EQ(std::count_if(journal_.begin(), journal_.end(),
                            [](const auto& entry) { return entry.answer == "QUEUED"; }),
              users + kLate / 2);
  }
  static constexpr int64_t kLate = 100;

  bool Drain() {
    return Eventually([&] {
      const auto ends = backing().progress().Ends();
      const auto committed = backing().progress().Committed();
      if (!ends.ok() || !committed.ok() || coupon::LagOf(*ends, *committed) != 0) return false;
      return redis().Do({"HLEN", Key("reservations")}) == "0";
    });
  }

  /// Some of the users from 1 to `last`, chosen by a fixed seed, in order.
  static Users Choose(size_t count, int64_t last) {
    Users users = Range(1, last);
    std::mt19937_64 random(kSeed);
    std::shuffle(users.begin(), users.end(), random);
    users.resize(count);
    std::sort(users.begin(), users.end());
    return users;
  }
  static Users Range(int64_t first, int64_t last) {
    Users users;
    for (int64_t user = first; user <= last; ++user) users.push_back(user);
    return users;
  }
  template <typename Condition>
  static Users Those(const Users& users, Condition condition) {
    Users chosen;
    std::copy_if(users.begin(), users.end(), std::back_inserter(chosen), condition);
    return chosen;
  }

  CtlAnswer Run(std::vector<std::string> arguments) { return Run(std::move(arguments), {}); }
  CtlAnswer Run(std::vector<std::string> arguments, const app::Environment& other) {
    app::Environment environment = stack_.environment();
    for (const auto& [name, value] : other) environment[name] = value;
    std::ostringstream out, error;
    const ctl::Exit exit = ctl::Run(arguments, environment, out, error);
    return {.exit = exit, .out = out.str(), .error = error.str()};
  }

  CtlAnswer Verify(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"verify", "--coupon", absl::StrCat(id_.value), "-o",
                                          "json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  }
  CtlAnswer VerifyWithJournal() { return Verify({"--journal", WriteJournal()}); }

  std::string WriteJournal() {
    const std::string path = folder_.path() + "/journal.jsonl";
    std::ofstream file(path);
    for (const JournalEntry& entry : journal_) {
      nlohmann::json line = {{"user", entry.user},
                             {"coupon", id_.value},
                             {"answer", entry.answer},
                             {"invoke_ns", entry.invoke_ns},
                             {"done_ns", entry.done_ns}};
      if (!entry.key.empty()) line["key"] = entry.key;
      if (!entry.request_id.empty()) line["request_id"] = entry.request_id;
      file << line.dump() << "\n";
    }
    return path;
  }

  std::string Key(const std::string& what) const {
    return absl::StrCat("coupon:issue:async:", what, ":", id_.value);
  }

  /// A Redis command that takes users last.
  void Redis(std::vector<std::string> command, const Users& users) {
    for (const int64_t user : users) command.push_back(absl::StrCat(user));
    redis().Do(command);
  }

  /// `set` goes before the condition that names the users' rows of the coupon.
  void ChangeRows(const std::string& change, const Users& users) {
    Require(database().Query(absl::StrCat(change, " WHERE coupon_id = ", id_.value,
                                          " AND user_id IN (", absl::StrJoin(users, ","), ")")));
  }
  void AddRows(const Users& users) {
    const std::string rows = absl::StrJoin(users, ",", [&](std::string* out, int64_t user) {
      absl::StrAppend(out, "(", id_.value, ",", user, ",UUID(),UTC_TIMESTAMP(6))");
    });
    Require(database().Query("INSERT INTO coupon_issues VALUES " + rows));
  }
  void ChangeCoupon(const std::string& change) {
    Require(
        database().Query(absl::StrCat("UPDATE coupons SET ", change, " WHERE id = ", id_.value)));
  }

  /// What the gate holds of a claim that is on its way, made so long ago.
  void Reserve(const Users& users, absl::Duration age) {
    std::vector<std::string> command = {"HSET", Key("reservations")};
    const int64_t micros = absl::ToUnixMicros(redis().Now() - age);
    for (const int64_t user : users) {
      command.push_back(absl::StrCat(user));
      command.push_back(absl::StrCat(coupon::RequestId::Random().ToString(), ":", micros));
    }
    redis().Do(command);
    redis().Do({"HINCRBY", Key("meta"), "reservations", absl::StrCat(users.size())});
  }

  /// New members, whose units the gate knows of: it stays open.
  void Join(const Users& users) {
    Redis({"SADD", Key("participants")}, users);
    redis().Do({"HINCRBY", Key("meta"), "units", absl::StrCat(users.size())});
  }

  /// Appends claims as a server would that had admitted them.
  void Append(const Users& users, const std::string& incarnation) {
    std::vector<coupon::AdmittedClaim> claims;
    for (const int64_t user : users) {
      claims.push_back({.holder = {id_, {user}},
                        .request = coupon::RequestId::Random(),
                        .incarnation = incarnation,
                        .generation = {1},
                        .claimed_at = absl::Now()});
    }
    Require(backing().log().Append(claims));
  }

  app::StackBacking& backing() { return stack_.backing(); }
  RedisServer& redis() { return stack_.redis(); }
  MysqlDatabase& database() { return stack_.database(); }

  CtlStack& stack_ = CtlStack::Get();
  const coupon::CouponId id_ = {++coupons_};
  const std::string incarnation_ = absl::StrCat("incarnation-", id_.value);
  TemporaryFolder folder_;
  std::vector<JournalEntry> journal_;
  coupon::CouponDirectory directory_{{}, backing().coupon_store(), stack_.clock()};
  coupon::ClaimWriter writer_{{}, backing().log()};
  coupon::Reconciler reconciler_{{.ack_deadline = absl::Milliseconds(50)},
                                 {.store = backing().coupon_store(),
                                  .authority = backing().authority(),
                                  .gate = backing().gate(),
                                  .control = backing().control(),
                                  .log = backing().log(),
                                  .progress = backing().progress(),
                                  .directory = directory_,
                                  .clock = stack_.clock()}};
  coupon::Issuer issuer_{{.claims_waiting_max = 100000},
                         {backing().gate(), writer_, backing().log(), backing().coupon_store(),
                          directory_, reconciler_, stack_.clock()}};

 private:
  static void Note(const absl::StatusOr<coupon::IssueAnswer>& answer, JournalEntry& entry) {
    entry.done_ns = absl::GetCurrentTimeNanos();
    entry.answer = "UNKNOWN";
    if (!answer.ok()) return;
    switch (answer->outcome) {
      case coupon::IssueOutcome::kQueued:
        entry.answer = "QUEUED";
        entry.request_id = answer->request.ToString();
        break;
      case coupon::IssueOutcome::kDuplicate: entry.answer = "DUPLICATE"; break;
      case coupon::IssueOutcome::kSoldOut: entry.answer = "SOLD_OUT"; break;
      case coupon::IssueOutcome::kNotOpen: entry.answer = "NOT_OPEN"; break;
      case coupon::IssueOutcome::kUnknownCoupon: entry.answer = "NOT_FOUND"; break;
    }
  }

  static inline int64_t coupons_ = 0;
};

}  // namespace ecom::tests
