#include "app/stack_backing.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "adapters/kafka/topics.h"
#include "adapters/mysql/sample_loader.h"
#include "adapters/mysql/schema.h"
#include "base/status_macros.h"

namespace ecom::app {
namespace {

/// The issuer's four stages, the reconciler with its lock, the count of dead letters, and a few
/// product reads.
constexpr int kConnectionsBesideRecorders = 14;

std::string BrokersOf(const Config& config) {
  return absl::StrJoin(config.kafka.brokers, ",", [](std::string* out, const HostPort& broker) {
    out->append(broker.ToString());
  });
}

/// One read and one list at a time, the views, and a person with a change.
constexpr int kProductConnections = 4;

/// Together less than the gateway waits for an answer (3 s): so a database that stands still is a
/// 503 in time, and product reads hold up nothing of the coupons'.
constexpr adapters::mysql::Timeouts kProductTimeouts = {.connect = absl::Milliseconds(500),
                                                        .read = absl::Milliseconds(1500),
                                                        .write = absl::Milliseconds(1500),
                                                        .lock_wait = absl::Seconds(1)};
constexpr absl::Duration kProductAcquireTimeout = absl::Milliseconds(500);

adapters::mysql::ConnectionPool::Options PoolOptions(const MysqlUrl& url, int recorders) {
  return {.endpoint = {.host = url.address.host,
                       .port = static_cast<uint16_t>(url.address.port),
                       .socket = "",
                       .user = url.user,
                       .password = url.password,
                       .database = url.database},
          .timeouts = {},
          .connections_max = kConnectionsBesideRecorders + recorders};
}

adapters::mysql::ConnectionPool::Options ProductPoolOptions(const MysqlUrl& url) {
  adapters::mysql::ConnectionPool::Options options = PoolOptions(url, /*recorders=*/0);
  options.timeouts = kProductTimeouts;
  options.connections_max = kProductConnections;
  options.acquire_timeout = kProductAcquireTimeout;
  return options;
}

adapters::redis::Address AddressOf(const RedisUrl& url) {
  return {.host = url.address.host,
          .port = url.address.port,
          .socket_path = url.socket_path,
          .user = url.user,
          .password = url.password,
          .database = url.database};
}

/// What the operator has to do is said by the message; the code says that waiting does not help.
absl::Status AsPrecondition(const absl::Status& status) {
  if (absl::IsPermissionDenied(status) || absl::IsInvalidArgument(status)) {
    return absl::FailedPreconditionError(status.message());
  }
  return status;
}

ClientStats::Pool UseOf(const adapters::mysql::ConnectionPool& pool) {
  const auto use = pool.use();
  return {.in_use = use.in_use, .size = use.size, .waiting = use.waiting};
}

}  // namespace

absl::StatusOr<std::unique_ptr<StackBacking>> StackBacking::Create(const Config& config,
                                                                   const base::Clock& clock) {
  std::unique_ptr<StackBacking> backing(new StackBacking(config, clock));
  const std::string& brokers = backing->brokers_;
  ASSIGN_OR_RETURN(backing->log_,
                   adapters::kafka::KafkaClaimLog::Create(
                       {.brokers = brokers, .append_timeout = config.coupon.ack_deadline}));
  ASSIGN_OR_RETURN(backing->dead_letters_,
                   adapters::kafka::KafkaDeadLetters::Create({.brokers = brokers}));
  ASSIGN_OR_RETURN(backing->letter_box_,
                   adapters::kafka::DeadLetterBox::Create({.brokers = brokers}));
  ASSIGN_OR_RETURN(backing->feed_, adapters::kafka::KafkaIssueFeed::Create({.brokers = brokers}));
  return backing;
}

StackBacking::StackBacking(const Config& config, const base::Clock& clock)
    : config_(config),
      brokers_(BrokersOf(config)),
      pool_(PoolOptions(config.mysql.url, config.coupon.recorders)),
      product_pool_(ProductPoolOptions(config.mysql.url)),
      coupon_store_(pool_, clock),
      product_store_(product_pool_, clock),
      product_cache_({.address = AddressOf(config.redis.cache)}),
      product_changes_({.address = AddressOf(config.redis.cache)}),
      gate_({.address = AddressOf(config.redis.gate),
             .reservations_max = config.coupon.reservations_max,
             .cluster = config.redis.gate_cluster}),
      view_totals_({.address = AddressOf(config.redis.gate), .cluster = config.redis.gate_cluster}),
      settled_letters_(pool_, clock) {}

absl::Status StackBacking::Prepare(const SampleData* sample) {
  RETURN_IF_ERROR(AsPrecondition(adapters::mysql::Migrate(pool_)));
  RETURN_IF_ERROR(AsPrecondition(gate_.CheckServer()));
  RETURN_IF_ERROR(AsPrecondition(adapters::kafka::CheckTopics({.brokers = brokers_})));
  if (sample == nullptr) return absl::OkStatus();
  return AsPrecondition(adapters::mysql::LoadSampleData(pool_, sample->coupons, sample->products));
}

absl::StatusOr<int64_t> StackBacking::CountDeadLetters() {
  ASSIGN_OR_RETURN(const adapters::kafka::LetterRange range, letter_box_->Range());
  int64_t count = 0;
  for (const auto& [partition, begin] : range.begins) {
    const coupon::LogPosition end = range.ends.at(partition);
    if (begin == end) continue;
    ASSIGN_OR_RETURN(const int64_t settled, settled_letters_.CountBetween(partition, begin, end));
    count += end - begin - settled;
  }
  return count;
}

std::vector<ClientStats> StackBacking::Clients() const {
  using System = ClientStats::System;
  return {{System::kRedis, "gate", gate_.calls(), {}},
          {System::kRedis, "views", view_totals_.calls(), {}},
          {System::kRedis, "product-cache", product_cache_.calls(), {}},
          {System::kMysql, "coupons", pool_.calls(), UseOf(pool_)},
          {System::kMysql, "products", product_pool_.calls(), UseOf(product_pool_)},
          {System::kKafka, "coupon-issue", log_->calls(), {}},
          {System::kKafka, "coupon-issue.DLT", dead_letters_->calls(), {}},
          {System::kKafka, "coupon-issued", feed_->calls(), {}}};
}

absl::StatusOr<std::vector<coupon::ClaimSource*>> StackBacking::OpenSources() {
  ASSIGN_OR_RETURN(slot_, InstanceSlot::Take(config_.app.data_dir));
  std::vector<coupon::ClaimSource*> sources;
  for (int i = 0; i < config_.coupon.recorders; ++i) {
    ASSIGN_OR_RETURN(sources_.emplace_back(),
                     adapters::kafka::KafkaClaimSource::Create(
                         {.brokers = brokers_, .instance = absl::StrCat(slot_->name(), "-", i)}));
    sources.push_back(sources_.back().get());
  }
  return sources;
}

}  // namespace ecom::app
