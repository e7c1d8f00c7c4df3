#pragma once

#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/call_stats.h"
#include "coupon/claim_log.h"

namespace ecom::adapters::kafka {

class Producer;

/// The feed as a Kafka topic: one ecom.event.v1.CouponIssued a row, keyed by the user, with the
/// request's id in the headers `id` and `request-id`. Thread-safe.
class KafkaIssueFeed final : public coupon::IssueFeed {
 public:
  struct Options {
    /// `host:port`, several separated by commas.
    std::string brokers;
    std::string topic = "coupon-issued";
    /// For one Publish.
    absl::Duration publish_timeout = absl::Seconds(5);
  };

  /// Connects in the background. INVALID_ARGUMENT: options that librdkafka does not take.
  static absl::StatusOr<std::unique_ptr<KafkaIssueFeed>> Create(Options options);

  /// Gives up what is not acknowledged. Blocks up to two seconds; nobody may be within Publish.
  ~KafkaIssueFeed() override;

  /// As the port says, in one round trip and within `publish_timeout`; at once while the topic is
  /// known to be down. No events: OK.
  absl::Status Publish(std::span<const coupon::IssuedCoupon> issued) override;

  /// What its writes did: how long they took, and how they ended.
  base::CallStats::Snapshot calls() const;

 private:
  explicit KafkaIssueFeed(std::unique_ptr<Producer> producer);

  const std::unique_ptr<Producer> producer_;
};

}  // namespace ecom::adapters::kafka
