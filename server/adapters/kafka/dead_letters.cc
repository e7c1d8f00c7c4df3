#include "adapters/kafka/dead_letters.h"

#include <algorithm>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "adapters/kafka/client.h"
#include "adapters/kafka/codec.h"
#include "adapters/kafka/error.h"
#include "adapters/kafka/positions.h"
#include "adapters/kafka/producer.h"
#include "base/status_macros.h"

namespace ecom::adapters::kafka {

using coupon::AdmittedClaim;
using coupon::Barrier;
using coupon::DeadRecord;
using coupon::LogPositions;
using coupon::Malformed;

namespace {

constexpr char kReasonHeader[] = "reason";
constexpr char kOriginTopicHeader[] = "origin-topic";
constexpr char kOriginPartitionHeader[] = "origin-partition";
constexpr char kOriginOffsetHeader[] = "origin-offset";
constexpr char kCutHeader[] = "cut-from-bytes";
/// What is told of bytes that may be anything.
constexpr char kBytesContentType[] = "application/octet-stream";
/// DeadLetterBox's reads need the name of a group; they never join or commit.
constexpr char kBoxGroup[] = "ecom-dead-letter-box";

WireRecord Encode(const Malformed& malformed) {
  return {.key = malformed.key,
          .payload = malformed.payload,
          .headers = {{kContentTypeHeader, kBytesContentType}}};
}

void Cut(WireRecord& letter, size_t bytes_max) {
  const size_t size = letter.key.size() + letter.payload.size();
  if (size <= bytes_max) return;
  letter.key.resize(std::min(letter.key.size(), bytes_max / 2));
  letter.payload.resize(std::min(letter.payload.size(), bytes_max - letter.key.size()));
  letter.headers.push_back({kCutHeader, absl::StrCat(size)});
}

std::string TextOf(const rd_kafka_message_t& message, const char* header) {
  return std::string(FindHeader(message, header).value_or(""));
}

template <typename Integer>
Integer NumberOf(const rd_kafka_message_t& message, const char* header) {
  Integer number = -1;
  return absl::SimpleAtoi(TextOf(message, header), &number) ? number : -1;
}

DeadLetter LetterOf(const rd_kafka_message_t& message) {
  rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
  const int64_t millis = rd_kafka_message_timestamp(&message, &type);
  const std::string_view key = KeyOf(message);
  const std::string_view payload = PayloadOf(message);
  return {.partition = message.partition,
          .position = message.offset,
          .kept_at = absl::FromUnixMillis(millis),
          .reason = TextOf(message, kReasonHeader),
          .origin_topic = TextOf(message, kOriginTopicHeader),
          .key = std::string(key),
          .payload = std::string(payload),
          .cut = FindHeader(message, kCutHeader).has_value(),
          .record = {.partition = NumberOf<coupon::LogPartition>(message, kOriginPartitionHeader),
                     .position = NumberOf<coupon::LogPosition>(message, kOriginOffsetHeader),
                     .record = Decode(key, payload, [&](const char* name) {
                       return FindHeader(message, name);
                     })}};
}

/// Reads one topic's partitions from given positions to given ends.
class RangeReader {
 public:
  static absl::StatusOr<std::unique_ptr<RangeReader>> Create(const std::string& brokers) {
    const Settings settings = {{"group.id", kBoxGroup},
                               {"enable.auto.commit", "false"},
                               {"enable.auto.offset.store", "false"},
                               {"auto.offset.reset", "error"},
                               {"isolation.level", "read_uncommitted"},
                               {"enable.partition.eof", "true"},
                               {"check.crcs", "true"},
                               {"queued.max.messages.kbytes", "16384"}};
    ASSIGN_OR_RETURN(Conf conf, MakeConf(brokers, settings, nullptr));
    ASSIGN_OR_RETURN(Client client, MakeClient(RD_KAFKA_CONSUMER, std::move(conf)));
    rd_kafka_poll_set_consumer(client.get());
    return std::unique_ptr<RangeReader>(new RangeReader(std::move(client)));
  }

  absl::StatusOr<std::vector<DeadLetter>> Read(const std::string& topic, const LogPositions& starts,
                                               const LogPositions& ends, int letters_max,
                                               absl::Time deadline) {
    LogPositions open;  // where there is something left to read
    const PartitionList list = MakePartitionList();
    for (const auto& [partition, start] : starts) {
      if (start >= ends.at(partition)) continue;
      open[partition] = ends.at(partition);
      rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = start;
    }
    RETURN_IF_ERROR(KafkaStatus(rd_kafka_assign(client_.get(), list.get()), "read letters"));
    std::vector<DeadLetter> letters;
    while (!open.empty() && static_cast<int>(letters.size()) < letters_max) {
      const absl::Duration left = deadline - MonotonicNow();
      const Message message(rd_kafka_consumer_poll(client_.get(), MillisOf(left)));
      if (!message) return absl::UnavailableError("Kafka: the letters were not read in time");
      const auto end = open.find(message->partition);
      if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        open.erase(message->partition);
        continue;
      }
      if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return KafkaStatus(message->err, rd_kafka_message_errstr(message.get()));
      }
      if (end == open.end()) continue;  // came after the call began
      letters.push_back(LetterOf(*message));
      if (message->offset + 1 >= end->second) open.erase(end);
    }
    std::sort(letters.begin(), letters.end(), [](const DeadLetter& left, const DeadLetter& right) {
      return std::tie(left.partition, left.position) < std::tie(right.partition, right.position);
    });
    return letters;
  }

 private:
  explicit RangeReader(Client client) : client_(std::move(client)) {}

  const Client client_;
};

/// FAILED_PRECONDITION is for a person; the rest may be over when asked again.
absl::Status ForOperator(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) ? status : Unavailable(status);
}

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaDeadLetters>> KafkaDeadLetters::Create(Options options) {
  ASSIGN_OR_RETURN(auto producer, Producer::Create({.brokers = options.brokers,
                                                    .topic = options.topic,
                                                    .ack_timeout = options.add_timeout}));
  return std::unique_ptr<KafkaDeadLetters>(
      new KafkaDeadLetters(std::move(options), std::move(producer)));
}

KafkaDeadLetters::KafkaDeadLetters(Options options, std::unique_ptr<Producer> producer)
    : options_(std::move(options)), producer_(std::move(producer)) {}

KafkaDeadLetters::~KafkaDeadLetters() = default;

absl::Status KafkaDeadLetters::Add(std::span<const DeadRecord> records) {
  std::vector<WireRecord> letters;
  letters.reserve(records.size());
  for (const DeadRecord& dead : records) {
    WireRecord& letter = letters.emplace_back(
        std::visit([](const auto& record) { return Encode(record); }, dead.record.record));
    letter.headers.push_back({kReasonHeader, dead.reason});
    letter.headers.push_back({kOriginTopicHeader, options_.origin_topic});
    letter.headers.push_back({kOriginPartitionHeader, absl::StrCat(dead.record.partition)});
    letter.headers.push_back({kOriginOffsetHeader, absl::StrCat(dead.record.position)});
    Cut(letter, options_.payload_bytes_max);
  }
  return Unavailable(producer_->Send(letters));
}

absl::StatusOr<std::unique_ptr<DeadLetterBox>> DeadLetterBox::Create(Options options) {
  ASSIGN_OR_RETURN(auto positions, PositionReader::Create({.brokers = options.brokers,
                                                           .topic = options.topic,
                                                           .group = kBoxGroup,
                                                           .timeout = options.timeout / 4}));
  return std::unique_ptr<DeadLetterBox>(
      new DeadLetterBox(std::move(options), std::move(positions)));
}

DeadLetterBox::DeadLetterBox(Options options, std::unique_ptr<PositionReader> positions)
    : options_(std::move(options)), positions_(std::move(positions)) {}

DeadLetterBox::~DeadLetterBox() = default;

absl::StatusOr<std::vector<DeadLetter>> DeadLetterBox::List(int letters_max,
                                                            const LogPositions& from) {
  const absl::Time deadline = MonotonicNow() + options_.timeout;
  absl::StatusOr<LogPositions> starts = positions_->Begins();
  if (!starts.ok()) return ForOperator(starts.status());
  const absl::StatusOr<LogPositions> ends = positions_->Ends();
  if (!ends.ok()) return ForOperator(ends.status());
  absl::erase_if(*starts, [&](const auto& start) { return !ends->contains(start.first); });
  for (const auto& [partition, position] : from) {
    const auto start = starts->find(partition);
    if (start != starts->end()) start->second = std::max(start->second, position);
  }
  ASSIGN_OR_RETURN(const auto reader, RangeReader::Create(options_.brokers));
  auto letters = reader->Read(options_.topic, *starts, *ends, letters_max, deadline);
  if (!letters.ok()) return ForOperator(letters.status());
  return letters;
}

absl::StatusOr<DeadLetter> DeadLetterBox::Find(coupon::LogPartition partition,
                                               coupon::LogPosition position) {
  const absl::Time deadline = MonotonicNow() + options_.timeout;
  const absl::StatusOr<LogPositions> begins = positions_->Begins();
  if (!begins.ok()) return ForOperator(begins.status());
  const absl::StatusOr<LogPositions> ends = positions_->Ends();
  if (!ends.ok()) return ForOperator(ends.status());
  const absl::Status missing =
      absl::NotFoundError(absl::StrCat("no dead letter ", partition, ":", position));
  const auto begin = begins->find(partition);
  const auto end = ends->find(partition);
  if (begin == begins->end() || end == ends->end() || position < begin->second ||
      position >= end->second) {
    return missing;
  }
  ASSIGN_OR_RETURN(const auto reader, RangeReader::Create(options_.brokers));
  auto letters = reader->Read(options_.topic, {{partition, position}}, *ends, 1, deadline);
  if (!letters.ok()) return ForOperator(letters.status());
  if (letters->empty() || letters->front().position != position) return missing;
  return std::move(letters->front());
}

absl::Status DeadLetterBox::Replay(const DeadLetter& letter) {
  if (letter.cut) {
    return absl::FailedPreconditionError("the letter was cut, so the record is not known whole");
  }
  WireRecord record;
  if (const auto* claim = std::get_if<AdmittedClaim>(&letter.record.record)) {
    record = Encode(*claim);
  } else {
    record = Encode(Barrier{});  // for the headers
  }
  record.key = letter.key;
  record.payload = letter.payload;
  if (std::holds_alternative<Barrier>(letter.record.record)) {
    record.partition = letter.record.partition;
  }
  ASSIGN_OR_RETURN(const auto producer, Producer::Create({.brokers = options_.brokers,
                                                          .topic = options_.origin_topic,
                                                          .ack_timeout = options_.timeout}));
  return ForOperator(producer->Send({&record, 1}));
}

}  // namespace ecom::adapters::kafka
