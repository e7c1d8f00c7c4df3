#include "adapters/kafka/history.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "adapters/kafka/client.h"
#include "adapters/kafka/codec.h"
#include "adapters/kafka/error.h"
#include "adapters/kafka/positions.h"
#include "adapters/kafka/topic_scan.h"
#include "base/status_macros.h"

namespace ecom::adapters::kafka {

using coupon::AdmittedClaim;
using coupon::Barrier;
using coupon::Holder;
using coupon::LogPartition;
using coupon::LogPositions;

namespace {

/// Asking for positions needs the name of a group; nobody here joins or commits.
constexpr char kHistoryGroup[] = "ecom-history";

absl::StatusOr<std::unique_ptr<PositionReader>> MakeReader(const KafkaHistory::Options& options,
                                                           const std::string& topic) {
  return PositionReader::Create({.brokers = options.brokers,
                                 .topic = topic,
                                 .group = kHistoryGroup,
                                 .timeout = std::min(options.timeout, absl::Seconds(5))});
}

/// Where the producers put what has this key: all of ours name the same partitioner.
LogPartition PartitionOf(const std::string& key, int partitions) {
  return rd_kafka_msg_partitioner_murmur2(nullptr, key.data(), key.size(), partitions, nullptr,
                                          nullptr);
}

/// FAILED_PRECONDITION is for a person; the rest may be over when asked again.
absl::Status ForOperator(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) ? status : Unavailable(status);
}

}  // namespace

/// Where a topic begins and ends now.
struct KafkaHistory::Extent {
  LogPositions begins;
  LogPositions ends;

  static absl::StatusOr<Extent> Of(PositionReader& reader) {
    absl::StatusOr<LogPositions> begins = reader.Begins();
    if (!begins.ok()) return ForOperator(begins.status());
    absl::StatusOr<LogPositions> ends = reader.Ends();
    if (!ends.ok()) return ForOperator(ends.status());
    return Extent{.begins = *std::move(begins), .ends = *std::move(ends)};
  }

  /// Leaves one partition only.
  void Keep(LogPartition partition) {
    absl::erase_if(begins, [&](const auto& begin) { return begin.first != partition; });
  }

  FeedCoverage Coverage() const {
    return {.from_the_first = std::all_of(begins.begin(), begins.end(),
                                          [](const auto& begin) { return begin.second == 0; })};
  }
};

absl::StatusOr<std::unique_ptr<KafkaHistory>> KafkaHistory::Create(Options options) {
  ASSIGN_OR_RETURN(auto log, MakeReader(options, options.log_topic));
  ASSIGN_OR_RETURN(auto feed, MakeReader(options, options.feed_topic));
  return std::unique_ptr<KafkaHistory>(
      new KafkaHistory(std::move(options), std::move(log), std::move(feed)));
}

KafkaHistory::KafkaHistory(Options options, std::unique_ptr<PositionReader> log,
                           std::unique_ptr<PositionReader> feed)
    : options_(std::move(options)), log_(std::move(log)), feed_(std::move(feed)) {}

KafkaHistory::~KafkaHistory() = default;

absl::StatusOr<UserLog> KafkaHistory::ReadLog(const Holder& holder) {
  const absl::Time deadline = MonotonicNow() + options_.timeout;
  ASSIGN_OR_RETURN(Extent extent, Extent::Of(*log_));
  const std::string key = absl::StrCat(holder.user.value);
  UserLog log = {.partition = PartitionOf(key, static_cast<int>(extent.ends.size()))};
  log.begin = log.read_to = extent.begins[log.partition];
  log.end = extent.ends[log.partition];
  extent.Keep(log.partition);

  coupon::Generation barrier;
  const absl::Status scanned = ScanTopic(
      options_.brokers, options_.log_topic, extent.begins, extent.ends, deadline,
      [&](const rd_kafka_message_t& message) {
        log.read_to = message.offset + 1;
        const std::string_view found_key = KeyOf(message);
        if (!found_key.empty() && found_key != key) return true;
        RecordContent content = Decode(found_key, PayloadOf(message),
                                       [&](const char* name) { return FindHeader(message, name); });
        if (const auto* passed = std::get_if<Barrier>(&content)) {
          if (passed->coupon == holder.coupon) barrier = std::max(barrier, passed->generation);
          return true;
        }
        const auto* claim = std::get_if<AdmittedClaim>(&content);
        if (claim != nullptr ? claim->holder != holder : found_key != key) return true;
        log.more = static_cast<int>(log.records.size()) >= options_.records_max;
        if (log.more) return false;
        log.records.push_back({.record = {.partition = message.partition,
                                          .position = message.offset,
                                          .record = std::move(content)},
                               .appended_at = TimeOf(message),
                               .barrier_before = barrier});
        return true;
      });
  if (!scanned.ok() && !absl::IsDeadlineExceeded(scanned)) return ForOperator(scanned);
  if (scanned.ok() && !log.more) log.read_to = log.end;
  return log;
}

absl::StatusOr<UserEvents> KafkaHistory::ReadEvents(const Holder& holder) {
  const absl::Time deadline = MonotonicNow() + options_.timeout;
  ASSIGN_OR_RETURN(Extent extent, Extent::Of(*feed_));
  const std::string key = absl::StrCat(holder.user.value);
  extent.Keep(PartitionOf(key, static_cast<int>(extent.ends.size())));
  UserEvents found = {.coverage = extent.Coverage()};
  const absl::Status scanned = ScanTopic(
      options_.brokers, options_.feed_topic, extent.begins, extent.ends, deadline,
      [&](const rd_kafka_message_t& message) {
        if (KeyOf(message) != key) return true;
        const std::optional<coupon::IssuedCoupon> issued = DecodeIssued(PayloadOf(message));
        if (!issued) ++found.coverage.unreadable;
        if (!issued || issued->holder != holder) return true;
        found.events.push_back({.partition = message.partition,
                                .position = message.offset,
                                .published_at = TimeOf(message),
                                .issued = *issued});
        return static_cast<int>(found.events.size()) < options_.records_max;
      });
  if (!scanned.ok() && !absl::IsDeadlineExceeded(scanned)) return ForOperator(scanned);
  found.coverage.to_the_end = scanned.ok();
  return found;
}

absl::StatusOr<FeedCoverage> KafkaHistory::VisitEvents(
    absl::FunctionRef<void(const coupon::IssuedCoupon&)> visit) {
  const absl::Time deadline = MonotonicNow() + options_.timeout;
  ASSIGN_OR_RETURN(const Extent extent, Extent::Of(*feed_));
  FeedCoverage coverage = extent.Coverage();
  const absl::Status scanned = ScanTopic(
      options_.brokers, options_.feed_topic, extent.begins, extent.ends, deadline,
      [&](const rd_kafka_message_t& message) {
        const std::optional<coupon::IssuedCoupon> issued = DecodeIssued(PayloadOf(message));
        if (issued) {
          visit(*issued);
        } else {
          ++coverage.unreadable;
        }
        return true;
      });
  if (!scanned.ok() && !absl::IsDeadlineExceeded(scanned)) return ForOperator(scanned);
  coverage.to_the_end = scanned.ok();
  return coverage;
}

}  // namespace ecom::adapters::kafka
