#include "adapters/kafka/issue_feed.h"

#include <utility>
#include <vector>

#include "adapters/kafka/codec.h"
#include "adapters/kafka/error.h"
#include "adapters/kafka/producer.h"
#include "base/status_macros.h"

namespace ecom::adapters::kafka {

absl::StatusOr<std::unique_ptr<KafkaIssueFeed>> KafkaIssueFeed::Create(Options options) {
  ASSIGN_OR_RETURN(auto producer, Producer::Create({.brokers = std::move(options.brokers),
                                                    .topic = std::move(options.topic),
                                                    .ack_timeout = options.publish_timeout}));
  return std::unique_ptr<KafkaIssueFeed>(new KafkaIssueFeed(std::move(producer)));
}

KafkaIssueFeed::KafkaIssueFeed(std::unique_ptr<Producer> producer)
    : producer_(std::move(producer)) {}

KafkaIssueFeed::~KafkaIssueFeed() = default;

base::CallStats::Snapshot KafkaIssueFeed::calls() const { return producer_->calls(); }

absl::Status KafkaIssueFeed::Publish(std::span<const coupon::IssuedCoupon> issued) {
  std::vector<WireRecord> records;
  records.reserve(issued.size());
  for (const coupon::IssuedCoupon& event : issued) records.push_back(Encode(event));
  return Unavailable(producer_->Send(records));
}

}  // namespace ecom::adapters::kafka
