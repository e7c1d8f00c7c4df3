#include "adapters/kafka/producer.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "adapters/kafka/client.h"
#include "adapters/kafka/error.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::adapters::kafka {
namespace {

/// How long the thread waits for reports before it looks around: bounds how long a stop takes.
constexpr absl::Duration kPollTimeout = absl::Milliseconds(50);
/// While the topic is down.
constexpr absl::Duration kProbeInterval = absl::Milliseconds(200);
constexpr absl::Duration kProbeTimeout = absl::Milliseconds(500);
/// While probes find the topic and records fail: each time up costs a batch of claims their unit.
/// Bounds, too, how long the topic counts as down when it no longer is.
constexpr absl::Duration kProbeIntervalMax = absl::Seconds(5);
/// For the reports of what a handle that ends has given up.
constexpr absl::Duration kRetireTimeout = absl::Seconds(1);

std::chrono::steady_clock::duration UntilSteady(absl::Time deadline) {
  return absl::ToChronoNanoseconds(deadline - MonotonicNow());
}

/// Batches are named by a number, not by a pointer: a report may come when its batch is long gone.
void* OpaqueOf(uint64_t batch) {
  return reinterpret_cast<void*>(static_cast<uintptr_t>(batch));  // NOLINT(*-no-int-to-ptr)
}

absl::Status StatusOf(const rd_kafka_error_t* error, const std::string& what) {
  return error == nullptr ? absl::OkStatus() : KafkaStatus(rd_kafka_error_code(error), what);
}

}  // namespace

struct Producer::Handle {
  Client client;
  Topic topic;  // ends first

  absl::Status Produce(const WireRecord& record, uint64_t batch) const {
    Owned<rd_kafka_headers_t> headers(rd_kafka_headers_new(record.headers.size()));
    for (const Header& header : record.headers) {
      rd_kafka_header_add(headers.get(), header.name.data(),
                          static_cast<ssize_t>(header.name.size()), header.value.data(),
                          static_cast<ssize_t>(header.value.size()));
    }
    std::array<rd_kafka_vu_t, 7> fields{};
    fields[0].vtype = RD_KAFKA_VTYPE_RKT;
    fields[0].u.rkt = topic.get();
    fields[1].vtype = RD_KAFKA_VTYPE_PARTITION;
    fields[1].u.i32 = record.partition.value_or(RD_KAFKA_PARTITION_UA);
    fields[2].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    fields[2].u.i = RD_KAFKA_MSG_F_COPY;
    fields[3].vtype = RD_KAFKA_VTYPE_KEY;
    fields[3].u.mem.ptr = record.key.empty() ? nullptr : const_cast<char*>(record.key.data());
    fields[3].u.mem.size = record.key.size();
    fields[4].vtype = RD_KAFKA_VTYPE_VALUE;
    fields[4].u.mem.ptr = const_cast<char*>(record.payload.data());
    fields[4].u.mem.size = record.payload.size();
    fields[5].vtype = RD_KAFKA_VTYPE_HEADERS;
    fields[5].u.headers = headers.get();
    fields[6].vtype = RD_KAFKA_VTYPE_OPAQUE;
    fields[6].u.ptr = OpaqueOf(batch);
    const Owned<rd_kafka_error_t> error(
        rd_kafka_produceva(client.get(), fields.data(), fields.size()));
    if (!error) (void)headers.release();  // the record owns them now
    return StatusOf(error.get(), "produce");
  }

  /// Gives up what is under way, and has it reported.
  void Retire() {
    rd_kafka_purge(client.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    const absl::Time deadline = MonotonicNow() + kRetireTimeout;
    while (rd_kafka_outq_len(client.get()) > 0 && MonotonicNow() < deadline) {
      rd_kafka_poll(client.get(), MillisOf(kPollTimeout));
    }
  }
};

/// A Send that waits.
struct Producer::Batch {
  size_t unreported;
  absl::Status error;
};

absl::StatusOr<std::unique_ptr<Producer>> Producer::Create(Options options) {
  std::unique_ptr<Producer> producer(new Producer(std::move(options)));
  ASSIGN_OR_RETURN(producer->handle_, producer->MakeHandle());
  producer->thread_ = std::thread([self = producer.get()] { self->Run(); });
  pthread_setname_np(producer->thread_.native_handle(), "kafka-producer");
  return producer;
}

Producer::Producer(Options options) : options_(std::move(options)) {}

Producer::~Producer() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
  if (retiring_.joinable()) retiring_.join();
  if (handle_) handle_->Retire();
  handle_.reset();
}

absl::StatusOr<std::unique_ptr<Producer::Handle>> Producer::MakeHandle() {
  const std::string timeout = absl::StrCat(MillisOf(options_.ack_timeout));
  const Settings settings = {
      {"acks", "all"},
      {"enable.idempotence", "true"},
      {"linger.ms", "0"},
      {"compression.codec", "none"},
      {"partitioner", "murmur2_random"},
      {"retry.backoff.ms", "50"},
      {"message.timeout.ms", timeout},
      {"request.timeout.ms", timeout},
      {"queue.buffering.max.messages", absl::StrCat(options_.records_waiting_max)},
      {"queue.buffering.max.kbytes", absl::StrCat(options_.waiting_kib_max)},
  };
  ASSIGN_OR_RETURN(Conf conf, MakeConf(options_.brokers, settings, this));
  rd_kafka_conf_set_dr_msg_cb(conf.get(), OnDelivery);
  rd_kafka_conf_set_error_cb(conf.get(), OnError);
  ASSIGN_OR_RETURN(Client client, MakeClient(RD_KAFKA_PRODUCER, std::move(conf)));
  Topic topic(rd_kafka_topic_new(client.get(), options_.topic.c_str(), nullptr));
  if (!topic) return absl::InvalidArgumentError(absl::StrCat("no topic name: ", options_.topic));
  return std::unique_ptr<Handle>(
      new Handle{.client = std::move(client), .topic = std::move(topic)});
}

absl::Status Producer::Send(std::span<const WireRecord> records) {
  if (records.empty()) return absl::OkStatus();
  return base::Counted(calls_, [&] { return TrySend(records); });
}

absl::Status Producer::TrySend(std::span<const WireRecord> records) {
  const absl::Time deadline = MonotonicNow() + options_.ack_timeout;
  RETURN_IF_ERROR(AwaitStart(deadline));
  Batch batch = {.unreported = records.size(), .error = absl::OkStatus()};
  uint64_t id = 0;
  uint64_t sent_in = 0;
  {
    std::lock_guard lock(mutex_);
    id = ++last_batch_;
    sent_in = era_;
    under_way_.emplace(id, &batch);
  }
  absl::Status status = Enqueue(records, id);
  if (status.ok()) status = Await(batch, deadline);
  {
    std::lock_guard lock(mutex_);
    under_way_.erase(id);
    if (status.ok()) failed_eras_ = 0;
  }
  if (!status.ok() && !absl::IsInvalidArgument(status)) MarkDown(status, sent_in, Sign::kRecords);
  return status;
}

absl::Status Producer::Enqueue(std::span<const WireRecord> records, uint64_t batch) {
  std::shared_lock lock(handle_mutex_);
  for (const WireRecord& record : records) RETURN_IF_ERROR(handle_->Produce(record, batch));
  return absl::OkStatus();
}

/// One failed record fails its batch at once: what came of the others makes no difference.
absl::Status Producer::Await(Batch& batch, absl::Time deadline) {
  std::unique_lock lock(mutex_);
  const auto settled = [&] { return batch.unreported == 0 || !batch.error.ok(); };
  if (changed_.wait_until(lock, std::chrono::steady_clock::now() + UntilSteady(deadline),
                          settled)) {
    return batch.error;
  }
  return absl::DeadlineExceededError(
      absl::StrCat("Kafka: ", batch.unreported, " records were not acknowledged in time"));
}

/// Waits until it is known whether the topic can be written.
absl::Status Producer::AwaitStart(absl::Time deadline) {
  if (up_.load()) return absl::OkStatus();
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, std::chrono::steady_clock::now() + UntilSteady(deadline),
                      [this] { return state_ != State::kStarting; });
  lock.unlock();
  return Ready();
}

absl::StatusOr<int> Producer::CountPartitions() {
  RETURN_IF_ERROR(AwaitStart(MonotonicNow() + options_.ack_timeout));
  const uint64_t asked_in = era();
  absl::StatusOr<int> count = 0;
  {
    std::shared_lock lock(handle_mutex_);
    count =
        kafka::CountPartitions(handle_->client.get(), handle_->topic.get(), options_.ack_timeout);
  }
  if (!count.ok()) MarkDown(count.status(), asked_in);
  return count;
}

absl::Status Producer::Ready() const {
  if (up_.load()) return absl::OkStatus();
  std::lock_guard lock(mutex_);
  switch (state_) {
    case State::kUp: return absl::OkStatus();
    case State::kStarting: return absl::UnavailableError("Kafka: not connected yet");
    case State::kDown: break;
  }
  return absl::UnavailableError(absl::StrCat("Kafka: down since: ", down_.message()));
}

void Producer::OnDelivery(rd_kafka_t* /*client*/, const rd_kafka_message_t* message, void* self) {
  static_cast<Producer*>(self)->Delivered(reinterpret_cast<uintptr_t>(message->_private),
                                          message->err);
}

void Producer::Delivered(uint64_t batch, int error) {
  std::lock_guard lock(mutex_);
  const auto found = under_way_.find(batch);
  if (found == under_way_.end()) return;
  Batch& waiting = *found->second;
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) waiting.error.Update(KafkaStatus(error, "append"));
  --waiting.unreported;
  if (waiting.unreported == 0 || !waiting.error.ok()) changed_.notify_all();
}

void Producer::OnError(rd_kafka_t* client, int error, const char* reason, void* self) {
  static_cast<Producer*>(self)->Failed(client, error, reason);
}

/// A handle that was replaced may still have its say, but it does not count.
void Producer::Failed(const rd_kafka_t* client, int error, const char* reason) {
  {
    std::shared_lock lock(handle_mutex_);
    if (!handle_ || handle_->client.get() != client) return;
  }
  if (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
    MarkDown(KafkaStatus(error, reason), era());
    return;
  }
  std::lock_guard lock(mutex_);
  last_error_ = reason;
}

void Producer::Run() {
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    rd_kafka_poll(handle_->client.get(), up_.load() ? MillisOf(kPollTimeout) : 10);
    ReplaceIfFatal();
    if (!up_.load() && ProbeIsDue()) Probe();
  }
}

/// The old handle reports its batches as failed and ends on a thread of its own, as ending waits
/// for librdkafka's threads.
void Producer::ReplaceIfFatal() {
  std::array<char, 512> reason;
  const auto fatal = rd_kafka_fatal_error(handle_->client.get(), reason.data(), reason.size());
  if (fatal == RD_KAFKA_RESP_ERR_NO_ERROR) return;
  MarkDown(KafkaStatus(fatal, "the producer failed for good"), era());
  absl::StatusOr<std::unique_ptr<Handle>> made = MakeHandle();
  if (!made.ok()) return;  // out of threads or memory; the next round tries again
  {
    std::unique_lock lock(handle_mutex_);
    std::swap(handle_, *made);
  }
  ++replacements_;
  base::Log(base::Level::kError, "a Kafka producer failed for good and was replaced",
            {{"topic", options_.topic}, {"error", reason.data()}});
  if (retiring_.joinable()) retiring_.join();
  retiring_ = std::thread([old = *std::move(made)] { old->Retire(); });
  pthread_setname_np(retiring_.native_handle(), "kafka-retire");
}

/// Asks for the topic and the leader of every partition.
void Producer::Probe() {
  const absl::Status found =
      kafka::CountPartitions(handle_->client.get(), handle_->topic.get(), kProbeTimeout).status();
  if (found.ok()) return MarkUp();
  MarkDown(found, era());
  std::lock_guard lock(mutex_);
  next_probe_ = MonotonicNow() + kProbeInterval;
}

bool Producer::ProbeIsDue() const {
  std::lock_guard lock(mutex_);
  return MonotonicNow() >= next_probe_;
}

void Producer::MarkUp() {
  {
    std::lock_guard lock(mutex_);
    if (state_ == State::kUp) return;
    state_ = State::kUp;
    ++era_;
    up_ = true;
  }
  changed_.notify_all();
  base::Log(base::Level::kInfo, "Kafka topic can be written", {{"topic", options_.topic}});
}

/// At once after an era in which the topic was written; else doubled from era to era, less a part
/// of it at random, so that not all servers come back in one moment.
absl::Duration Producer::WaitBeforeProbe() {
  if (failed_eras_ == 0) return absl::ZeroDuration();
  constexpr int kDoublingsMax = 10;
  const absl::Duration wait =
      std::min(kProbeInterval * (1 << std::min(failed_eras_, kDoublingsMax)), kProbeIntervalMax);
  return wait * absl::Uniform(random_, 0.5, 1.0);
}

void Producer::MarkDown(const absl::Status& why, uint64_t era, Sign sign) {
  std::string cause;
  {
    std::lock_guard lock(mutex_);
    if (state_ == State::kDown || era != era_) return;
    state_ = State::kDown;
    if (sign == Sign::kRecords) {
      next_probe_ = MonotonicNow() + WaitBeforeProbe();
      ++failed_eras_;
    }
    up_ = false;
    down_ = why;
    cause = last_error_;
  }
  changed_.notify_all();
  base::Log(base::Level::kWarn, "Kafka topic cannot be written",
            {{"topic", options_.topic}, {"error", why}, {"cause", cause}});
}

uint64_t Producer::era() const {
  std::lock_guard lock(mutex_);
  return era_;
}

}  // namespace ecom::adapters::kafka
