#include "adapters/kafka/client.h"

#include <algorithm>
#include <array>
#include <limits>
#include <mutex>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "adapters/kafka/error.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::adapters::kafka {
namespace {

constexpr int kWarning = 4;  // as syslog counts
/// Between two warnings of librdkafka about the same thing.
constexpr absl::Duration kWarningInterval = absl::Seconds(10);

/// Whether a warning is due. A broker that is down or comes and goes makes many lines: our clients
/// log each turn of that by themselves, so these count as debugging.
bool WarningIsDue(const std::string& facility) {
  if (facility == "FAIL" || facility == "ERROR") return false;
  static std::mutex mutex;
  static auto& due = *new absl::flat_hash_map<std::string, absl::Time>();
  const absl::Time now = MonotonicNow();
  std::lock_guard lock(mutex);
  absl::Time& next = due.try_emplace(facility, absl::InfinitePast()).first->second;
  if (now < next) return false;
  next = now + kWarningInterval;
  return true;
}

void OnLog(const rd_kafka_t* client, int level, const char* facility, const char* text) {
  const bool warn = level <= kWarning && WarningIsDue(facility);
  base::Log(warn ? base::Level::kWarn : base::Level::kDebug, "librdkafka",
            {{"client", client == nullptr ? "" : rd_kafka_name(client)},
             {"facility", facility},
             {"text", text}});
}

absl::Status Set(rd_kafka_conf_t* conf, const char* name, const std::string& value) {
  std::array<char, 256> error;
  if (rd_kafka_conf_set(conf, name, value.c_str(), error.data(), error.size()) ==
      RD_KAFKA_CONF_OK) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("Kafka: ", error.data()));
}

}  // namespace

absl::StatusOr<Conf> MakeConf(const std::string& brokers, const Settings& settings, void* opaque) {
  if (brokers.empty()) return absl::InvalidArgumentError("Kafka: no brokers are named");
  const Settings common = {
      {"bootstrap.servers", brokers},
      {"client.id", "ecom"},
      {"allow.auto.create.topics", "false"},
      {"log.connection.close", "false"},
      {"reconnect.backoff.ms", "50"},
      {"reconnect.backoff.max.ms", "500"},
      {"socket.nagle.disable", "true"},
      {"socket.connection.setup.timeout.ms", "3000"},
      {"api.version.request.timeout.ms", "3000"},
      {"topic.metadata.refresh.interval.ms", "60000"},
  };
  Conf conf(rd_kafka_conf_new());
  for (const auto& [name, value] : common) RETURN_IF_ERROR(Set(conf.get(), name, value));
  for (const auto& [name, value] : settings) RETURN_IF_ERROR(Set(conf.get(), name, value));
  rd_kafka_conf_set_log_cb(conf.get(), OnLog);
  rd_kafka_conf_set_opaque(conf.get(), opaque);
  return conf;
}

absl::StatusOr<Client> MakeClient(rd_kafka_type_t type, Conf conf) {
  std::array<char, 256> error;
  Client client(rd_kafka_new(type, conf.get(), error.data(), error.size()));
  if (!client) return absl::InvalidArgumentError(absl::StrCat("Kafka: ", error.data()));
  (void)conf.release();  // the client owns it now
  return client;
}

absl::StatusOr<int> CountPartitions(rd_kafka_t* client, rd_kafka_topic_t* topic,
                                    absl::Duration timeout) {
  const std::string what = absl::StrCat("topic ", rd_kafka_topic_name(topic));
  const rd_kafka_metadata_t* answer = nullptr;
  const auto error = rd_kafka_metadata(client, 0, topic, &answer, MillisOf(timeout));
  const Metadata metadata(answer);
  RETURN_IF_ERROR(KafkaStatus(error, what));
  if (metadata->topic_cnt != 1) return absl::InternalError("Kafka: metadata of another topic");
  const rd_kafka_metadata_topic_t& found = metadata->topics[0];
  RETURN_IF_ERROR(KafkaStatus(found.err, what));
  for (int i = 0; i < found.partition_cnt; ++i) {
    const rd_kafka_metadata_partition_t& partition = found.partitions[i];
    if (partition.leader < 0) {
      return KafkaStatus(RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
                         absl::StrCat(what, ", partition ", partition.id));
    }
  }
  if (found.partition_cnt == 0) return KafkaStatus(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, what);
  return found.partition_cnt;
}

PartitionList MakePartitionList() {
  return PartitionList(rd_kafka_topic_partition_list_new(/*size=*/4));
}

std::optional<std::string_view> FindHeader(const rd_kafka_message_t& message, const char* name) {
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  const void* value = nullptr;
  size_t size = 0;
  if (rd_kafka_header_get_last(headers, name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return {};
  }
  return std::string_view(static_cast<const char*>(value), size);
}

int MillisOf(absl::Duration timeout) {
  const int64_t millis = absl::ToInt64Milliseconds(absl::Ceil(timeout, absl::Milliseconds(1)));
  return static_cast<int>(std::clamp<int64_t>(millis, 0, std::numeric_limits<int>::max()));
}

}  // namespace ecom::adapters::kafka
