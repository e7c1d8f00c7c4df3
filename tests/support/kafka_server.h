#pragma once

#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "support/free_port.h"
#include "support/temporary_folder.h"

namespace ecom::tests {

/// A record as a person would see it with kcat.
struct KafkaRecord {
  int32_t partition = 0;
  int64_t offset = 0;
  std::string key;
  std::string payload;
  std::map<std::string, std::string> headers;
};

/// A Kafka of this test program's own: one node (KRaft) with the configuration of the composed
/// system, on ports and in a folder of its own, and gone when the program is, however it ends.
/// `compose/local/install stack` fetches what it runs; without that the program fails. Not
/// thread-safe.
class KafkaServer {
 public:
  /// The program's server, started at the first call.
  static KafkaServer& Get() {
    static KafkaServer server;
    return server;
  }

  KafkaServer(const KafkaServer&) = delete;
  KafkaServer& operator=(const KafkaServer&) = delete;
  ~KafkaServer() { Kill(); }

  std::string brokers() const { return "127.0.0.1:" + std::to_string(port_); }

  /// Starts the server on its data, and waits until every partition has a leader.
  void Start() {
    process_ = Java({"-Xms64m", "-Xmx256m", "-XX:+ExitOnOutOfMemoryError", "kafka.Kafka", conf()});
    AwaitLeaders();
  }

  /// Ends the server as a crash would. Its data stays.
  void Kill() {
    if (process_ <= 0) return;
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
    process_ = -1;
  }

  /// Returns when the server stands still.
  void Freeze() {
    kill(process_, SIGSTOP);
    waitpid(process_, nullptr, WUNTRACED);
  }
  /// Returns when it answers again.
  void Thaw() {
    kill(process_, SIGCONT);
    AwaitLeaders();
  }

  /// A new topic, whose name no other has, begins with `prefix`.
  std::string MakeTopic(const std::string& prefix, int partitions) {
    const std::string name = prefix + "-" + std::to_string(++topics_);
    MakeTopicNamed(name, partitions);
    return name;
  }

  void MakeTopicNamed(const std::string& name, int partitions) {
    char error[256];
    const std::unique_ptr<rd_kafka_NewTopic_t, decltype(&rd_kafka_NewTopic_destroy)> topic(
        rd_kafka_NewTopic_new(name.c_str(), partitions, 1, error, sizeof(error)),
        rd_kafka_NewTopic_destroy);
    rd_kafka_NewTopic_t* topics[] = {topic.get()};
    AwaitTopics(rd_kafka_event_CreateTopics_result, rd_kafka_CreateTopics_result_topics,
                [&](rd_kafka_queue_t* queue) {
                  rd_kafka_CreateTopics(admin_.get(), topics, 1, nullptr, queue);
                });
    AwaitLeaders();
  }

  void DeleteTopic(const std::string& name) {
    const std::unique_ptr<rd_kafka_DeleteTopic_t, decltype(&rd_kafka_DeleteTopic_destroy)> topic(
        rd_kafka_DeleteTopic_new(name.c_str()), rd_kafka_DeleteTopic_destroy);
    rd_kafka_DeleteTopic_t* topics[] = {topic.get()};
    AwaitTopics(rd_kafka_event_DeleteTopics_result, rd_kafka_DeleteTopics_result_topics,
                [&](rd_kafka_queue_t* queue) {
                  rd_kafka_DeleteTopics(admin_.get(), topics, 1, nullptr, queue);
                });
  }

  /// Deletes what stands before `offset`, as retention does.
  void DeleteRecordsBefore(const std::string& topic, int32_t partition, int64_t offset) {
    const PartitionList list = ListOf(topic, partition, offset);
    const std::unique_ptr<rd_kafka_DeleteRecords_t, decltype(&rd_kafka_DeleteRecords_destroy)>
        deletion(rd_kafka_DeleteRecords_new(list.get()), rd_kafka_DeleteRecords_destroy);
    rd_kafka_DeleteRecords_t* deletions[] = {deletion.get()};
    const Queue queue(rd_kafka_queue_new(admin_.get()), rd_kafka_queue_destroy);
    rd_kafka_DeleteRecords(admin_.get(), deletions, 1, nullptr, queue.get());
    const Event event(rd_kafka_queue_poll(queue.get(), kTimeoutMs), rd_kafka_event_destroy);
    Check(event ? rd_kafka_event_error(event.get()) : RD_KAFKA_RESP_ERR__TIMED_OUT, "delete");
  }

  /// Changes a bit of the first `text` in a partition's file, as a bad disk would; called again,
  /// changes it back.
  void FlipBitOf(const std::string& topic, int32_t partition, const std::string& text) {
    const std::string path = folder_.path() + "/data/" + topic + "-" + std::to_string(partition) +
                             "/00000000000000000000.log";
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    size_t at = bytes.find(text);
    if (at == bytes.npos) at = flipped_at_;
    flipped_at_ = at;
    file.clear();
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(bytes.at(at) ^ 1));
  }

  /// Says that a group, which has no members, has read so far.
  void CommitOffset(const std::string& group, const std::string& topic, int32_t partition,
                    int64_t offset) {
    const Client client = MakeClient(RD_KAFKA_CONSUMER, group);
    const PartitionList list = ListOf(topic, partition, offset);
    Check(rd_kafka_commit(client.get(), list.get(), 0), "commit");
  }

  /// What a group has committed; -1001: nothing.
  int64_t CommittedOffset(const std::string& group, const std::string& topic, int32_t partition) {
    const Client client = MakeClient(RD_KAFKA_CONSUMER, group);
    const PartitionList list = ListOf(topic, partition, -1);
    Check(rd_kafka_committed(client.get(), list.get(), kTimeoutMs), "committed");
    return list->elems[0].offset;
  }

  /// Appends a record; by its key when `partition` is -1.
  void Produce(const std::string& topic, const KafkaRecord& record) {
    rd_kafka_headers_t* const headers = rd_kafka_headers_new(record.headers.size());
    for (const auto& [name, value] : record.headers) {
      rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()), value.data(),
                          static_cast<ssize_t>(value.size()));
    }
    rd_kafka_vu_t fields[6] = {};
    fields[0].vtype = RD_KAFKA_VTYPE_TOPIC;
    fields[0].u.cstr = topic.c_str();
    fields[1].vtype = RD_KAFKA_VTYPE_PARTITION;
    fields[1].u.i32 = record.partition;
    fields[2].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    fields[2].u.i = RD_KAFKA_MSG_F_COPY;
    fields[3].vtype = RD_KAFKA_VTYPE_KEY;
    fields[3].u.mem = {const_cast<char*>(record.key.data()), record.key.size()};
    fields[4].vtype = RD_KAFKA_VTYPE_VALUE;
    fields[4].u.mem = {const_cast<char*>(record.payload.data()), record.payload.size()};
    fields[5].vtype = RD_KAFKA_VTYPE_HEADERS;
    fields[5].u.headers = headers;
    rd_kafka_error_t* const error = rd_kafka_produceva(admin_.get(), fields, 6);
    Check(error == nullptr ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_error_code(error), "produce");
    Check(rd_kafka_flush(admin_.get(), kTimeoutMs), "flush");
  }

  /// Everything that is in a topic now, by partition.
  std::vector<KafkaRecord> Read(const std::string& topic) {
    const Client client = MakeClient(RD_KAFKA_CONSUMER, "reader");
    const PartitionList list(rd_kafka_topic_partition_list_new(4),
                             rd_kafka_topic_partition_list_destroy);
    for (int partition = 0; partition < PartitionsOf(topic); ++partition) {
      rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset =
          RD_KAFKA_OFFSET_BEGINNING;
    }
    Check(rd_kafka_assign(client.get(), list.get()), "assign");
    std::map<int32_t, std::vector<KafkaRecord>> partitions;
    std::set<int32_t> at_end;  // a partition may say so more than once
    while (std::cmp_less(at_end.size(), list->cnt)) {
      const std::unique_ptr<rd_kafka_message_t, decltype(&rd_kafka_message_destroy)> message(
          rd_kafka_consumer_poll(client.get(), kTimeoutMs), rd_kafka_message_destroy);
      if (!message) Die("a topic was not read to its end");
      if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        at_end.insert(message->partition);
      } else {
        Check(message->err, "read");
        partitions[message->partition].push_back(RecordOf(*message));
      }
    }
    std::vector<KafkaRecord> records;
    for (auto& [partition, found] : partitions) {
      records.insert(records.end(), found.begin(), found.end());
    }
    return records;
  }

 private:
  using Client = std::unique_ptr<rd_kafka_t, decltype(&rd_kafka_destroy)>;
  using Queue = std::unique_ptr<rd_kafka_queue_t, decltype(&rd_kafka_queue_destroy)>;
  using Event = std::unique_ptr<rd_kafka_event_t, decltype(&rd_kafka_event_destroy)>;
  using PartitionList = std::unique_ptr<rd_kafka_topic_partition_list_t,
                                        decltype(&rd_kafka_topic_partition_list_destroy)>;

  static constexpr int kTimeoutMs = 30000;

  KafkaServer()
      : port_(FreePort()), controller_port_(FreePort()), admin_(nullptr, rd_kafka_destroy) {
    std::ofstream out(conf());
    out << std::ifstream(std::string(ECOM_SOURCE_DIR) + "/compose/kafka/server.properties").rdbuf()
        << "\nlog.dirs=" << folder_.path() << "/data"
        << "\nlisteners=PLAINTEXT://" << brokers() << ",CONTROLLER://127.0.0.1:" << controller_port_
        << "\ncontroller.quorum.voters=1@127.0.0.1:" << controller_port_ << "\n";
    out.close();
    int status = -1;
    const pid_t format = Java({"kafka.tools.StorageTool", "format", "--config", conf(),
                               "--cluster-id", "AAAAAAAAAAAAAAAAAAAAAA"});
    if (waitpid(format, &status, 0) < 0 || status != 0) Die("Kafka's storage was not formatted");
    admin_ = MakeClient(RD_KAFKA_PRODUCER, "");
    Start();
  }

  std::string conf() const { return folder_.path() + "/server.properties"; }

  pid_t Java(const std::vector<std::string>& command) const {
    const std::string source = ECOM_SOURCE_DIR;
    std::vector<std::string> arguments = {
        "java",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Dkafka.logs.dir=" + folder_.path(),
        "-Dlog4j.configuration=file:" + source + "/compose/kafka/log4j.properties",
        "-cp",
        source + "/build/third_party/kafka/libs/*"};
    arguments.insert(arguments.end(), command.begin(), command.end());
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    const int output =
        open((folder_.path() + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
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
    execvp(pointers[0], pointers.data());
    _exit(127);
  }

  Client MakeClient(rd_kafka_type_t type, const std::string& group) const {
    rd_kafka_conf_t* const conf = rd_kafka_conf_new();
    std::map<std::string, std::string> settings = {{"bootstrap.servers", brokers()},
                                                   {"allow.auto.create.topics", "false"},
                                                   {"reconnect.backoff.ms", "20"},
                                                   {"reconnect.backoff.max.ms", "100"},
                                                   {"socket.nagle.disable", "true"},
                                                   {"log_level", "0"},
                                                   {"topic.metadata.refresh.interval.ms", "1000"}};
    if (type == RD_KAFKA_CONSUMER) {
      settings["group.id"] = group;
      settings["enable.auto.commit"] = "false";
      settings["enable.partition.eof"] = "true";
    } else {
      settings["linger.ms"] = "0";
    }
    char error[256];
    for (const auto& [name, value] : settings) {
      if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), error, sizeof(error)) !=
          RD_KAFKA_CONF_OK) {
        Die(error);
      }
    }
    rd_kafka_t* const client = rd_kafka_new(type, conf, error, sizeof(error));
    if (client == nullptr) Die(error);
    if (type == RD_KAFKA_CONSUMER) rd_kafka_poll_set_consumer(client);
    return {client, rd_kafka_destroy};
  }

  /// Waits until there is a broker, and a leader of all that it has.
  void AwaitLeaders() const {
    const absl::Time until = absl::Now() + absl::Seconds(60);
    while (!HasLeaders()) {
      if (waitpid(process_, nullptr, WNOHANG) == process_) Die("Kafka ended");
      if (absl::Now() > until) Die("Kafka does not answer");
      absl::SleepFor(absl::Milliseconds(5));  // between two looks at it
    }
  }

  bool HasLeaders() const {
    const rd_kafka_metadata_t* metadata = nullptr;
    if (rd_kafka_metadata(admin_.get(), 1, nullptr, &metadata, 500) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return false;
    }
    bool all = metadata->broker_cnt > 0;
    for (int i = 0; i < metadata->topic_cnt; ++i) {
      for (int p = 0; p < metadata->topics[i].partition_cnt; ++p) {
        all = all && metadata->topics[i].partitions[p].leader >= 0;
      }
    }
    rd_kafka_metadata_destroy(metadata);
    return all;
  }

  int PartitionsOf(const std::string& topic) const {
    const rd_kafka_metadata_t* metadata = nullptr;
    Check(rd_kafka_metadata(admin_.get(), 1, nullptr, &metadata, kTimeoutMs), "metadata");
    int partitions = 0;
    for (int i = 0; i < metadata->topic_cnt; ++i) {
      if (topic == metadata->topics[i].topic) partitions = metadata->topics[i].partition_cnt;
    }
    rd_kafka_metadata_destroy(metadata);
    return partitions;
  }

  template <typename ResultOf, typename TopicsOf, typename Ask>
  void AwaitTopics(ResultOf result_of, TopicsOf topics_of, Ask ask) {
    const Queue queue(rd_kafka_queue_new(admin_.get()), rd_kafka_queue_destroy);
    ask(queue.get());
    const Event event(rd_kafka_queue_poll(queue.get(), kTimeoutMs), rd_kafka_event_destroy);
    Check(event ? rd_kafka_event_error(event.get()) : RD_KAFKA_RESP_ERR__TIMED_OUT, "topics");
    size_t count = 0;
    const auto* const* const topics = topics_of(result_of(event.get()), &count);
    for (size_t i = 0; i < count; ++i) Check(rd_kafka_topic_result_error(topics[i]), "topic");
  }

  static PartitionList ListOf(const std::string& topic, int32_t partition, int64_t offset) {
    PartitionList list(rd_kafka_topic_partition_list_new(1), rd_kafka_topic_partition_list_destroy);
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = offset;
    return list;
  }

  static KafkaRecord RecordOf(const rd_kafka_message_t& message) {
    KafkaRecord record = {.partition = message.partition,
                          .offset = message.offset,
                          .key = {static_cast<const char*>(message.key), message.key_len},
                          .payload = {static_cast<const char*>(message.payload), message.len}};
    rd_kafka_headers_t* headers = nullptr;
    rd_kafka_message_headers(&message, &headers);
    const char* name = nullptr;
    const void* value = nullptr;
    size_t size = 0;
    for (size_t i = 0;
         headers != nullptr && rd_kafka_header_get_all(headers, i, &name, &value, &size) == 0;
         ++i) {
      record.headers[name] = std::string(static_cast<const char*>(value), size);
    }
    return record;
  }

  void Check(rd_kafka_resp_err_t error, const std::string& what) const {
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) Die(what + ": " + rd_kafka_err2str(error));
  }

  [[noreturn]] void Die(const std::string& why) const {
    std::string output;
    for (const char* const name : {"/log", "/kafka.log"}) {
      std::ifstream file(folder_.path() + name);
      output.append(std::istreambuf_iterator<char>(file), {});
    }
    std::fprintf(stderr,
                 "%s; these tests need a Java and what `compose/local/install stack` fetches. "
                 "Kafka's output:\n%s\n",
                 why.c_str(), output.c_str());
    std::abort();
  }

  TemporaryFolder folder_;
  const int port_;
  const int controller_port_;
  pid_t process_ = -1;
  int topics_ = 0;
  size_t flipped_at_ = 0;
  Client admin_;
};

}  // namespace ecom::tests
