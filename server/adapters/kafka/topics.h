#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ecom::adapters::kafka {

/// A topic that has to be there, with at least so many partitions.
struct RequiredTopic {
  std::string name;
  int partitions_min = 1;
};

struct TopicsOptions {
  /// `host:port`, several separated by commas.
  std::string brokers;
  std::vector<RequiredTopic> topics = {
      {"coupon-issue", 3}, {"coupon-issue.DLT", 1}, {"coupon-issued", 1}};
  /// For the answer of a broker.
  absl::Duration timeout = absl::Seconds(5);
};

/// Looks whether the topics are there; never makes one. Blocks up to `timeout`. For the start, and
/// for whoever wants to know what is wrong: the message says, to a person, what to do about each
/// topic.
///
/// * NOT_FOUND: a topic is missing; somebody may be about to make it.
/// * FAILED_PRECONDITION: a topic is too small.
/// * UNAVAILABLE: no broker answers; ask again.
/// * INVALID_ARGUMENT: options that librdkafka does not take.
absl::Status CheckTopics(const TopicsOptions& options);

}  // namespace ecom::adapters::kafka
