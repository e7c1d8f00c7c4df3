#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <thread>

#include "absl/container/flat_hash_map.h"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "adapters/kafka/codec.h"
#include "base/call_stats.h"

struct rd_kafka_s;
struct rd_kafka_message_s;

namespace ecom::adapters::kafka {

/// Writes batches of records to one topic and waits until all are acknowledged (acks=all). Knows
/// whether the topic can be written, and finds out by itself when it can again: by a probe, after
/// longer and longer waits where probes succeed and records fail. Thread-safe; several batches may
/// be under way at once.
///
/// Within one librdkafka producer, idempotence keeps each record single and those of a partition in
/// order. It has a price: it may end up in a state for good (librdkafka #4438); then it is replaced
/// by a new one, and the batches under way fail as unknown.
class Producer {
 public:
  struct Options {
    std::string brokers;
    std::string topic;
    /// From Send to the last acknowledgement. librdkafka gives a record up after the same time.
    absl::Duration ack_timeout = absl::Seconds(2);
    /// Records that are not acknowledged yet, of all batches together; beyond, Send refuses.
    int records_waiting_max = 100000;
    /// The same in KiB of memory.
    int waiting_kib_max = 65536;
  };

  /// Connects in the background. INVALID_ARGUMENT: options that librdkafka does not take.
  static absl::StatusOr<std::unique_ptr<Producer>> Create(Options options);

  /// Gives up what is not acknowledged. Blocks up to two seconds; nobody may be within Send.
  ~Producer();
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  /// Writes the records and blocks until each is acknowledged, up to `ack_timeout`. Any error but
  /// INVALID_ARGUMENT marks the topic as down; while it is down, Send answers at once.
  ///
  /// * UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION: each record may or
  ///   may not be in the topic, or still get there.
  /// * INVALID_ARGUMENT: one of them is too big, or names no partition; the others as above.
  absl::Status Send(std::span<const WireRecord> records);

  /// How many partitions the topic has now. One round trip; errors as Send's.
  absl::StatusOr<int> CountPartitions();

  /// OK, or UNAVAILABLE when the topic is known, or not yet known not, to be down. Never blocks.
  absl::Status Ready() const;

  /// How often a producer that failed for good was replaced.
  int64_t replacements() const { return replacements_.load(); }

  /// What Send did: how long it took, and how it ended.
  base::CallStats::Snapshot calls() const { return calls_.snapshot(); }

 private:
  struct Handle;
  struct Batch;
  enum class State { kStarting, kUp, kDown };
  /// What showed that the topic is down.
  enum class Sign { kConnection, kRecords };

  explicit Producer(Options options);

  static void OnDelivery(rd_kafka_s* client, const rd_kafka_message_s* message, void* self);
  static void OnError(rd_kafka_s* client, int error, const char* reason, void* self);

  absl::StatusOr<std::unique_ptr<Handle>> MakeHandle();
  absl::Status TrySend(std::span<const WireRecord> records);
  absl::Status Enqueue(std::span<const WireRecord> records, uint64_t batch);
  absl::Status Await(Batch& batch, absl::Time deadline);
  absl::Status AwaitStart(absl::Time deadline);
  void Delivered(uint64_t batch, int error);
  void Failed(const rd_kafka_s* client, int error, const char* reason);

  void Run();
  void ReplaceIfFatal();
  void Probe();
  void MarkUp();
  /// `era`: of the up that turned out to be over; a failure of an earlier one says nothing new.
  void MarkDown(const absl::Status& why, uint64_t era, Sign sign = Sign::kConnection);
  uint64_t era() const;

  absl::Duration WaitBeforeProbe();
  bool ProbeIsDue() const;

  const Options options_;
  base::CallStats calls_;

  /// Shared while records are handed over, exclusive while the handle is replaced.
  mutable std::shared_mutex handle_mutex_;
  std::unique_ptr<Handle> handle_;

  mutable std::mutex mutex_;  // guards what follows, up to the next blank line
  std::condition_variable changed_;
  State state_ = State::kStarting;
  uint64_t era_ = 0;     // grows each time the topic comes up
  int failed_eras_ = 0;  // in a row, since a Send last worked, that ended with one that failed
  absl::Time next_probe_ = absl::InfinitePast();
  absl::BitGen random_;
  absl::Status down_;       // why, while kDown
  std::string last_error_;  // librdkafka's words for what went wrong last
  absl::flat_hash_map<uint64_t, Batch*>
      under_way_;  // a late report finds nothing here, and no harm
  uint64_t last_batch_ = 0;
  bool stopping_ = false;

  std::atomic<bool> up_ = false;
  std::atomic<int64_t> replacements_ = 0;
  std::thread retiring_;  // ends the handle that was replaced last
  std::thread thread_;
};

}  // namespace ecom::adapters::kafka
