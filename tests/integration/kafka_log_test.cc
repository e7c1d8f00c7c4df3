// The Kafka log on a real Kafka: what the contract suite cannot ask of every log.
#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "adapters/kafka/codec.h"
#include "adapters/kafka/history.h"
#include "adapters/kafka/topics.h"
#include "base/log.h"
#include "ecom/event/v1/claim.pb.h"
#include "support/kafka_backend.h"

namespace ecom::tests {
namespace {

using adapters::kafka::CheckTopics;
using adapters::kafka::DeadLetter;
using adapters::kafka::DeadLetterBox;
using adapters::kafka::Encode;
using adapters::kafka::KafkaClaimLog;
using adapters::kafka::KafkaClaimSource;
using adapters::kafka::WireRecord;
using coupon::AdmittedClaim;
using coupon::Barrier;
using coupon::LogPartition;
using coupon::LogPosition;
using coupon::LogRecord;
using coupon::Malformed;
using coupon::Reached;
using coupon::RequestId;

constexpr absl::Duration kPatience = absl::Seconds(20);
constexpr absl::Duration kShort = absl::Milliseconds(50);

AdmittedClaim ClaimOf(int64_t user) {
  return {.holder = {.coupon = {1}, .user = {user}},
          .request = RequestId::Random(),
          .incarnation = "first",
          .generation = {3},
          .claimed_at = absl::FromUnixMicros(1234567)};
}

std::vector<AdmittedClaim> ClaimsOf(int64_t first, int64_t last) {
  std::vector<AdmittedClaim> claims;
  for (int64_t user = first; user <= last; ++user) claims.push_back(ClaimOf(user));
  return claims;
}

KafkaRecord AsPerson(const WireRecord& wire, int32_t partition) {
  KafkaRecord record = {.partition = partition, .key = wire.key, .payload = wire.payload};
  for (const auto& header : wire.headers) record.headers[header.name] = header.value;
  return record;
}

/// Everything that readers were given, by request.
class Delivered {
 public:
  void Add(const std::vector<LogRecord>& records) {
    std::lock_guard lock(mutex_);
    for (const LogRecord& record : records) {
      const auto* claim = std::get_if<AdmittedClaim>(&record.record);
      if (claim != nullptr) ++times_[claim->request];
    }
  }

  size_t count() const {
    std::lock_guard lock(mutex_);
    return times_.size();
  }
  int TimesOf(const RequestId& request) const {
    std::lock_guard lock(mutex_);
    const auto found = times_.find(request);
    return found == times_.end() ? 0 : found->second;
  }
  bool HasAll(const std::vector<AdmittedClaim>& claims) const {
    return std::all_of(claims.begin(), claims.end(),
                       [this](const auto& claim) { return TimesOf(claim.request) > 0; });
  }
  bool HasEachOnce(const std::vector<AdmittedClaim>& claims) const {
    return std::all_of(claims.begin(), claims.end(),
                       [this](const auto& claim) { return TimesOf(claim.request) == 1; });
  }

 private:
  mutable std::mutex mutex_;
  std::map<RequestId, int> times_;
};

/// One turn of a recorder that records everything.
void ReadOnce(KafkaClaimSource& source, Delivered& delivered) {
  const auto records = source.Poll(100, kShort);
  if (!records.ok()) return;
  delivered.Add(*records);
  (void)source.Commit(*records);  // when it fails, they come again
}

/// A recorder on a thread of its own, until it is stopped or destroyed.
class Reader {
 public:
  Reader(std::unique_ptr<KafkaClaimSource> source, Delivered& delivered)
      : source_(std::move(source)), thread_([this, &delivered] {
          while (!stopping_) ReadOnce(*source_, delivered);
        }) {}
  ~Reader() { Stop(); }

  KafkaClaimSource& source() { return *source_; }

  /// Ends the source, too.
  void Stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
    source_.reset();
  }

 private:
  std::unique_ptr<KafkaClaimSource> source_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

size_t CountLines(const base::LogCapture& log, const std::string& text) {
  const std::vector<std::string> lines = log.Lines();
  return std::count_if(lines.begin(), lines.end(),
                       [&](const std::string& line) { return absl::StrContains(line, text); });
}

/// Until every record of the log is delivered and committed.
bool ReadToTheEnd(KafkaBackend& backend, KafkaClaimSource& source, Delivered& delivered) {
  return Eventually([&] {
    ReadOnce(source, delivered);
    const auto ends = backend.progress().Ends();
    const auto committed = backend.progress().Committed();
    return ends.ok() && committed.ok() && Reached(*committed, *ends);
  });
}

// --- The broker ---

TEST(KafkaLog, LosesNothingThatWasAcknowledgedWhenTheBrokerIsKilledUnderLoad) {
  KafkaBackend backend;
  std::mutex mutex;
  std::vector<AdmittedClaim> acknowledged;
  std::atomic<bool> stopping = false;
  std::vector<std::thread> writers;
  for (int64_t writer = 0; writer < 3; ++writer) {
    writers.emplace_back([&, writer] {
      for (int64_t batch = 0; !stopping; ++batch) {
        const auto claims =
            ClaimsOf(writer * 1000000 + batch * 10 + 1, writer * 1000000 + batch * 10 + 10);
        if (!backend.log().Ready().ok() || !backend.log().Append(claims).ok()) {
          std::this_thread::yield();
          continue;
        }
        std::lock_guard lock(mutex);
        acknowledged.insert(acknowledged.end(), claims.begin(), claims.end());
      }
    });
  }
  const auto count = [&] {
    std::lock_guard lock(mutex);
    return acknowledged.size();
  };
  EXPECT_TRUE(Eventually([&] { return count() > 300; }));
  backend.server().Kill();
  EXPECT_TRUE(Eventually([&] { return absl::IsUnavailable(backend.log().Ready()); }));
  const size_t before = count();
  backend.server().Start();
  EXPECT_TRUE(Eventually([&] { return count() > before + 300; }));
  stopping = true;
  for (std::thread& writer : writers) writer.join();

  Delivered delivered;
  EXPECT_TRUE(ReadToTheEnd(backend, backend.source(), delivered));
  EXPECT_TRUE(delivered.HasAll(acknowledged));
}

TEST(KafkaLog, RefusesAtOnceWhileTheBrokerIsGoneAndComesBackByItself) {
  KafkaBackend backend;
  base::LogCapture log;
  ASSERT_TRUE(backend.log().Append(ClaimsOf(1, 3)).ok());
  backend.server().Kill();
  const absl::Time killed = absl::Now();
  const absl::Status unknown = backend.log().Append(ClaimsOf(4, 4));
  EXPECT_FALSE(unknown.ok());
  EXPECT_LT(absl::Now() - killed, absl::Milliseconds(2500));
  EXPECT_TRUE(absl::IsUnavailable(backend.log().Ready()));
  const absl::Time start = absl::Now();
  EXPECT_TRUE(absl::IsUnavailable(backend.log().Append(ClaimsOf(5, 5))));
  EXPECT_TRUE(absl::IsUnavailable(backend.log().AppendBarrier({{1}, {4}, ""}).status()));
  EXPECT_LT(absl::Now() - start, absl::Milliseconds(200));
  EXPECT_TRUE(absl::IsUnavailable(backend.progress().Ends().status()));
  EXPECT_TRUE(absl::IsUnavailable(backend.progress().Committed().status()));

  backend.server().Start();
  EXPECT_TRUE(Eventually([&] { return backend.log().Ready().ok(); }, absl::Seconds(5)));
  const absl::Status appended = backend.log().Append(ClaimsOf(6, 6));
  EXPECT_TRUE(appended.ok()) << appended;
  EXPECT_EQ(CountLines(log, absl::StrCat("cannot be written\",\"topic\":\"", backend.topic())), 1u);
  EXPECT_EQ(CountLines(log, absl::StrCat("can be written\",\"topic\":\"", backend.topic())), 1u);
}

TEST(KafkaLog, AnswersUnknownInTimeWhenTheBrokerStandsStillAndGoesOnAfterwards) {
  KafkaBackend backend;
  Delivered delivered;
  auto acknowledged = ClaimsOf(1, 10);
  ASSERT_TRUE(backend.log().Append(acknowledged).ok());
  backend.server().Freeze();
  const absl::Time start = absl::Now();
  const absl::Status unknown = backend.log().Append(ClaimsOf(11, 20));
  const absl::Duration took = absl::Now() - start;
  EXPECT_TRUE(absl::IsDeadlineExceeded(unknown)) << unknown;
  EXPECT_LT(took, absl::Milliseconds(2500));
  EXPECT_TRUE(absl::IsUnavailable(backend.log().Ready()));
  EXPECT_TRUE(Eventually([&] {
    EXPECT_FALSE(backend.log().Ready().ok());
    return absl::Now() > start + absl::Seconds(4);
  }));
  backend.server().Thaw();
  EXPECT_TRUE(Eventually([&] {
    const auto claims = ClaimsOf(21, 30);
    if (!backend.log().Append(claims).ok()) return false;
    acknowledged.insert(acknowledged.end(), claims.begin(), claims.end());
    return true;
  }));
  EXPECT_TRUE(ReadToTheEnd(backend, backend.source(), delivered));
  EXPECT_TRUE(delivered.HasAll(acknowledged));
}

TEST(KafkaLog, IsDownWhenItsTopicIsGoneAndMakesNone) {
  KafkaBackend backend;
  ASSERT_TRUE(backend.log().Append(ClaimsOf(1, 1)).ok());
  backend.server().DeleteTopic(backend.topic());
  EXPECT_TRUE(Eventually(
      [&] { return !backend.log().Append(ClaimsOf(2, 2)).ok() && !backend.log().Ready().ok(); }));
  const absl::Status missing =
      CheckTopics({.brokers = backend.server().brokers(), .topics = {{backend.topic(), 3}}});
  EXPECT_TRUE(absl::IsNotFound(missing)) << missing;
  EXPECT_TRUE(absl::IsUnavailable(backend.log().Ready()));
  backend.server().MakeTopicNamed(backend.topic(), 3);
  EXPECT_TRUE(Eventually([&] { return backend.log().Ready().ok(); }));
  EXPECT_TRUE(Eventually([&] { return backend.log().Append(ClaimsOf(3, 3)).ok(); }));
}

TEST(KafkaLog, PartitionsByTheUserAsJavaDoes) {
  KafkaBackend backend(/*partitions=*/7);
  ASSERT_TRUE(backend.log().Append(ClaimsOf(21, 21)).ok());
  const auto records = backend.server().Read(backend.topic());
  ASSERT_EQ(records.size(), 1u);
  // org.apache.kafka.common.utils.Utils.murmur2("21") is -973932308; without its sign, modulo 7.
  EXPECT_EQ(records[0].partition, (-973932308 & 0x7fffffff) % 7);
  EXPECT_EQ(records[0].key, "21");
}

// --- The producer that fails for good ---

/// librdkafka's broker within the process, which can be told to answer with errors.
class MockKafka {
 public:
  MockKafka() {
    char error[256];
    client_ = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), error, sizeof(error));
    cluster_ = rd_kafka_mock_cluster_new(client_, 1);
    rd_kafka_mock_topic_create(cluster_, "coupon-issue", 3, 1);
  }
  ~MockKafka() {
    rd_kafka_mock_cluster_destroy(cluster_);
    rd_kafka_destroy(client_);
  }

  std::string brokers() const { return rd_kafka_mock_cluster_bootstraps(cluster_); }
  void FailNextProduce(rd_kafka_resp_err_t error) {
    rd_kafka_mock_push_request_errors(cluster_, kProduce, 1, error);
  }
  void FailNoMore() { rd_kafka_mock_clear_request_errors(cluster_, kProduce); }

 private:
  static constexpr int16_t kProduce = 0;

  rd_kafka_t* client_;
  rd_kafka_mock_cluster_t* cluster_;
};

TEST(KafkaLog, ReplacesAProducerThatFailedForGood) {
  base::LogCapture log;
  MockKafka kafka;
  const auto claims = Made(KafkaClaimLog::Create({.brokers = kafka.brokers()}));
  ASSERT_TRUE(claims->Append(ClaimsOf(1, 1)).ok());
  for (int64_t time = 1; time <= 3; ++time) {
    kafka.FailNextProduce(RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    const absl::Status failed = claims->Append(ClaimsOf(2, 2));
    EXPECT_FALSE(failed.ok());
    EXPECT_TRUE(Eventually([&] { return claims->producers_replaced() == time; }));
    EXPECT_TRUE(Eventually([&] { return claims->Ready().ok(); }));
    const absl::Status appended = claims->Append(ClaimsOf(3, 30));
    EXPECT_TRUE(appended.ok()) << appended;
  }
  EXPECT_EQ(CountLines(log, "failed for good and was replaced"), 3u);
  EXPECT_EQ(claims->calls().by_code[0], 4);
  EXPECT_EQ(claims->calls().started, 7) << "those that failed, too";
}

TEST(KafkaLog, FailsTheBatchesOfEveryCallerWhenItsProducerFailsForGood) {
  MockKafka kafka;
  const auto log = Made(KafkaClaimLog::Create({.brokers = kafka.brokers()}));
  ASSERT_TRUE(log->Append(ClaimsOf(1, 1)).ok());
  std::atomic<bool> stopping = false;
  std::atomic<int> appended = 0;
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 4; ++writer) {
    writers.emplace_back([&] {
      while (!stopping) {
        if (log->Append(ClaimsOf(1, 50)).ok()) ++appended;
      }
    });
  }
  for (int64_t time = 1; time <= 5; ++time) {
    kafka.FailNextProduce(RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    EXPECT_TRUE(Eventually([&] { return log->producers_replaced() >= time; }));
    const int before = appended;
    EXPECT_TRUE(Eventually([&] { return appended > before + 10; }));
  }
  stopping = true;
  for (std::thread& writer : writers) writer.join();
}

TEST(KafkaLog, ComesUpLessAndLessOftenWhileItsRecordsFailAndStaysUpOnceTheyDoNot) {
  MockKafka kafka;
  const auto log = Made(KafkaClaimLog::Create({.brokers = kafka.brokers()}));
  ASSERT_TRUE(log->Append(ClaimsOf(1, 1)).ok());
  const auto time_to_come_up = [&log] {
    const absl::Time start = absl::Now();
    EXPECT_TRUE(Eventually([&] { return log->Ready().ok(); }));
    return absl::Now() - start;
  };
  std::vector<absl::Duration> down_for;
  for (int time = 0; time < 5; ++time) {
    kafka.FailNextProduce(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    EXPECT_FALSE(log->Append(ClaimsOf(2, 2)).ok());
    down_for.push_back(time_to_come_up());
  }
  EXPECT_LT(down_for[0], down_for[4] / 3) << "it had just been written";
  EXPECT_GT(down_for[4], absl::Milliseconds(1500));
  EXPECT_LT(down_for[4], absl::Seconds(6));
  kafka.FailNoMore();
  const absl::Status appended = log->Append(ClaimsOf(3, 3));
  EXPECT_TRUE(appended.ok()) << appended;
  kafka.FailNextProduce(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
  EXPECT_FALSE(log->Append(ClaimsOf(4, 4)).ok());
  EXPECT_LT(time_to_come_up(), down_for[4] / 3) << "it had worked meanwhile";
}

TEST(KafkaLog, FailsABatchThatDoesNotFitTheQueue) {
  KafkaBackend backend;
  const auto log = Made(KafkaClaimLog::Create({.brokers = backend.server().brokers(),
                                               .topic = backend.topic(),
                                               .group = backend.group(),
                                               .claims_waiting_max = 10}));
  ASSERT_TRUE(log->Append(ClaimsOf(1, 5)).ok());
  const absl::Status full = log->Append(ClaimsOf(1, 2000));
  EXPECT_TRUE(absl::IsUnavailable(full)) << full;
  EXPECT_TRUE(Eventually([&] { return log->Append(ClaimsOf(1, 5)).ok(); }));
}

// --- Readers ---

TEST(KafkaSource, ContinuesWhenTheBrokerComesBack) {
  KafkaBackend backend;
  Delivered delivered;
  const auto before = ClaimsOf(1, 20);
  ASSERT_TRUE(backend.log().Append(before).ok());
  EXPECT_TRUE(ReadToTheEnd(backend, backend.source(), delivered));
  backend.server().Kill();
  EXPECT_TRUE(
      Eventually([&] { return absl::IsUnavailable(backend.source().Poll(10, kShort).status()); }));
  backend.server().Start();
  const auto after = ClaimsOf(21, 40);
  EXPECT_TRUE(Eventually([&] { return backend.log().Append(after).ok(); }));
  const absl::Time start = absl::Now();
  EXPECT_TRUE(Eventually([&] {
    ReadOnce(backend.source(), delivered);
    return delivered.HasAll(after);
  }));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  EXPECT_TRUE(delivered.HasEachOnce(before));
}

TEST(KafkaSource, SharesThePartitionsAndHandsThemOverWithoutDeliveringTwice) {
  KafkaBackend backend(/*partitions=*/4);
  backend.EndSource();
  Delivered delivered;
  // So that nothing but the handing over itself can commit.
  const KafkaClaimSource::Options seldom = {.commit_interval = absl::Hours(1)};
  Reader first(backend.MakeSource(seldom), delivered);
  auto claims = ClaimsOf(1, 200);
  ASSERT_TRUE(backend.log().Append(claims).ok());
  EXPECT_TRUE(Eventually([&] { return delivered.HasAll(claims); }));
  EXPECT_EQ(first.source().partitions_assigned(), 4);

  Reader second(backend.MakeSource(seldom), delivered);
  EXPECT_TRUE(Eventually([&] {
    return first.source().partitions_assigned() == 2 && second.source().partitions_assigned() == 2;
  }));
  const auto more = ClaimsOf(201, 400);
  ASSERT_TRUE(backend.log().Append(more).ok());
  EXPECT_TRUE(Eventually([&] { return delivered.HasAll(more); }));

  second.Stop();
  EXPECT_TRUE(Eventually([&] { return first.source().partitions_assigned() == 4; }));
  const auto last = ClaimsOf(401, 500);
  ASSERT_TRUE(backend.log().Append(last).ok());
  EXPECT_TRUE(Eventually([&] { return delivered.HasAll(last); }));
  first.Stop();
  claims.insert(claims.end(), more.begin(), more.end());
  claims.insert(claims.end(), last.begin(), last.end());
  EXPECT_TRUE(delivered.HasEachOnce(claims));
  EXPECT_TRUE(Reached(Made(backend.progress().Committed()), Made(backend.progress().Ends())));
}

TEST(KafkaSource, CommitsAtTheEndWhatItRemembers) {
  KafkaBackend backend;
  backend.EndSource();
  Delivered delivered;
  const auto claims = ClaimsOf(1, 50);
  ASSERT_TRUE(backend.log().Append(claims).ok());
  for (int time = 0; time < 2; ++time) {
    const auto source = backend.MakeSource({.commit_interval = absl::Hours(1)});
    EXPECT_TRUE(Eventually([&] {
      ReadOnce(*source, delivered);
      return delivered.HasAll(claims) && source->partitions_assigned() == 3;
    }));
  }
  EXPECT_TRUE(delivered.HasEachOnce(claims));
}

TEST(KafkaSource, LosesItsPartitionsAfterASilenceAndDoesNoHarmWhenItWakes) {
  KafkaBackend backend(/*partitions=*/1);
  backend.EndSource();
  ASSERT_TRUE(backend.log().Append(ClaimsOf(1, 3)).ok());
  // A source whose recorder hangs with these in hand.
  const auto zombie = backend.MakeSource({.silence_max = absl::Seconds(6)});
  absl::StatusOr<std::vector<LogRecord>> in_hand;
  ASSERT_TRUE(Eventually([&] {
    in_hand = zombie->Poll(2, kShort);
    return in_hand.ok() && in_hand->size() == 2;
  }));
  const auto heir = backend.MakeSource();
  Delivered delivered;
  EXPECT_TRUE(Eventually([&] {
    ReadOnce(*heir, delivered);
    return delivered.count() == 3;
  }));
  (void)zombie->Commit(*in_hand);  // its word does not count any more
  EXPECT_TRUE(Eventually([&] {
    ReadOnce(*heir, delivered);
    return backend.server().CommittedOffset(backend.group(), backend.topic(), 0) == 3;
  }));
  // It wakes, and the two of them share one partition from now on.
  const auto claims = ClaimsOf(4, 6);
  ASSERT_TRUE(backend.log().Append(claims).ok());
  EXPECT_TRUE(Eventually([&] {
    ReadOnce(*heir, delivered);
    ReadOnce(*zombie, delivered);
    return delivered.HasAll(claims) &&
           zombie->partitions_assigned() + heir->partitions_assigned() == 1;
  }));
  EXPECT_EQ(delivered.count(), 6u);
}

/// What the next test kills: a program of its own, so that it can be.
TEST(KafkaReaderProcess, DISABLED_CommitsWhatItReadsUntilItIsKilled) {
  const auto source = Made(KafkaClaimSource::Create({.brokers = getenv("ECOM_TEST_BROKERS"),
                                                     .topic = getenv("ECOM_TEST_TOPIC"),
                                                     .group = getenv("ECOM_TEST_GROUP"),
                                                     .instance = "slot-1",
                                                     .session_timeout = absl::Seconds(30)}));
  Delivered delivered;
  for (;;) ReadOnce(*source, delivered);
}

pid_t StartReaderProcess(const KafkaBackend& backend) {
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  setenv("ECOM_TEST_BROKERS", KafkaServer::Get().brokers().c_str(), 1);
  setenv("ECOM_TEST_TOPIC", backend.topic().c_str(), 1);
  setenv("ECOM_TEST_GROUP", backend.group().c_str(), 1);
  execl("/proc/self/exe", "kafka-reader", "--gtest_also_run_disabled_tests",
        "--gtest_filter=KafkaReaderProcess.*", nullptr);
  _exit(127);
}

TEST(KafkaSource, TakesItsPartitionsOverAtOnceAfterACrashWhenItHasAName) {
  KafkaBackend backend;
  backend.EndSource();
  const auto settled = ClaimsOf(1, 100);
  ASSERT_TRUE(backend.log().Append(settled).ok());
  const pid_t process = StartReaderProcess(backend);
  EXPECT_TRUE(Eventually([&] {
    const auto committed = backend.progress().Committed();
    return committed.ok() && Reached(*committed, Made(backend.progress().Ends()));
  }));
  kill(process, SIGKILL);
  waitpid(process, nullptr, 0);
  const auto claims = ClaimsOf(101, 200);
  ASSERT_TRUE(backend.log().Append(claims).ok());

  const absl::Time start = absl::Now();
  const auto heir =
      backend.MakeSource({.instance = "slot-1", .session_timeout = absl::Seconds(30)});
  Delivered delivered;
  EXPECT_TRUE(Eventually([&] {
    ReadOnce(*heir, delivered);
    return delivered.HasAll(claims);
  }));
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  EXPECT_EQ(heir->partitions_assigned(), 3);
  EXPECT_EQ(delivered.count(), claims.size());  // what was committed does not come again
}

TEST(KafkaSource, IsReplacedWhenAnotherOneTookItsName) {
  KafkaBackend backend;
  backend.EndSource();
  base::LogCapture log;
  Delivered delivered;
  const KafkaClaimSource::Options named = {.instance = "slot-1",
                                           .retry_wait_min = absl::Milliseconds(100)};
  const auto first = backend.MakeSource(named);
  auto claims = ClaimsOf(1, 10);
  ASSERT_TRUE(backend.log().Append(claims).ok());
  EXPECT_TRUE(Eventually([&] {
    ReadOnce(*first, delivered);
    return delivered.HasAll(claims);
  }));
  {
    const auto second = backend.MakeSource(named);
    EXPECT_TRUE(Eventually([&] {
      ReadOnce(*second, delivered);
      return second->partitions_assigned() == 3;
    }));
    EXPECT_TRUE(Eventually([&] {
      ReadOnce(*first, delivered);
      return CountLines(log, "failed and is replaced") > 0;
    }));
  }
  claims = ClaimsOf(11, 20);
  ASSERT_TRUE(backend.log().Append(claims).ok());
  EXPECT_TRUE(Eventually([&] {
    ReadOnce(*first, delivered);
    return delivered.HasAll(claims);
  }));
}

// --- Positions that are not in the log ---

/// Claims 1, 2, … in partition 0, then in partition 1, as many as said.
void ProduceClaims(KafkaBackend& backend, int in_first, int in_second) {
  for (int32_t partition = 0; partition < 2; ++partition) {
    for (int i = 0; i < (partition == 0 ? in_first : in_second); ++i) {
      backend.server().Produce(backend.topic(),
                               AsPerson(Encode(ClaimOf(partition * 100 + i + 1)), partition));
    }
  }
}

/// Polls until as many records came from partition 1, and one partition stands still.
void ExpectOnlyTheSecond(KafkaClaimSource& source, size_t from_second) {
  std::vector<LogRecord> all;
  EXPECT_TRUE(Eventually([&] {
    const auto records = source.Poll(10, kShort);
    if (records.ok()) all.insert(all.end(), records->begin(), records->end());
    return source.partitions_stalled() == 1 && all.size() >= from_second;
  }));
  source.Rewind();
  for (int time = 0; time < 10; ++time) {
    const auto records = source.Poll(10, kShort);
    if (records.ok()) all.insert(all.end(), records->begin(), records->end());
  }
  EXPECT_EQ(source.partitions_stalled(), 1);
  EXPECT_EQ(source.partitions_assigned(), 2);
  EXPECT_GE(all.size(), from_second);
  for (const LogRecord& record : all) EXPECT_EQ(record.partition, 1);
}

TEST(KafkaSource, StandsStillWhereRetentionOvertookTheGroup) {
  KafkaBackend backend(/*partitions=*/2);
  backend.EndSource();
  base::LogCapture log;
  ProduceClaims(backend, 5, 3);
  backend.server().CommitOffset(backend.group(), backend.topic(), 0, 1);
  backend.server().DeleteRecordsBefore(backend.topic(), 0, 3);
  const auto source = backend.MakeSource();
  ExpectOnlyTheSecond(*source, 3);
  EXPECT_EQ(CountLines(log, "stands still"), 1u);
  EXPECT_EQ(CountLines(log, "--reset-offsets --to-earliest"), 1u);
  EXPECT_EQ(backend.server().CommittedOffset(backend.group(), backend.topic(), 0), 1);
}

TEST(KafkaSource, StandsStillWhereTheLogsTailWasLost) {
  KafkaBackend backend(/*partitions=*/2);
  backend.EndSource();
  base::LogCapture log;
  ProduceClaims(backend, 5, 3);
  backend.server().CommitOffset(backend.group(), backend.topic(), 0, 6);
  const auto source = backend.MakeSource();
  ExpectOnlyTheSecond(*source, 3);
  EXPECT_EQ(CountLines(log, "stands still"), 1u);
}

TEST(KafkaSource, GoesOnWhenAPersonHasResetThePosition) {
  KafkaBackend backend(/*partitions=*/2);
  backend.EndSource();
  ProduceClaims(backend, 5, 3);
  backend.server().CommitOffset(backend.group(), backend.topic(), 0, 1);
  backend.server().DeleteRecordsBefore(backend.topic(), 0, 3);
  ExpectOnlyTheSecond(*backend.MakeSource(), 3);
  backend.server().CommitOffset(backend.group(), backend.topic(), 0, 3);
  Delivered delivered;
  const auto source = backend.MakeSource();
  EXPECT_TRUE(Eventually([&] {
    ReadOnce(*source, delivered);
    return delivered.count() == 2 + 3;
  }));
  EXPECT_EQ(source->partitions_stalled(), 0);
}

TEST(KafkaSource, StandsStillWhenRetentionOvertakesWhatItHasInHand) {
  KafkaBackend backend(/*partitions=*/2);
  backend.EndSource();
  const auto source = backend.MakeSource();
  const auto poll_until = [&source](LogPartition partition, LogPosition position) {
    return Eventually([&] {
      const auto records = source->Poll(10, kShort);
      return records.ok() && std::any_of(records->begin(), records->end(), [&](const auto& record) {
               return record.partition == partition && record.position == position;
             });
    });
  };
  ProduceClaims(backend, 0, 1);
  ASSERT_TRUE(poll_until(1, 0));
  ProduceClaims(backend, 6, 0);
  ASSERT_TRUE(poll_until(0, 5));
  backend.server().DeleteRecordsBefore(backend.topic(), 0, 6);
  ProduceClaims(backend, 1, 0);
  ASSERT_TRUE(poll_until(0, 6));
  // Its recorder could not record any of it.
  source->Rewind();
  ExpectOnlyTheSecond(*source, 1);
}

TEST(KafkaSource, StartsAtTheBeginningThatThereIsWhenTheGroupIsNew) {
  KafkaBackend backend(/*partitions=*/2);
  ProduceClaims(backend, 5, 3);
  backend.server().DeleteRecordsBefore(backend.topic(), 0, 2);
  Delivered delivered;
  EXPECT_TRUE(ReadToTheEnd(backend, backend.source(), delivered));
  EXPECT_EQ(delivered.count(), 3u + 3u);
  EXPECT_EQ(backend.source().partitions_stalled(), 0);
}

TEST(KafkaSource, NeverSkipsInATopicThatWasMadeAnew) {
  KafkaBackend backend(/*partitions=*/2);
  Delivered delivered;
  ASSERT_TRUE(backend.log().Append(ClaimsOf(1, 50)).ok());
  EXPECT_TRUE(ReadToTheEnd(backend, backend.source(), delivered));
  backend.server().DeleteTopic(backend.topic());
  backend.server().MakeTopicNamed(backend.topic(), 2);
  std::vector<AdmittedClaim> claims = ClaimsOf(51, 60);
  EXPECT_TRUE(Eventually([&] { return backend.log().Append(claims).ok(); }));
  EXPECT_TRUE(Eventually([&] {
    ReadOnce(backend.source(), delivered);
    return delivered.HasAll(claims) || backend.source().partitions_stalled() > 0;
  }));
}

// --- Poison, dead letters and the feed ---

TEST(KafkaSource, DeliversPoisonAsMalformedAndGoesOn) {
  KafkaBackend backend(/*partitions=*/1);
  const AdmittedClaim claim = ClaimOf(1);
  KafkaRecord next_version = AsPerson(Encode(claim), 0);
  next_version.headers["schema-version"] = "2";
  backend.server().Produce(backend.topic(), {.key = "k", .payload = {"\xff\0garbage", 9}});
  backend.server().Produce(backend.topic(), {.payload = std::string(200000, 'x')});
  backend.server().Produce(backend.topic(), next_version);
  backend.server().Produce(backend.topic(), AsPerson(Encode(claim), 0));
  std::vector<LogRecord> records;
  ASSERT_TRUE(Eventually([&] {
    const auto polled = backend.source().Poll(10, kShort);
    if (polled.ok()) records.insert(records.end(), polled->begin(), polled->end());
    return records.size() == 4;
  }));
  const auto& garbage = std::get<Malformed>(records[0].record);
  EXPECT_EQ(garbage.key, "k");
  EXPECT_EQ(garbage.payload, std::string("\xff\0garbage", 9));
  EXPECT_EQ(std::get<Malformed>(records[1].record).payload.size(), 200000u);
  EXPECT_EQ(std::get<Malformed>(records[2].record).reason, "a record of another schema version: 2");
  EXPECT_EQ(std::get<AdmittedClaim>(records[3].record).request, claim.request);
}

TEST(KafkaSource, WaitsForARecordWhoseBytesAreDamagedAndSkipsNothing) {
  KafkaBackend backend(/*partitions=*/1);
  std::vector<AdmittedClaim> claims = ClaimsOf(1, 3);
  claims[0].incarnation = "before it";
  claims[1].incarnation = "the damaged one";
  claims[2].incarnation = "behind it";
  // Each a batch of its own: a checksum is of a batch.
  for (const AdmittedClaim& claim : claims) ASSERT_TRUE(backend.log().Append({&claim, 1}).ok());
  backend.server().FlipBitOf(backend.topic(), 0, "the damaged one");
  Delivered delivered;
  int failures = 0;
  EXPECT_TRUE(Eventually([&] {
    const auto records = backend.source().Poll(10, kShort);
    if (records.ok()) delivered.Add(*records);
    failures += absl::IsUnavailable(records.status()) ? 1 : 0;
    return failures == 3;
  }));
  EXPECT_EQ(delivered.count(), 1u);
  EXPECT_EQ(delivered.TimesOf(claims[0].request), 1);
  backend.server().FlipBitOf(backend.topic(), 0, "the damaged one");
  EXPECT_TRUE(ReadToTheEnd(backend, backend.source(), delivered));
  EXPECT_TRUE(delivered.HasEachOnce(claims));
}

TEST(KafkaSource, CarriesTheTraceOfAClaim) {
  KafkaBackend backend;
  AdmittedClaim claim = ClaimOf(1);
  claim.trace_parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  ASSERT_TRUE(backend.log().Append({&claim, 1}).ok());
  const auto records = backend.source().Poll(1, kPatience);
  ASSERT_TRUE(records.ok() && records->size() == 1);
  EXPECT_EQ(std::get<AdmittedClaim>((*records)[0].record).trace_parent, claim.trace_parent);
}

class KafkaLetters : public testing::Test {
 protected:
  std::unique_ptr<DeadLetterBox> MakeBox(DeadLetterBox::Options options = {}) {
    options.brokers = backend_.server().brokers();
    if (options.topic == DeadLetterBox::Options().topic) options.topic = backend_.letters_topic();
    options.origin_topic = backend_.topic();
    return Made(DeadLetterBox::Create(options));
  }

  void Add(std::vector<coupon::DeadRecord> records) {
    const absl::Status added = backend_.dead_letters().Add(records);
    ASSERT_TRUE(added.ok()) << added;
  }

  KafkaBackend backend_;
};

TEST_F(KafkaLetters, KeepWhatARecordWasAndWhereItCameFrom) {
  const AdmittedClaim claim = ClaimOf(42);
  Add({{.record = {.partition = 2, .position = 17, .record = claim}, .reason = "no such coupon"},
       {.record = {.partition = 1,
                   .position = 9,
                   .record = Malformed{.reason = "a reason", .key = "k", .payload = {"\0x", 2}}},
        .reason = "a reason"}});
  const auto kept = backend_.server().Read(backend_.letters_topic());
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0].key, "42");
  EXPECT_EQ(kept[0].payload, Encode(claim).payload);
  EXPECT_EQ(kept[0].headers,
            (std::map<std::string, std::string>{
                {"content-type", "application/x-protobuf; proto=ecom.event.v1.ClaimLogRecord"},
                {"schema-version", "1"},
                {"request-id", claim.request.ToString()},
                {"reason", "no such coupon"},
                {"origin-topic", backend_.topic()},
                {"origin-partition", "2"},
                {"origin-offset", "17"}}));
  EXPECT_EQ(kept[1].key, "k");
  EXPECT_EQ(kept[1].payload, std::string("\0x", 2));
  EXPECT_EQ(kept[1].headers,
            (std::map<std::string, std::string>{{"content-type", "application/octet-stream"},
                                                {"reason", "a reason"},
                                                {"origin-topic", backend_.topic()},
                                                {"origin-partition", "1"},
                                                {"origin-offset", "9"}}));
}

TEST_F(KafkaLetters, AreListedAndFound) {
  const auto box = MakeBox();
  EXPECT_TRUE(Made(box->List(10)).empty());
  EXPECT_TRUE(absl::IsNotFound(box->Find(0, 0).status()));
  const absl::Time before = absl::Now() - absl::Seconds(1);
  for (int64_t user = 1; user <= 5; ++user) {
    Add({{.record = {.partition = 1, .position = user, .record = ClaimOf(user)}, .reason = "why"}});
  }
  const std::vector<DeadLetter> letters = Made(box->List(10));
  ASSERT_EQ(letters.size(), 5u);
  EXPECT_EQ(letters[4].partition, 0);
  EXPECT_EQ(letters[4].position, 4);
  EXPECT_GT(letters[4].kept_at, before);
  EXPECT_EQ(letters[4].reason, "why");
  EXPECT_EQ(letters[4].origin_topic, backend_.topic());
  EXPECT_EQ(letters[4].record.partition, 1);
  EXPECT_EQ(letters[4].record.position, 5);
  EXPECT_EQ(std::get<AdmittedClaim>(letters[4].record.record).holder.user.value, 5);
  EXPECT_FALSE(letters[4].cut);

  EXPECT_EQ(Made(box->List(2)).size(), 2u);
  const std::vector<DeadLetter> rest = Made(box->List(10, {{0, 3}}));
  ASSERT_EQ(rest.size(), 2u);
  EXPECT_EQ(rest[0].position, 3);
  EXPECT_EQ(Made(box->Find(0, 3)).key, "4");
  EXPECT_TRUE(absl::IsNotFound(box->Find(0, 5).status()));
  EXPECT_TRUE(absl::IsNotFound(box->Find(0, -1).status()));
  EXPECT_TRUE(absl::IsNotFound(box->Find(7, 0).status()));
}

TEST_F(KafkaLetters, AreReplayedToTheLog) {
  const AdmittedClaim claim = ClaimOf(42);
  const Barrier barrier = {.coupon = {1}, .generation = {4}};
  Add({{.record = {.partition = 0, .position = 1, .record = claim}, .reason = "why"},
       {.record = {.partition = 2, .position = 2, .record = barrier}, .reason = "why"}});
  const auto box = MakeBox();
  for (const DeadLetter& letter : Made(box->List(10))) {
    const absl::Status replayed = box->Replay(letter);
    EXPECT_TRUE(replayed.ok()) << replayed;
  }
  std::vector<LogRecord> records;
  ASSERT_TRUE(Eventually([&] {
    const auto polled = backend_.source().Poll(10, kShort);
    if (polled.ok()) records.insert(records.end(), polled->begin(), polled->end());
    return records.size() == 2;
  }));
  for (const LogRecord& record : records) {
    if (const auto* replayed = std::get_if<Barrier>(&record.record)) {
      EXPECT_EQ(record.partition, 2);
      EXPECT_EQ(replayed->generation, barrier.generation);
    } else {
      EXPECT_EQ(std::get<AdmittedClaim>(record.record).request, claim.request);
    }
  }
  EXPECT_EQ(Made(box->List(10)).size(), 2u);  // they stay
}

TEST_F(KafkaLetters, AreCutWhenNoBrokerWouldTakeThem) {
  Add({{.record = {.record =
                       Malformed{
                           .reason = "huge", .key = "k", .payload = std::string(2000000, 'x')}},
        .reason = "huge"}});
  const auto box = MakeBox();
  const std::vector<DeadLetter> letters = Made(box->List(10));
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_TRUE(letters[0].cut);
  EXPECT_EQ(letters[0].key, "k");
  EXPECT_GT(letters[0].payload.size(), 900000u);
  EXPECT_EQ(backend_.server().Read(backend_.letters_topic())[0].headers["cut-from-bytes"],
            "2000001");
  EXPECT_TRUE(absl::IsFailedPrecondition(box->Replay(letters[0])));
}

TEST_F(KafkaLetters, AreForAPersonToLookAfterWhenTheirTopicIsMissing) {
  const auto box = MakeBox({.topic = "no-such-topic"});
  EXPECT_TRUE(absl::IsFailedPrecondition(box->List(10).status())) << box->List(10).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(box->Find(0, 0).status()));
  const auto letters = Made(adapters::kafka::KafkaDeadLetters::Create(
      {.brokers = backend_.server().brokers(), .topic = "no-such-topic"}));
  const std::vector<coupon::DeadRecord> dead = {{.record = {.record = ClaimOf(1)}, .reason = "x"}};
  EXPECT_TRUE(absl::IsUnavailable(letters->Add(dead)));
}

TEST(KafkaFeed, PublishesOneEventForEachCoupon) {
  KafkaBackend backend;
  std::vector<coupon::IssuedCoupon> issued;
  for (int64_t user = 1; user <= 20; ++user) {
    issued.push_back({.holder = {.coupon = {7}, .user = {user}},
                      .request = RequestId::Random(),
                      .issued_at = absl::FromUnixMicros(user)});
  }
  const absl::Status published = backend.feed().Publish(issued);
  ASSERT_TRUE(published.ok()) << published;
  EXPECT_TRUE(backend.feed().Publish({}).ok());
  std::map<std::string, std::string> users;  // by request
  for (const KafkaRecord& record : backend.server().Read(backend.feed_topic())) {
    event::v1::CouponIssued event;
    ASSERT_TRUE(event.ParseFromString(record.payload));
    EXPECT_EQ(record.headers.at("id"), event.request_id());
    EXPECT_EQ(record.headers.at("request-id"), event.request_id());
    EXPECT_EQ(record.key, std::to_string(event.user_id()));
    users[event.request_id()] = record.key;
  }
  ASSERT_EQ(users.size(), issued.size());
  for (const coupon::IssuedCoupon& coupon : issued) {
    EXPECT_EQ(users[coupon.request.ToString()], std::to_string(coupon.holder.user.value));
  }
}

class KafkaHistory : public testing::Test {
 protected:
  std::unique_ptr<adapters::kafka::KafkaHistory> Open(
      adapters::kafka::KafkaHistory::Options options = {}) {
    options.brokers = backend_.server().brokers();
    options.log_topic = backend_.topic();
    options.feed_topic = backend_.feed_topic();
    return Made(adapters::kafka::KafkaHistory::Create(std::move(options)));
  }

  void Append(const std::vector<AdmittedClaim>& claims) {
    const absl::Status appended = backend_.log().Append(claims);
    ASSERT_TRUE(appended.ok()) << appended;
  }

  KafkaBackend backend_;
};

TEST_F(KafkaHistory, TellsOneUsersRecordsAndTheBarriersBeforeThem) {
  Append(ClaimsOf(1, 300));
  AdmittedClaim first = ClaimOf(42), second = ClaimOf(42), of_another_coupon = ClaimOf(42);
  of_another_coupon.holder.coupon = {2};
  ASSERT_TRUE(backend_.log().AppendBarrier({{2}, {9}, ""}).ok());
  Append({first, of_another_coupon});
  ASSERT_TRUE(backend_.log().AppendBarrier({{1}, {4}, ""}).ok());
  Append({second});
  const auto log = Open()->ReadLog(first.holder);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ(log->read_to, log->end);
  EXPECT_FALSE(log->more);
  ASSERT_EQ(log->records.size(), 3u);  // one of ClaimsOf
  const auto request_of = [&](size_t i) {
    return std::get<AdmittedClaim>(log->records[i].record.record).request;
  };
  EXPECT_EQ(request_of(1), first.request);
  EXPECT_EQ(log->records[1].barrier_before.value, 0);
  EXPECT_EQ(request_of(2), second.request);
  EXPECT_EQ(log->records[2].barrier_before.value, 4);
  EXPECT_EQ(log->records[2].record.partition, log->partition);
  EXPECT_LT(absl::Now() - log->records[2].appended_at, absl::Minutes(1));
}

TEST_F(KafkaHistory, FindsEachUserInThePartitionOfItsKey) {
  Append(ClaimsOf(1, 30));
  const auto history = Open();
  for (int64_t user = 1; user <= 30; ++user) {
    const auto log = history->ReadLog({{1}, {user}});
    ASSERT_TRUE(log.ok()) << log.status();
    EXPECT_EQ(log->records.size(), 1u) << user;
  }
  EXPECT_TRUE(history->ReadLog({{1}, {31}})->records.empty());
}

TEST_F(KafkaHistory, KeepsWhatIsNoneOfOursButHasTheUsersKey) {
  Append({ClaimOf(42)});
  const LogPartition partition = Open()->ReadLog({{1}, {42}})->partition;
  backend_.server().Produce(backend_.topic(),
                            {.partition = partition, .key = "42", .payload = "garbage"});
  const auto log = Open({.records_max = 2})->ReadLog({{1}, {42}});
  ASSERT_TRUE(log.ok()) << log.status();
  ASSERT_EQ(log->records.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<Malformed>(log->records[1].record.record));
  EXPECT_FALSE(log->more);
  EXPECT_TRUE(Open({.records_max = 1})->ReadLog({{1}, {42}})->more);
}

TEST_F(KafkaHistory, TellsTheFeedsEvents) {
  std::vector<coupon::IssuedCoupon> issued;
  for (int64_t user = 1; user <= 20; ++user) {
    issued.push_back({.holder = {{1 + user % 2}, {user}},
                      .request = RequestId::Random(),
                      .issued_at = absl::FromUnixMicros(user)});
  }
  ASSERT_TRUE(backend_.feed().Publish(issued).ok());
  ASSERT_TRUE(backend_.feed().Publish({&issued[3], 1}).ok());
  backend_.server().Produce(backend_.feed_topic(),
                            {.partition = 0, .key = "x", .payload = "garbage"});

  const auto events = Open()->ReadEvents(issued[3].holder);
  ASSERT_TRUE(events.ok()) << events.status();
  ASSERT_EQ(events->events.size(), 2u);
  EXPECT_EQ(events->events[0].issued.request, issued[3].request);
  EXPECT_EQ(events->events[0].issued.issued_at, issued[3].issued_at);
  EXPECT_TRUE(events->coverage.from_the_first && events->coverage.to_the_end);

  std::map<RequestId, int> seen;
  const auto coverage =
      Open()->VisitEvents([&](const coupon::IssuedCoupon& event) { ++seen[event.request]; });
  ASSERT_TRUE(coverage.ok()) << coverage.status();
  EXPECT_EQ(seen.size(), issued.size());
  EXPECT_EQ(seen[issued[3].request], 2);
  EXPECT_EQ(coverage->unreadable, 1);
  EXPECT_TRUE(coverage->from_the_first && coverage->to_the_end);
}

TEST_F(KafkaHistory, SaysWhereRetentionHasTakenSomethingAway) {
  Append({ClaimOf(42)});
  const LogPartition partition = Open()->ReadLog({{1}, {42}})->partition;
  Append({ClaimOf(42)});
  backend_.server().DeleteRecordsBefore(backend_.topic(), partition, 1);
  const auto log = Open()->ReadLog({{1}, {42}});
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ(log->begin, 1);
  EXPECT_EQ(log->records.size(), 1u);
}

TEST(KafkaHistoryWithoutABroker, IsUnavailable) {
  const auto history = Made(adapters::kafka::KafkaHistory::Create(
      {.brokers = "127.0.0.1:1", .timeout = absl::Milliseconds(300)}));
  const auto log = history->ReadLog({{1}, {42}});
  EXPECT_TRUE(absl::IsUnavailable(log.status())) << log.status();
}

TEST(KafkaTopics, AreSaidToBeMissingOrTooSmall) {
  KafkaBackend backend;
  const std::string brokers = backend.server().brokers();
  EXPECT_TRUE(CheckTopics({.brokers = brokers, .topics = {{backend.topic(), 3}}}).ok());
  const absl::Status wrong =
      CheckTopics({.brokers = brokers, .topics = {{backend.topic(), 4}, {"no-such-topic", 5}}});
  EXPECT_TRUE(absl::IsFailedPrecondition(wrong)) << wrong;
  for (const std::string text :
       {"has 3 partitions, less than 4", "--alter", "no topic no-such-topic", "make stack",
        "--create --topic no-such-topic --partitions 5"}) {
    EXPECT_TRUE(absl::StrContains(wrong.message(), text)) << text << " in " << wrong;
  }
  EXPECT_TRUE(
      absl::IsNotFound(CheckTopics({.brokers = brokers, .topics = {{"no-such-topic", 5}}})));
}

TEST(KafkaTopics, AreUnknownWhenNoBrokerAnswers) {
  const absl::Status unknown =
      CheckTopics({.brokers = "127.0.0.1:1", .timeout = absl::Milliseconds(300)});
  EXPECT_TRUE(absl::IsUnavailable(unknown)) << unknown;
  EXPECT_TRUE(absl::IsInvalidArgument(CheckTopics({.brokers = ""})));
}

}  // namespace
}  // namespace ecom::tests
