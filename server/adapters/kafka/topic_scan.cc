#include "adapters/kafka/topic_scan.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "adapters/kafka/error.h"
#include "base/status_macros.h"

namespace ecom::adapters::kafka {
namespace {

/// A consumer needs the name of a group; this one never joins or commits.
constexpr char kScanGroup[] = "ecom-topic-scan";

absl::StatusOr<Client> MakeScanner(const std::string& brokers) {
  const Settings settings = {{"group.id", kScanGroup},
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
  return client;
}

}  // namespace

absl::Status ScanTopic(const std::string& brokers, const std::string& topic,
                       const coupon::LogPositions& starts, const coupon::LogPositions& ends,
                       absl::Time deadline,
                       absl::FunctionRef<bool(const rd_kafka_message_t&)> visit) {
  ASSIGN_OR_RETURN(const Client client, MakeScanner(brokers));
  for (const auto& [partition, start] : starts) {
    const auto end = ends.find(partition);
    if (end == ends.end() || start >= end->second) continue;
    const PartitionList list = MakePartitionList();
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = start;
    RETURN_IF_ERROR(
        KafkaStatus(rd_kafka_assign(client.get(), list.get()), absl::StrCat("read ", topic)));
    for (bool more = true; more;) {
      const absl::Duration left = deadline - MonotonicNow();
      const Message message(rd_kafka_consumer_poll(client.get(), MillisOf(left)));
      if (!message || left <= absl::ZeroDuration()) {
        return absl::DeadlineExceededError(absl::StrCat("Kafka: ", topic, " was not read in time"));
      }
      if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) break;
      if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return KafkaStatus(message->err, rd_kafka_message_errstr(message.get()));
      }
      if (message->partition != partition) continue;  // fetched for the one before
      if (message->offset >= end->second) break;
      if (!visit(*message)) return absl::OkStatus();
      more = message->offset + 1 < end->second;
    }
  }
  return absl::OkStatus();
}

absl::Time TimeOf(const rd_kafka_message_t& message) {
  rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
  return absl::FromUnixMillis(rd_kafka_message_timestamp(&message, &type));
}

}  // namespace ecom::adapters::kafka
