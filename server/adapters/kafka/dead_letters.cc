#include "adapters/kafka/dead_letters.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "adapters/kafka/client.h"
#include "adapters/kafka/codec.h"
#include "adapters/kafka/error.h"
#include "adapters/kafka/positions.h"
#include "adapters/kafka/producer.h"
#include "adapters/kafka/topic_scan.h"
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
/// Asking for positions needs the name of a group; the box never joins or commits.
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
  const std::string_view key = KeyOf(message);
  const std::string_view payload = PayloadOf(message);
  return {.partition = message.partition,
          .position = message.offset,
          .kept_at = TimeOf(message),
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

base::CallStats::Snapshot KafkaDeadLetters::calls() const { return producer_->calls(); }

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

absl::StatusOr<LetterRange> DeadLetterBox::Range() {
  absl::StatusOr<LogPositions> begins = positions_->Begins();
  if (!begins.ok()) return ForOperator(begins.status());
  absl::StatusOr<LogPositions> ends = positions_->Ends();
  if (!ends.ok()) return ForOperator(ends.status());
  absl::erase_if(*begins, [&](const auto& begin) { return !ends->contains(begin.first); });
  return LetterRange{.begins = *std::move(begins), .ends = *std::move(ends)};
}

absl::Status DeadLetterBox::Visit(const LogPositions& from,
                                  absl::FunctionRef<bool(DeadLetter&&)> visit) {
  const absl::Time deadline = MonotonicNow() + options_.timeout;
  ASSIGN_OR_RETURN(LetterRange range, Range());
  for (const auto& [partition, position] : from) {
    const auto begin = range.begins.find(partition);
    if (begin != range.begins.end()) begin->second = std::max(begin->second, position);
  }
  return ForOperator(
      ScanTopic(options_.brokers, options_.topic, range.begins, range.ends, deadline,
                [&](const rd_kafka_message_t& message) { return visit(LetterOf(message)); }));
}

absl::StatusOr<std::vector<DeadLetter>> DeadLetterBox::List(int letters_max,
                                                            const LogPositions& from) {
  std::vector<DeadLetter> letters;
  if (letters_max <= 0) return letters;
  RETURN_IF_ERROR(Visit(from, [&](DeadLetter&& letter) {
    letters.push_back(std::move(letter));
    return static_cast<int>(letters.size()) < letters_max;
  }));
  return letters;
}

absl::StatusOr<DeadLetter> DeadLetterBox::Find(coupon::LogPartition partition,
                                               coupon::LogPosition position) {
  const absl::Time deadline = MonotonicNow() + options_.timeout;
  ASSIGN_OR_RETURN(const LetterRange range, Range());
  std::optional<DeadLetter> found;
  const auto begin = range.begins.find(partition);
  if (begin != range.begins.end() && position >= begin->second) {
    const absl::Status scanned =
        ScanTopic(options_.brokers, options_.topic, {{partition, position}}, range.ends, deadline,
                  [&](const rd_kafka_message_t& message) {
                    if (message.offset == position) found = LetterOf(message);
                    return false;
                  });
    if (!scanned.ok()) return ForOperator(scanned);
  }
  if (!found) return absl::NotFoundError(absl::StrCat("no dead letter ", partition, ":", position));
  return *std::move(found);
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
  if (replays_ == nullptr) {
    ASSIGN_OR_RETURN(replays_, Producer::Create({.brokers = options_.brokers,
                                                 .topic = options_.origin_topic,
                                                 .ack_timeout = options_.timeout}));
  }
  return ForOperator(replays_->Send({&record, 1}));
}

}  // namespace ecom::adapters::kafka
