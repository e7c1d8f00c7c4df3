#include "adapters/kafka/positions.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "adapters/kafka/client.h"
#include "adapters/kafka/error.h"
#include "base/status_macros.h"

namespace ecom::adapters::kafka {

using coupon::LogPositions;

struct PositionReader::Handle {
  Client client;
  Topic topic;  // ends first

  /// Every partition of the topic, without offsets.
  absl::StatusOr<PartitionList> Partitions(absl::Duration timeout) const {
    rd_kafka_poll(client.get(), 0);  // throws away what nobody here needs to know
    ASSIGN_OR_RETURN(const int count, CountPartitions(client.get(), topic.get(), timeout));
    PartitionList list = MakePartitionList();
    rd_kafka_topic_partition_list_add_range(list.get(), rd_kafka_topic_name(topic.get()), 0,
                                            count - 1);
    return list;
  }
};

namespace {

absl::Status FirstError(const rd_kafka_topic_partition_list_t& list, const std::string& what) {
  for (int i = 0; i < list.cnt; ++i) RETURN_IF_ERROR(KafkaStatus(list.elems[i].err, what));
  return absl::OkStatus();
}

LogPositions PositionsOf(const rd_kafka_topic_partition_list_t& list) {
  LogPositions positions;
  for (int i = 0; i < list.cnt; ++i) positions[list.elems[i].partition] = list.elems[i].offset;
  return positions;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PositionReader>> PositionReader::Create(Options options) {
  std::unique_ptr<PositionReader> reader(new PositionReader(std::move(options)));
  const Options& with = reader->options_;
  ASSIGN_OR_RETURN(Conf conf, MakeConf(with.brokers, {{"group.id", with.group}}, nullptr));
  ASSIGN_OR_RETURN(Client client, MakeClient(RD_KAFKA_CONSUMER, std::move(conf)));
  Topic topic(rd_kafka_topic_new(client.get(), with.topic.c_str(), nullptr));
  if (!topic) return absl::InvalidArgumentError(absl::StrCat("no topic name: ", with.topic));
  reader->handle_.reset(new Handle{.client = std::move(client), .topic = std::move(topic)});
  return reader;
}

PositionReader::PositionReader(Options options) : options_(std::move(options)) {}
PositionReader::~PositionReader() = default;

absl::StatusOr<LogPositions> PositionReader::Ends() { return Query(RD_KAFKA_OFFSET_END); }

absl::StatusOr<LogPositions> PositionReader::Begins() { return Query(RD_KAFKA_OFFSET_BEGINNING); }

/// In the protocol both are times: -1 is the latest, -2 the earliest. One request a broker.
absl::StatusOr<LogPositions> PositionReader::Query(int64_t time) {
  ASSIGN_OR_RETURN(const PartitionList list, handle_->Partitions(options_.timeout));
  for (int i = 0; i < list->cnt; ++i) list->elems[i].offset = time;
  const auto error =
      rd_kafka_offsets_for_times(handle_->client.get(), list.get(), MillisOf(options_.timeout));
  RETURN_IF_ERROR(KafkaStatus(error, "list offsets"));
  RETURN_IF_ERROR(FirstError(*list, "list offsets"));
  return PositionsOf(*list);
}

absl::StatusOr<LogPositions> PositionReader::Committed() {
  ASSIGN_OR_RETURN(const PartitionList list, handle_->Partitions(options_.timeout));
  const auto error =
      rd_kafka_committed(handle_->client.get(), list.get(), MillisOf(options_.timeout));
  RETURN_IF_ERROR(KafkaStatus(error, "fetch the group's offsets"));
  RETURN_IF_ERROR(FirstError(*list, "fetch the group's offsets"));
  LogPositions committed = PositionsOf(*list);
  absl::erase_if(committed, [](const auto& at) { return at.second == RD_KAFKA_OFFSET_INVALID; });
  if (committed.size() < static_cast<size_t>(list->cnt)) {
    ASSIGN_OR_RETURN(const LogPositions begins, Begins());
    committed.insert(begins.begin(), begins.end());  // only where it is missing
  }
  return committed;
}

}  // namespace ecom::adapters::kafka
