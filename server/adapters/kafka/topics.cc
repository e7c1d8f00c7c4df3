#include "adapters/kafka/topics.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "adapters/kafka/client.h"
#include "adapters/kafka/error.h"
#include "base/status_macros.h"

namespace ecom::adapters::kafka {
namespace {

std::string Missing(const TopicsOptions& options, const RequiredTopic& topic) {
  return absl::StrCat("Kafka has no topic ", topic.name,
                      ": run `make stack`, or make it with "
                      "`kafka-topics.sh --bootstrap-server ",
                      options.brokers, " --create --topic ", topic.name, " --partitions ",
                      topic.partitions_min, "`");
}

std::string TooSmall(const TopicsOptions& options, const RequiredTopic& topic, int partitions) {
  return absl::StrCat("Kafka's topic ", topic.name, " has ", partitions, " partitions, less than ",
                      topic.partitions_min, ": add some with `kafka-topics.sh --bootstrap-server ",
                      options.brokers, " --alter --topic ", topic.name, " --partitions ",
                      topic.partitions_min, "`");
}

/// Returns the topic's partitions; 0: there is no such topic.
absl::StatusOr<int> PartitionsOf(const rd_kafka_metadata_t& metadata, const std::string& name) {
  for (int i = 0; i < metadata.topic_cnt; ++i) {
    const rd_kafka_metadata_topic_t& topic = metadata.topics[i];
    if (name != topic.topic) continue;
    RETURN_IF_ERROR(KafkaStatus(topic.err, absl::StrCat("topic ", name)));
    return topic.partition_cnt;
  }
  return 0;
}

}  // namespace

absl::Status CheckTopics(const TopicsOptions& options) {
  ASSIGN_OR_RETURN(Conf conf, MakeConf(options.brokers, {}, nullptr));
  ASSIGN_OR_RETURN(const Client client, MakeClient(RD_KAFKA_PRODUCER, std::move(conf)));
  // All topics: to ask for a name might make it.
  const rd_kafka_metadata_t* answer = nullptr;
  const auto error =
      rd_kafka_metadata(client.get(), 1, nullptr, &answer, MillisOf(options.timeout));
  const Metadata metadata(answer);
  RETURN_IF_ERROR(Unavailable(KafkaStatus(error, absl::StrCat("no broker at ", options.brokers))));

  std::vector<std::string> wrong;
  bool waiting_helps = true;
  for (const RequiredTopic& topic : options.topics) {
    const absl::StatusOr<int> partitions = PartitionsOf(*metadata, topic.name);
    if (!partitions.ok()) return Unavailable(partitions.status());
    if (*partitions == 0) {
      wrong.push_back(Missing(options, topic));
    } else if (*partitions < topic.partitions_min) {
      wrong.push_back(TooSmall(options, topic, *partitions));
      waiting_helps = false;
    }
  }
  if (wrong.empty()) return absl::OkStatus();
  const std::string message = absl::StrJoin(wrong, "\n");
  return waiting_helps ? absl::NotFoundError(message) : absl::FailedPreconditionError(message);
}

}  // namespace ecom::adapters::kafka
