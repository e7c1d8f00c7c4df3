#pragma once

#include <librdkafka/rdkafka.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"

/// What this room's clients of librdkafka share. For this room's .cc files only.
namespace ecom::adapters::kafka {

/// Frees what librdkafka made. A client is destroyed without leaving its group; whoever joined one
/// closes it first.
struct Deleter {
  void operator()(rd_kafka_t* client) const {
    rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
  }
  void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
  void operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
  void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
  void operator()(rd_kafka_headers_t* headers) const { rd_kafka_headers_destroy(headers); }
  void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
  void operator()(rd_kafka_event_t* event) const { rd_kafka_event_destroy(event); }
  void operator()(rd_kafka_error_t* error) const { rd_kafka_error_destroy(error); }
  void operator()(rd_kafka_topic_partition_list_t* list) const {
    rd_kafka_topic_partition_list_destroy(list);
  }
  void operator()(const rd_kafka_metadata_t* metadata) const {
    rd_kafka_metadata_destroy(metadata);
  }
};
template <typename T>
using Owned = std::unique_ptr<T, Deleter>;

using Client = Owned<rd_kafka_t>;
using Conf = Owned<rd_kafka_conf_t>;
using Topic = Owned<rd_kafka_topic_t>;
using Message = Owned<rd_kafka_message_t>;
using PartitionList = Owned<rd_kafka_topic_partition_list_t>;
using Metadata = Owned<const rd_kafka_metadata_t>;

/// Settings by the names of librdkafka's CONFIGURATION.md.
using Settings = std::vector<std::pair<const char*, std::string>>;

/// A configuration with what all our clients have in common — it makes no topic by itself, comes
/// back soon after a broker did, and logs through base::Log — and with `settings` on top. `opaque`
/// is what the callbacks get. INVALID_ARGUMENT: a setting that librdkafka does not take.
absl::StatusOr<Conf> MakeConf(const std::string& brokers, const Settings& settings, void* opaque);

/// Connects in the background. INVALID_ARGUMENT: settings that contradict each other.
absl::StatusOr<Client> MakeClient(rd_kafka_type_t type, Conf conf);

/// Asks a broker how many partitions the topic has. Blocks up to `timeout`.
///
/// * UNAVAILABLE, DEADLINE_EXCEEDED: no broker answered, or a partition has no leader.
/// * FAILED_PRECONDITION: there is no such topic.
absl::StatusOr<int> CountPartitions(rd_kafka_t* client, rd_kafka_topic_t* topic,
                                    absl::Duration timeout);

PartitionList MakePartitionList();

/// The last header of that name.
std::optional<std::string_view> FindHeader(const rd_kafka_message_t& message, const char* name);

inline std::string_view KeyOf(const rd_kafka_message_t& message) {
  return {static_cast<const char*>(message.key), message.key_len};
}
inline std::string_view PayloadOf(const rd_kafka_message_t& message) {
  return {static_cast<const char*>(message.payload), message.len};
}

/// As librdkafka takes timeouts: rounded up, 0 for what has passed.
int MillisOf(absl::Duration timeout);

using base::MonotonicNow;

}  // namespace ecom::adapters::kafka
