#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "adapters/kafka/claim_log.h"
#include "adapters/kafka/claim_source.h"
#include "adapters/kafka/dead_letters.h"
#include "adapters/kafka/issue_feed.h"
#include "support/coupon_backend.h"
#include "support/kafka_server.h"

namespace ecom::tests {

/// A dead letter as a person finds it.
struct KeptLetter {
  int64_t position = 0;  ///< of the record in the claim log
  std::string reason;
  std::string key;
  std::string payload;
};

/// A claim log of one kind, with one reader.
class ClaimLogBackend {
 public:
  virtual ~ClaimLogBackend() = default;

  virtual coupon::ClaimLog& log() = 0;
  virtual coupon::ClaimSource& source() = 0;
  virtual coupon::LogProgress& progress() = 0;
  virtual coupon::DeadLetters& dead_letters() = 0;
  /// In the order in which they were added.
  virtual std::vector<KeptLetter> ReadLetters() = 0;
};

/// What MakeClaimLogBackend understands: a new kind of log is one more name.
inline const char* const kClaimLogBackends[] = {"embedded_file", "embedded_memory", "kafka"};

/// The embedded log, on a file or in memory.
class EmbeddedClaimLogBackend final : public ClaimLogBackend {
 public:
  explicit EmbeddedClaimLogBackend(const std::string& name) : backend_(name == "embedded_memory") {}

  coupon::ClaimLog& log() override { return backend_.log(); }
  coupon::ClaimSource& source() override { return backend_.source(); }
  coupon::LogProgress& progress() override { return backend_.progress(); }
  coupon::DeadLetters& dead_letters() override { return backend_.dead_letters(); }
  std::vector<KeptLetter> ReadLetters() override {
    std::vector<KeptLetter> letters;
    const absl::Status read =
        backend_.database().Read([&](adapters::embedded::Connection& connection) -> absl::Status {
          auto select = connection.Prepare(
              "SELECT log_position, reason, key, payload FROM dead_letters ORDER BY id");
          if (!select.ok()) return select.status();
          for (;;) {
            const auto more = select->Step();
            if (!more.ok() || !*more) return more.status();
            letters.push_back({.position = select->Int(0),
                               .reason = std::string(select->Text(1)),
                               .key = std::string(select->Text(2)),
                               .payload = std::string(select->Text(3))});
          }
        });
    if (!read.ok()) std::abort();
    return letters;
  }

 private:
  EmbeddedCouponBackend backend_;
};

/// Returns the value, or ends the program with the reason why there is none.
template <typename T>
T Made(absl::StatusOr<T> made) {
  if (made.ok()) return *std::move(made);
  std::fprintf(stderr, "%s\n", made.status().ToString().c_str());
  std::abort();
}

/// Waits for `condition`, which nothing can be waited on for; false when it did not come true.
template <typename Condition>
bool Eventually(Condition condition, absl::Duration patience = absl::Seconds(30)) {
  const absl::Time until = absl::Now() + patience;
  while (!condition()) {
    if (absl::Now() > until) return false;
    absl::SleepFor(absl::Milliseconds(2));  // between two looks at it
  }
  return true;
}

/// New topics on the test program's Kafka, with the log, one reader, the dead letters and the feed.
class KafkaBackend final : public ClaimLogBackend {
 public:
  explicit KafkaBackend(int partitions = 3)
      : topic_(server_.MakeTopic("coupon-issue", partitions)),
        letters_topic_(server_.MakeTopic("coupon-issue.DLT", 1)),
        feed_topic_(server_.MakeTopic("coupon-issued", 3)),
        log_(Made(adapters::kafka::KafkaClaimLog::Create(
            {.brokers = server_.brokers(), .topic = topic_, .group = group()}))),
        source_(MakeSource()),
        letters_(Made(adapters::kafka::KafkaDeadLetters::Create(
            {.brokers = server_.brokers(), .topic = letters_topic_, .origin_topic = topic_}))),
        feed_(Made(adapters::kafka::KafkaIssueFeed::Create(
            {.brokers = server_.brokers(), .topic = feed_topic_}))) {
    if (!Eventually([&] { return log_->Ready().ok(); })) std::abort();
  }

  adapters::kafka::KafkaClaimLog& log() override { return *log_; }
  adapters::kafka::KafkaClaimSource& source() override { return *source_; }
  coupon::LogProgress& progress() override { return *log_; }
  adapters::kafka::KafkaDeadLetters& dead_letters() override { return *letters_; }
  std::vector<KeptLetter> ReadLetters() override {
    std::vector<KeptLetter> letters;
    for (KafkaRecord& record : server_.Read(letters_topic_)) {
      letters.push_back({.position = std::stoll(record.headers["origin-offset"]),
                         .reason = record.headers["reason"],
                         .key = std::move(record.key),
                         .payload = std::move(record.payload)});
    }
    return letters;
  }
  adapters::kafka::KafkaIssueFeed& feed() { return *feed_; }

  KafkaServer& server() { return server_; }
  const std::string& topic() const { return topic_; }
  const std::string& letters_topic() const { return letters_topic_; }
  const std::string& feed_topic() const { return feed_topic_; }
  std::string group() const { return topic_ + "-group"; }

  /// One more reader of the group; `options` names neither brokers, topic nor group.
  std::unique_ptr<adapters::kafka::KafkaClaimSource> MakeSource(
      adapters::kafka::KafkaClaimSource::Options options = {}) const {
    options.brokers = server_.brokers();
    options.topic = topic_;
    options.group = group();
    return Made(adapters::kafka::KafkaClaimSource::Create(std::move(options)));
  }

  /// Ends the backend's own reader, as a clean stop does; another one may then be its heir.
  void EndSource() { source_.reset(); }

 private:
  KafkaServer& server_ = KafkaServer::Get();
  const std::string topic_;
  const std::string letters_topic_;
  const std::string feed_topic_;
  const std::unique_ptr<adapters::kafka::KafkaClaimLog> log_;
  std::unique_ptr<adapters::kafka::KafkaClaimSource> source_;
  const std::unique_ptr<adapters::kafka::KafkaDeadLetters> letters_;
  const std::unique_ptr<adapters::kafka::KafkaIssueFeed> feed_;
};

inline std::unique_ptr<ClaimLogBackend> MakeClaimLogBackend(const std::string& name) {
  if (name == "kafka") return std::make_unique<KafkaBackend>();
  return std::make_unique<EmbeddedClaimLogBackend>(name);
}

}  // namespace ecom::tests
