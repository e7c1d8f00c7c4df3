#include "adapters/kafka/claim_source.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/strings/str_cat.h"
#include "adapters/kafka/client.h"
#include "adapters/kafka/codec.h"
#include "adapters/kafka/error.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::adapters::kafka {

using coupon::LogPartition;
using coupon::LogPosition;
using coupon::LogRecord;

namespace {

/// For the group's positions, when partitions are given to us.
constexpr absl::Duration kStartTimeout = absl::Seconds(5);
/// For begin and end of a partition, when our position does not seem to be in it.
constexpr absl::Duration kWatermarksTimeout = absl::Seconds(2);
constexpr size_t kPollBytesMax = 8 << 20;
/// For one look at a queue while the client closes.
constexpr absl::Duration kClosePoll = absl::Milliseconds(50);

}  // namespace

/// A client that is a member of the group, until it fails for good.
class KafkaClaimSource::Consumer {
 public:
  static absl::StatusOr<std::unique_ptr<Consumer>> Create(const Options& options,
                                                          std::atomic<int>& assigned,
                                                          std::atomic<int>& stalled) {
    std::unique_ptr<Consumer> consumer(new Consumer(options, assigned, stalled));
    RETURN_IF_ERROR(consumer->Subscribe());
    return consumer;
  }

  ~Consumer() {
    if (client_) Close();
    assigned_ = 0;
    stalled_ = 0;
  }

  absl::StatusOr<std::vector<LogRecord>> Poll(int records_max, absl::Duration timeout);
  absl::Status Commit(std::span<const LogRecord> records);
  void Rewind();

  /// Failed for good: to be replaced.
  bool broken() const { return broken_; }

 private:
  /// A partition that is ours. Positions are the next one to come, or RD_KAFKA_OFFSET_BEGINNING.
  struct Partition {
    LogPosition settled;    // what Commit said, or where the group began
    LogPosition delivered;  // what Poll returned
    bool stalled = false;
  };

  Consumer(const Options& options, std::atomic<int>& assigned, std::atomic<int>& stalled)
      : options_(options), assigned_(assigned), stalled_(stalled) {}

  static void OnRebalance(rd_kafka_t* client, rd_kafka_resp_err_t what,
                          rd_kafka_topic_partition_list_t* partitions, void* self);
  static void OnError(rd_kafka_t* client, int error, const char* reason, void* self);

  absl::Status Subscribe();
  void Close();
  void Assigned(const rd_kafka_topic_partition_list_t& partitions);
  void Revoked();
  absl::StatusOr<PartitionList> ReadCommitted(const rd_kafka_topic_partition_list_t& partitions);
  void FetchFromDelivered();
  void Deliver(const rd_kafka_message_t& message);
  absl::Status Failed(const rd_kafka_message_t& message);
  bool IsOutside(LogPartition partition);
  void Stall(LogPartition partition, const char* reason);
  absl::Status Break(const absl::Status& why);

  rd_kafka_topic_partition_t* Add(rd_kafka_topic_partition_list_t& list, LogPartition partition,
                                  LogPosition position) const {
    auto* const added = rd_kafka_topic_partition_list_add(&list, options_.topic.c_str(), partition);
    added->offset = position;
    return added;
  }

  const Options& options_;
  std::atomic<int>& assigned_;
  std::atomic<int>& stalled_;
  absl::btree_map<LogPartition, Partition> partitions_;
  std::vector<LogRecord> polled_;  // by the Poll that runs
  absl::Status failure_;           // what a callback reports to the Poll that runs
  bool broken_ = false;
  bool closing_ = false;
  Client client_;  // ends first: its callbacks use the rest
};

absl::Status KafkaClaimSource::Consumer::Subscribe() {
  Settings settings = {
      {"group.id", options_.group},
      {"session.timeout.ms", absl::StrCat(MillisOf(options_.session_timeout))},
      {"heartbeat.interval.ms", absl::StrCat(MillisOf(options_.session_timeout / 4))},
      {"max.poll.interval.ms", absl::StrCat(MillisOf(options_.silence_max))},
      {"partition.assignment.strategy", "range"},
      {"enable.auto.commit", "true"},
      {"auto.commit.interval.ms", absl::StrCat(MillisOf(options_.commit_interval))},
      {"enable.auto.offset.store", "false"},
      {"auto.offset.reset", "error"},
      // Nobody writes in transactions here; a stranger's open one must not hold us up.
      {"isolation.level", "read_uncommitted"},
      {"check.crcs", "true"},
      // A row may wait a moment, and few large batches cost Kafka and the store far less.
      {"fetch.min.bytes", "1048576"},
      {"fetch.wait.max.ms", "50"},
      {"fetch.error.backoff.ms", "100"},
      {"queued.max.messages.kbytes", absl::StrCat(options_.prefetch_kib_max)},
      {"topic.metadata.refresh.interval.ms", "10000"},
  };
  if (!options_.instance.empty()) settings.emplace_back("group.instance.id", options_.instance);
  ASSIGN_OR_RETURN(Conf conf, MakeConf(options_.brokers, settings, this));
  rd_kafka_conf_set_rebalance_cb(conf.get(), OnRebalance);
  rd_kafka_conf_set_error_cb(conf.get(), OnError);
  ASSIGN_OR_RETURN(client_, MakeClient(RD_KAFKA_CONSUMER, std::move(conf)));
  rd_kafka_poll_set_consumer(client_.get());
  const PartitionList topics = MakePartitionList();
  Add(*topics, RD_KAFKA_PARTITION_UA, RD_KAFKA_OFFSET_INVALID);
  return KafkaStatus(rd_kafka_subscribe(client_.get(), topics.get()), "subscribe");
}

/// Commits by way of Revoked. What hangs is left alone after a while.
void KafkaClaimSource::Consumer::Close() {
  closing_ = true;
  const absl::Time deadline = MonotonicNow() + options_.close_timeout;
  const Owned<rd_kafka_queue_t> queue(rd_kafka_queue_new(client_.get()));
  const Owned<rd_kafka_error_t> error(rd_kafka_consumer_close_queue(client_.get(), queue.get()));
  if (error) return;  // it failed for good, and so is not in the group any more
  while (rd_kafka_consumer_closed(client_.get()) == 0 && MonotonicNow() < deadline) {
    const Owned<rd_kafka_event_t> event(rd_kafka_queue_poll(queue.get(), MillisOf(kClosePoll)));
    if (rd_kafka_event_type(event.get()) != RD_KAFKA_EVENT_REBALANCE) continue;
    OnRebalance(client_.get(), rd_kafka_event_error(event.get()),
                rd_kafka_event_topic_partition_list(event.get()), this);
  }
}

absl::StatusOr<std::vector<LogRecord>> KafkaClaimSource::Consumer::Poll(int records_max,
                                                                        absl::Duration timeout) {
  const absl::Time deadline = MonotonicNow() + timeout;
  size_t bytes = 0;
  polled_.clear();
  failure_ = absl::OkStatus();
  while (static_cast<int>(polled_.size()) < records_max && bytes < kPollBytesMax && failure_.ok()) {
    const absl::Duration wait = polled_.empty() ? deadline - MonotonicNow() : absl::ZeroDuration();
    const Message message(rd_kafka_consumer_poll(client_.get(), MillisOf(wait)));
    if (!message) break;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      failure_.Update(Failed(*message));
      continue;
    }
    bytes += message->key_len + message->len;
    Deliver(*message);
  }
  if (polled_.empty() && !failure_.ok()) return failure_;
  if (!failure_.ok()) {
    base::Log(base::Level::kWarn, "the claim log could not be read on", {{"error", failure_}});
  }
  return std::exchange(polled_, {});
}

void KafkaClaimSource::Consumer::Deliver(const rd_kafka_message_t& message) {
  const auto found = partitions_.find(message.partition);
  if (found == partitions_.end()) return;
  Partition& partition = found->second;
  partition.delivered = message.offset + 1;
  // The beginning may move while nothing is committed, and would take us along.
  if (partition.settled == RD_KAFKA_OFFSET_BEGINNING) partition.settled = message.offset;
  polled_.push_back({.partition = message.partition,
                     .position = message.offset,
                     .record = Decode(KeyOf(message), PayloadOf(message), [&](const char* name) {
                       return FindHeader(message, name);
                     })});
}

/// OK: the others can go on.
absl::Status KafkaClaimSource::Consumer::Failed(const rd_kafka_message_t& message) {
  const char* const text = rd_kafka_message_errstr(&message);
  std::array<char, 512> reason;
  const auto fatal = rd_kafka_fatal_error(client_.get(), reason.data(), reason.size());
  if (fatal != RD_KAFKA_RESP_ERR_NO_ERROR) return Break(KafkaStatus(fatal, reason.data()));
  if (!partitions_.contains(message.partition)) return Unavailable(KafkaStatus(message.err, text));
  if (message.err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET && IsOutside(message.partition)) {
    Stall(message.partition, text);
    return absl::OkStatus();
  }
  // librdkafka goes on behind what it could not read. We do not.
  FetchFromDelivered();
  return Unavailable(KafkaStatus(message.err, text));
}

/// Whether our position is not in the partition, as far as that can be known. librdkafka also says
/// so late, of a position that is ours no more.
bool KafkaClaimSource::Consumer::IsOutside(LogPartition partition) {
  LogPosition begin = 0;
  LogPosition end = 0;
  const auto error = rd_kafka_query_watermark_offsets(
      client_.get(), options_.topic.c_str(), partition, &begin, &end, MillisOf(kWatermarksTimeout));
  const LogPosition position = partitions_.at(partition).delivered;
  return error == RD_KAFKA_RESP_ERR_NO_ERROR && position != RD_KAFKA_OFFSET_BEGINNING &&
         (position < begin || position > end);
}

/// librdkafka has ended the partition's fetcher by itself.
void KafkaClaimSource::Consumer::Stall(LogPartition partition, const char* reason) {
  Partition& stalled = partitions_.at(partition);
  if (stalled.stalled) return;
  stalled.stalled = true;
  ++stalled_;
  const std::string what_to_do = absl::StrCat(
      "claims may have been lost from the log; those whose reservation is in the gate are appended "
      "again by themselves. Stop all servers, run `kafka-consumer-groups.sh --bootstrap-server ",
      options_.brokers, " --group ", options_.group, " --topic ", options_.topic, ":", partition,
      " --reset-offsets --to-earliest --execute` (what is read twice does no harm), start them");
  base::Log(base::Level::kError,
            "a partition of the claim log stands still: its next record is not in the log",
            {{"topic", options_.topic},
             {"partition", partition},
             {"position", stalled.delivered},
             {"reason", reason},
             {"what_to_do", what_to_do}});
}

absl::Status KafkaClaimSource::Consumer::Break(const absl::Status& why) {
  if (!broken_) {
    base::Log(base::Level::kError, "a reader of the claim log failed and is replaced",
              {{"topic", options_.topic}, {"group", options_.group}, {"error", why}});
  }
  broken_ = true;
  return Unavailable(why);
}

void KafkaClaimSource::Consumer::OnError(rd_kafka_t* /*client*/, int error, const char* reason,
                                         void* self) {
  if (error != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) return;
  static_cast<Consumer*>(self)->failure_.Update(KafkaStatus(error, reason));
}

void KafkaClaimSource::Consumer::OnRebalance(rd_kafka_t* /*client*/, rd_kafka_resp_err_t what,
                                             rd_kafka_topic_partition_list_t* partitions,
                                             void* self) {
  auto* const consumer = static_cast<Consumer*>(self);
  if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) return consumer->Assigned(*partitions);
  consumer->Revoked();
}

void KafkaClaimSource::Consumer::Assigned(const rd_kafka_topic_partition_list_t& partitions) {
  partitions_.clear();
  if (closing_) {
    rd_kafka_assign(client_.get(), nullptr);
    return;
  }
  const absl::StatusOr<PartitionList> committed = ReadCommitted(partitions);
  if (!committed.ok()) {
    failure_.Update(Break(committed.status()));
    rd_kafka_assign(client_.get(), nullptr);
    return;
  }
  for (int i = 0; i < (*committed)->cnt; ++i) {
    const rd_kafka_topic_partition_t& partition = (*committed)->elems[i];
    const LogPosition start =
        partition.offset == RD_KAFKA_OFFSET_INVALID ? RD_KAFKA_OFFSET_BEGINNING : partition.offset;
    partitions_[partition.partition] = {.settled = start, .delivered = start};
  }
  assigned_ = static_cast<int>(partitions_.size());
  FetchFromDelivered();
}

absl::StatusOr<PartitionList> KafkaClaimSource::Consumer::ReadCommitted(
    const rd_kafka_topic_partition_list_t& partitions) {
  PartitionList list(rd_kafka_topic_partition_list_copy(&partitions));
  if (list->cnt == 0) return list;
  RETURN_IF_ERROR(
      KafkaStatus(rd_kafka_committed(client_.get(), list.get(), MillisOf(kStartTimeout)),
                  "read the group's positions"));
  for (int i = 0; i < list->cnt; ++i) {
    RETURN_IF_ERROR(KafkaStatus(list->elems[i].err, "read the group's positions"));
  }
  return list;
}

/// Everything is ours no longer, so also what the Poll that runs has in hand: it comes again. What
/// is remembered is committed by librdkafka before it lets the partitions go.
void KafkaClaimSource::Consumer::Revoked() {
  polled_.clear();
  partitions_.clear();
  assigned_ = 0;
  stalled_ = 0;
  rd_kafka_assign(client_.get(), nullptr);
}

/// An assignment throws away what was fetched ahead, and starts where it says.
void KafkaClaimSource::Consumer::FetchFromDelivered() {
  const PartitionList list = MakePartitionList();
  for (const auto& [number, partition] : partitions_) {
    if (!partition.stalled) Add(*list, number, partition.delivered);
  }
  const absl::Status assigned =
      KafkaStatus(rd_kafka_assign(client_.get(), list.get()), "assign partitions");
  if (!assigned.ok()) failure_.Update(Break(assigned));
}

absl::Status KafkaClaimSource::Consumer::Commit(std::span<const LogRecord> records) {
  coupon::LogPositions ends;
  for (const LogRecord& record : records) {
    LogPosition& end = ends[record.partition];
    end = std::max(end, record.position + 1);
  }
  const PartitionList list = MakePartitionList();
  for (const auto& [number, end] : ends) {
    const auto found = partitions_.find(number);
    if (found == partitions_.end()) continue;
    found->second.settled = end;
    Add(*list, number, end);
  }
  if (list->cnt > 0) {
    RETURN_IF_ERROR(Unavailable(
        KafkaStatus(rd_kafka_offsets_store(client_.get(), list.get()), "remember positions")));
  }
  if (static_cast<size_t>(list->cnt) == ends.size()) return absl::OkStatus();
  return absl::UnavailableError("Kafka: the partition is another reader's by now");
}

void KafkaClaimSource::Consumer::Rewind() {
  bool back = false;
  for (auto& [number, partition] : partitions_) {
    if (partition.delivered == partition.settled) continue;
    partition.delivered = partition.settled;
    back = true;
  }
  if (back) FetchFromDelivered();
}

absl::StatusOr<std::unique_ptr<KafkaClaimSource>> KafkaClaimSource::Create(Options options) {
  std::unique_ptr<KafkaClaimSource> source(new KafkaClaimSource(std::move(options)));
  ASSIGN_OR_RETURN(source->consumer_,
                   Consumer::Create(source->options_, source->assigned_, source->stalled_));
  return source;
}

KafkaClaimSource::KafkaClaimSource(Options options)
    : options_(std::move(options)), retry_wait_(options_.retry_wait_min) {}

KafkaClaimSource::~KafkaClaimSource() = default;

absl::StatusOr<std::vector<LogRecord>> KafkaClaimSource::Poll(int records_max,
                                                              absl::Duration timeout) {
  RETURN_IF_ERROR(EnsureConsumer());
  absl::StatusOr<std::vector<LogRecord>> records = consumer_->Poll(records_max, timeout);
  if (records.ok() && !records->empty()) retry_wait_ = options_.retry_wait_min;
  return records;
}

absl::Status KafkaClaimSource::EnsureConsumer() {
  if (consumer_ && !consumer_->broken()) return absl::OkStatus();
  if (consumer_) {
    consumer_.reset();
    retry_at_ = MonotonicNow() + retry_wait_;
    retry_wait_ = std::min(2 * retry_wait_, options_.retry_wait_max);
  }
  if (MonotonicNow() < retry_at_) {
    return absl::UnavailableError("Kafka: the reader failed and is replaced in a moment");
  }
  ASSIGN_OR_RETURN(consumer_, Consumer::Create(options_, assigned_, stalled_));
  return absl::OkStatus();
}

absl::Status KafkaClaimSource::Commit(std::span<const LogRecord> records) {
  if (records.empty()) return absl::OkStatus();
  if (!consumer_) return absl::UnavailableError("Kafka: the reader failed");
  return consumer_->Commit(records);
}

void KafkaClaimSource::Rewind() {
  if (consumer_) consumer_->Rewind();
}

}  // namespace ecom::adapters::kafka
