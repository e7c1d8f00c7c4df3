#include "rpc/lane_service.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "rpc/lane_call.h"
#include "rpc/status_map.h"

namespace ecom::rpc {
namespace {

google::rpc::Status PlainStatus(grpc::StatusCode code, const char* message) {
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  return status;
}

/// What an answer adds to a frame, beside its payload.
constexpr size_t kAnswerOverheadBytes = 32;

}  // namespace

/// One stream, from its opening to its end; then the next one.
///
/// Steps run on the queue's thread, Answer on any. `writing_` and `finishing_` say whose turn it is
/// to touch the stream's sending side: who sets one of them under the lock sends after it.
class Lane final : public LaneAnswers {
 public:
  Lane(LaneService& service, grpc::ServerCompletionQueue& queue)
      : service_(service), queue_(queue) {}

  grpc::ServerCompletionQueue& queue() { return queue_; }

  void Arm() {
    context_.emplace();
    stream_.emplace(&*context_);
    service_.service_.RequestOpen(&*context_, &*stream_, &queue_, &queue_, &opened_);
  }

  void Drain() {
    std::unique_lock lock(mutex_);
    draining_ = true;
    if (open_) Send(lock);
  }

  void Answer(LaneCall& call, const google::protobuf::MessageLite& response) override {
    response.SerializeToString(&call.payload);
    std::unique_lock lock(mutex_);
    if (EndCall(call)) {
      if (call.payload.size() > service_.options_.answer_bytes_max) {
        AddStatus(call.id, PlainStatus(grpc::RESOURCE_EXHAUSTED, "the answer is too large"));
      } else {
        AddAnswer(call.id, call.payload.size()).mutable_payload()->swap(call.payload);
      }
    }
    Send(lock);
  }

  void Answer(LaneCall& call, Error error) override {
    google::rpc::Status status = ToRpcStatus(error, call.request_id);
    std::unique_lock lock(mutex_);
    if (EndCall(call)) AddStatus(call.id, std::move(status));
    Send(lock);
  }

 private:
  using Frame = lane::v1::OpenResponse;

  void OnOpened(bool ok) {
    if (!ok) {  // the server stops
      stream_.reset();
      context_.reset();
      return service_.Release(*this, /*admitted=*/false);
    }
    service_.Post(queue_);
    admitted_ = service_.Admit();  // before the lane's lock, which Drain takes under the service's
    std::unique_lock lock(mutex_);
    open_ = true;
    if (!admitted_) return Finish(lock, {grpc::StatusCode::UNAVAILABLE, "no more lanes"});
    writing_ = true;
    reading_ = true;
    lock.unlock();
    stream_->SendInitialMetadata(&written_);
    stream_->Read(&read_buffer_, &read_);
  }

  void OnRead(bool ok) {
    std::unique_lock lock(mutex_);
    reading_ = false;
    if (!ok || finishing_) {
      read_ended_ = true;
      Send(lock);
      return MaybeRelease();
    }
    dispatching_ = true;
    lock.unlock();
    const bool readable = Dispatch();
    lock.lock();
    dispatching_ = false;
    if (!readable) {
      end_ = {grpc::StatusCode::INVALID_ARGUMENT, "a frame could not be read"};
      read_ended_ = true;
    }
    ReadMore();
    Send(lock);
  }

  void OnWritten(bool ok) {
    std::unique_lock lock(mutex_);
    writing_ = false;
    if (!ok) broken_ = true;
    service_.in_flight_.Leave(static_cast<int64_t>(sending_calls_));
    sending_calls_ = 0;
    ReadMore();
    Send(lock);
  }

  void OnFinished() {
    finished_ = true;
    MaybeRelease();
  }

  /// Begins what the frame asks for. False: it can't be read.
  bool Dispatch() {
    grpc::ProtoBufferReader reader(&read_buffer_);
    if (!frame_.ParseFromZeroCopyStream(&reader)) return false;
    read_buffer_.Clear();
    for (const std::string& name : frame_.methods()) {
      if (methods_.size() >= service_.options_.methods_max) return false;
      methods_.push_back(service_.Find(name));
      free_calls_.emplace_back();
    }
    const absl::Duration now = service_.clock_.Monotonic();
    const absl::Time began = base::MonotonicNow();
    for (lane::v1::Call& call : *frame_.mutable_calls()) {
      if (!Begin(call, now, began)) return false;
    }
    std::lock_guard lock(mutex_);
    for (const uint64_t id : frame_.cancelled_ids()) calls_.erase(id);
    return true;
  }

  /// False: it has the id of another call.
  bool Begin(lane::v1::Call& message, absl::Duration now, absl::Time began) {
    LaneCall* call = nullptr;
    {
      std::lock_guard lock(mutex_);
      if (calls_.contains(message.id())) return false;
      if (const google::rpc::Status* refusal = Refusal(message)) {
        Refuse(message, *refusal);
        return true;
      }
      if (!Enter()) {
        Refuse(message, ToRpcStatus(Error::kUnavailable, message.request_id()));
        return true;
      }
      call = TakeCall(message.method());
      calls_.emplace(message.id(), call);
    }
    call->id = message.id();
    call->deadline = message.timeout_us() == 0 ? absl::InfiniteDuration()
                                               : now + absl::Microseconds(message.timeout_us());
    call->request_id.swap(*message.mutable_request_id());
    call->trace_parent.swap(*message.mutable_trace_parent());
    if (!call->Parse(message.payload())) {
      std::lock_guard lock(mutex_);
      static const auto& status =
          *new google::rpc::Status(PlainStatus(grpc::INTERNAL, "the request could not be read"));
      if (EndCall(*call)) Refuse(message, status);
      return true;
    }
    call->Handle(*this, began);
    return true;
  }

  /// Why gRPC itself would refuse a unary call; null: it would not.
  const google::rpc::Status* Refusal(const lane::v1::Call& call) const {
    static const auto& unknown =
        *new google::rpc::Status(PlainStatus(grpc::UNIMPLEMENTED, "there is no such method"));
    static const auto& too_large =
        *new google::rpc::Status(PlainStatus(grpc::RESOURCE_EXHAUSTED, "the request is too large"));
    if (call.method() >= methods_.size() || methods_[call.method()] == nullptr) return &unknown;
    if (call.payload().size() > service_.options_.request_bytes_max) return &too_large;
    return nullptr;
  }

  /// A call that its method does not come to see.
  void Refuse(const lane::v1::Call& call, const google::rpc::Status& status) {
    AddStatus(call.id(), status);
    Method* const method = call.method() < methods_.size() ? methods_[call.method()] : nullptr;
    if (method == nullptr) return;
    method->stats().Started();
    method->stats().Ended(status.code(), absl::ZeroDuration());
  }

  /// False: the lane is full or about to end, or the server is full.
  bool Enter() {
    if (draining_ || under_way_ >= service_.options_.lane_calls_max) return false;
    if (!service_.in_flight_.Enter()) return false;
    ++under_way_;
    return true;
  }

  LaneCall* TakeCall(size_t place) {
    std::vector<LaneCall*>& free = free_calls_[place];
    if (free.empty()) {
      all_calls_.push_back(methods_[place]->NewLaneCall());
      free.push_back(all_calls_.back().get());
      free.back()->place = place;
    }
    LaneCall* call = free.back();
    free.pop_back();
    return call;
  }

  /// Leaves the call to be used again; its id and payload are good until the lock is released.
  /// False: nobody wants its answer.
  bool EndCall(LaneCall& call) {
    --under_way_;
    free_calls_[call.place].push_back(&call);
    const bool wanted = calls_.erase(call.id) > 0 && !broken_;
    if (wanted) {
      ++ready_calls_;
    } else {
      service_.in_flight_.Leave();
    }
    return wanted;
  }

  lane::v1::Answer& AddAnswer(uint64_t id, size_t payload_bytes) {
    const size_t bytes = payload_bytes + kAnswerOverheadBytes;
    if (ready_.empty() || ready_bytes_ + bytes > service_.options_.frame_bytes_max) {
      if (spare_.empty()) spare_.push_back(std::make_unique<Frame>());
      ready_.push_back(std::move(spare_.back()));
      spare_.pop_back();
      ready_bytes_ = 0;
    }
    ready_bytes_ += bytes;
    ++ready_answers_;
    lane::v1::Answer& answer = *ready_.back()->add_answers();
    answer.set_id(id);
    return answer;
  }

  void AddStatus(uint64_t id, google::rpc::Status status) {
    *AddAnswer(id, status.ByteSizeLong()).mutable_status() = std::move(status);
  }

  /// Asks for the next frame, unless the lane ends or too many answers wait. Of a lane that drains,
  /// too: whoever calls is to be told that the call was refused.
  void ReadMore() {
    if (reading_ || read_ended_ || finishing_) return;
    if (ready_answers_ > service_.options_.answers_waiting_max) return;
    reading_ = true;
    stream_->Read(&read_buffer_, &read_);
  }

  /// Sends what is ready, if nothing is being sent, or the end of the lane, if it is time for it.
  /// Releases the lock; the lane may be gone then.
  void Send(std::unique_lock<std::mutex>& lock) {
    if (writing_ || dispatching_ || finishing_) return lock.unlock();
    if (broken_) DropReady();
    if (!ready_.empty()) return WriteFrame(lock);
    if (under_way_ > 0 || !(draining_ || read_ended_)) return lock.unlock();
    Finish(lock, end_);
  }

  void WriteFrame(std::unique_lock<std::mutex>& lock) {
    writing_ = true;
    std::unique_ptr<Frame> frame = std::move(ready_.front());
    ready_.pop_front();
    const auto answers = static_cast<size_t>(frame->answers_size());
    ready_answers_ -= answers;
    sending_calls_ = std::min(answers, ready_calls_);
    ready_calls_ -= sending_calls_;
    lock.unlock();
    grpc::ByteBuffer buffer;
    bool own = false;
    grpc::SerializationTraits<Frame>::Serialize(*frame, &buffer, &own);
    frame->Clear();
    {
      std::lock_guard again(mutex_);
      spare_.push_back(std::move(frame));
    }
    stream_->Write(buffer, &written_);
  }

  void Finish(std::unique_lock<std::mutex>& lock, const grpc::Status& status) {
    finishing_ = true;
    stream_->Finish(status, &finish_);
    lock.unlock();
  }

  void DropReady() {
    service_.in_flight_.Leave(static_cast<int64_t>(ready_calls_));
    ready_.clear();
    ready_calls_ = ready_answers_ = ready_bytes_ = 0;
  }

  /// On the queue's thread, where both of these are changed.
  void MaybeRelease() {
    {
      std::lock_guard lock(mutex_);
      if (!finished_ || reading_) return;
      stream_.reset();
      context_.reset();
      methods_.clear();
      free_calls_.clear();
      all_calls_.clear();
      calls_.clear();
      ready_.clear();
      ready_bytes_ = 0;
      end_ = grpc::Status::OK;
      open_ = draining_ = writing_ = dispatching_ = finishing_ = false;
      read_ended_ = broken_ = finished_ = false;
    }
    service_.Release(*this, admitted_);
  }

  LaneService& service_;
  grpc::ServerCompletionQueue& queue_;
  std::optional<grpc::ServerContext> context_;
  std::optional<grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream_;
  Step opened_{[this](bool ok) { OnOpened(ok); }};
  Step read_{[this](bool ok) { OnRead(ok); }};
  Step written_{[this](bool ok) { OnWritten(ok); }};
  Step finish_{[this](bool) { OnFinished(); }};

  // The queue's thread alone.
  grpc::ByteBuffer read_buffer_;
  lane::v1::OpenRequest frame_;
  std::vector<Method*> methods_;  // null: an unknown one
  bool finished_ = false;
  bool admitted_ = false;

  std::mutex mutex_;  // guards what follows
  bool open_ = false;
  bool draining_ = false;
  bool reading_ = false;
  bool read_ended_ = false;
  bool dispatching_ = false;
  bool writing_ = false;
  bool broken_ = false;
  bool finishing_ = false;
  grpc::Status end_;
  size_t under_way_ = 0;
  absl::flat_hash_map<uint64_t, LaneCall*> calls_;  // whose answers are wanted
  std::vector<std::unique_ptr<LaneCall>> all_calls_;
  std::vector<std::vector<LaneCall*>> free_calls_;  // by the method's place
  std::deque<std::unique_ptr<Frame>> ready_;        // the last one still grows
  std::vector<std::unique_ptr<Frame>> spare_;
  size_t ready_bytes_ = 0;    // of the last frame
  size_t ready_answers_ = 0;  // in all
  size_t ready_calls_ = 0;    // of those, counted in flight
  size_t sending_calls_ = 0;  // counted in flight until their frame is sent
};

LaneService::LaneService(const Options& options, const std::vector<Method*>& methods,
                         const base::Clock& clock, InFlight& in_flight)
    : options_(options), clock_(clock), in_flight_(in_flight) {
  for (Method* method : methods) methods_.emplace(method->name(), method);
}

LaneService::~LaneService() = default;

void LaneService::Start(grpc::ServerCompletionQueue& queue) { Post(queue); }

void LaneService::Drain() {
  std::lock_guard lock(mutex_);
  draining_ = true;
  for (const auto& lane : lanes_) lane->Drain();
}

int LaneService::open() {
  std::lock_guard lock(mutex_);
  return open_;
}

/// Waits for the next lane on `queue`.
void LaneService::Post(grpc::ServerCompletionQueue& queue) {
  if (!in_flight_.posting()) return;
  std::unique_lock lock(mutex_);
  auto found = std::ranges::find_if(free_, [&](Lane* lane) { return &lane->queue() == &queue; });
  if (found == free_.end()) {
    lanes_.push_back(std::make_unique<Lane>(*this, queue));
    found = free_.insert(free_.end(), lanes_.back().get());
  }
  Lane* lane = *found;
  free_.erase(found);
  lock.unlock();
  lane->Arm();
}

/// False: too many lanes are open, or the server drains.
bool LaneService::Admit() {
  std::lock_guard lock(mutex_);
  if (draining_ || open_ >= options_.lanes_max) return false;
  ++open_;
  return true;
}

void LaneService::Release(Lane& lane, bool admitted) {
  std::lock_guard lock(mutex_);
  if (admitted) --open_;
  free_.push_back(&lane);
}

Method* LaneService::Find(const std::string& name) const {
  const auto found = methods_.find(name);
  return found == methods_.end() ? nullptr : found->second;
}

}  // namespace ecom::rpc
