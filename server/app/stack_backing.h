#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "adapters/kafka/claim_log.h"
#include "adapters/kafka/claim_source.h"
#include "adapters/kafka/dead_letters.h"
#include "adapters/kafka/issue_feed.h"
#include "adapters/mysql/connection_pool.h"
#include "adapters/mysql/coupon_store.h"
#include "adapters/mysql/product_store.h"
#include "adapters/mysql/settled_letters.h"
#include "adapters/redis/gate.h"
#include "adapters/redis/product_cache.h"
#include "adapters/redis/product_changes.h"
#include "adapters/redis/view_totals.h"
#include "app/backing.h"
#include "app/instance_slot.h"

namespace ecom::app {

/// Redis decides, Kafka remembers, MySQL records.
class StackBacking final : public Backing {
 public:
  /// Connects to nothing yet.
  static absl::StatusOr<std::unique_ptr<StackBacking>> Create(const Config& config,
                                                              const base::Clock& clock);

  std::string_view name() const override { return "stack"; }
  absl::Status Prepare(const SampleData* sample) override;

  coupon::CouponStore& coupon_store() override { return coupon_store_; }
  coupon::GateAuthority& authority() override { return coupon_store_; }
  product::ProductStore& product_store() override { return product_store_; }
  product::ProductCache* product_cache() override { return &product_cache_; }
  product::ProductChanges& product_changes() override { return product_changes_; }
  product::ViewTotals& view_totals() override { return view_totals_; }
  adapters::redis::RedisCouponGate& gate() override { return gate_; }
  coupon::GateControl& control() override { return gate_; }
  coupon::ClaimLog& log() override { return *log_; }
  coupon::LogProgress& progress() override { return *log_; }
  coupon::DeadLetters& dead_letters() override { return *dead_letters_; }
  coupon::IssueFeed& feed() override { return *feed_; }
  absl::StatusOr<int64_t> CountDeadLetters() override;
  std::vector<ClientStats> Clients() const override;
  absl::StatusOr<std::vector<coupon::ClaimSource*>> OpenSources() override;
  void CloseSources() override { sources_.clear(); }

  adapters::mysql::ConnectionPool& pool() { return pool_; }
  const std::string& brokers() const { return brokers_; }

 private:
  StackBacking(const Config& config, const base::Clock& clock);

  const Config config_;
  const std::string brokers_;
  adapters::mysql::ConnectionPool pool_;
  adapters::mysql::ConnectionPool product_pool_;
  adapters::mysql::MysqlCouponStore coupon_store_;
  adapters::mysql::MysqlProductStore product_store_;
  adapters::redis::RedisProductCache product_cache_;
  adapters::redis::RedisProductChanges product_changes_;
  adapters::redis::RedisCouponGate gate_;
  adapters::redis::RedisViewTotals view_totals_;
  adapters::mysql::MysqlSettledLetters settled_letters_;
  // Set by Create, or it fails.
  std::unique_ptr<adapters::kafka::KafkaClaimLog> log_;
  std::unique_ptr<adapters::kafka::KafkaDeadLetters> dead_letters_;
  std::unique_ptr<adapters::kafka::DeadLetterBox> letter_box_;
  std::unique_ptr<adapters::kafka::KafkaIssueFeed> feed_;
  std::unique_ptr<InstanceSlot> slot_;
  std::vector<std::unique_ptr<adapters::kafka::KafkaClaimSource>> sources_;
};

}  // namespace ecom::app
