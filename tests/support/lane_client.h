#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "ecom/lane/v1/lane.grpc.pb.h"

namespace ecom::tests {

/// Calls methods over one lane. Thread-safe; a call blocks until it is answered or the lane ended.
class LaneClient {
 public:
  explicit LaneClient(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(lane::v1::LaneService::NewStub(channel)),
        stream_(stub_->Open(&context_)),
        reader_([this] { Read(); }) {}

  ~LaneClient() {
    Close();
    context_.TryCancel();
    reader_.join();
  }

  grpc::Status Call(const std::string& method, const google::protobuf::Message& request,
                    google::protobuf::Message& response,
                    absl::Duration timeout = absl::ZeroDuration(),
                    const std::string& request_id = "") {
    lane::v1::Call call;
    call.set_request_id(request_id);
    call.set_payload(request.SerializeAsString());
    call.set_timeout_us(absl::ToInt64Microseconds(timeout));
    const lane::v1::Answer answer = Await(Send(method, std::move(call)));
    if (answer.has_payload()) {
      EXPECT_TRUE(response.ParseFromString(answer.payload()));
      return grpc::Status::OK;
    }
    return {static_cast<grpc::StatusCode>(answer.status().code()), answer.status().message(),
            answer.status().SerializeAsString()};
  }

  /// Sends a call, in a frame of its own; returns its id.
  uint64_t Send(const std::string& method, lane::v1::Call call) {
    lane::v1::OpenRequest frame;
    std::lock_guard lock(mutex_);
    call.set_method(PlaceOf(method, frame));
    call.set_id(++last_id_);
    *frame.add_calls() = std::move(call);
    stream_->Write(frame);
    return last_id_;
  }

  /// Sends many calls of one method as one frame; returns the first one's id.
  uint64_t SendAll(const std::string& method, const std::vector<std::string>& payloads) {
    lane::v1::OpenRequest frame;
    std::lock_guard lock(mutex_);
    const uint32_t place = PlaceOf(method, frame);
    for (const std::string& payload : payloads) {
      lane::v1::Call& call = *frame.add_calls();
      call.set_method(place);
      call.set_id(++last_id_);
      call.set_payload(payload);
    }
    stream_->Write(frame);
    return last_id_ - payloads.size() + 1;
  }

  void SendFrame(const lane::v1::OpenRequest& frame) {
    std::lock_guard lock(mutex_);
    stream_->Write(frame);
  }

  /// The answer; UNAVAILABLE without details when the lane ended before.
  lane::v1::Answer Await(uint64_t id) {
    std::unique_lock lock(answers_mutex_);
    arrived_.wait(lock, [&] { return ended_ || answers_.contains(id); });
    lane::v1::Answer answer;
    const auto found = answers_.find(id);
    if (found == answers_.end()) {
      answer.mutable_status()->set_code(grpc::StatusCode::UNAVAILABLE);
      answer.mutable_status()->set_message("the lane ended");
      return answer;
    }
    answer = std::move(found->second);
    answers_.erase(found);
    return answer;
  }

  bool Answered(uint64_t id) {
    std::lock_guard lock(answers_mutex_);
    return answers_.contains(id);
  }

  /// No further calls; the server ends the lane.
  void Close() {
    std::lock_guard lock(mutex_);
    if (!std::exchange(closed_, true)) stream_->WritesDone();
  }

  /// How the lane ended.
  grpc::Status AwaitEnd() {
    std::unique_lock lock(answers_mutex_);
    arrived_.wait(lock, [&] { return ended_; });
    return end_;
  }

 private:
  uint32_t PlaceOf(const std::string& method, lane::v1::OpenRequest& frame) {
    const auto [found, is_new] = places_.emplace(method, places_.size());
    if (is_new) frame.add_methods(method);
    return static_cast<uint32_t>(found->second);
  }

  void Read() {
    lane::v1::OpenResponse frame;
    while (stream_->Read(&frame)) {
      std::lock_guard lock(answers_mutex_);
      for (lane::v1::Answer& answer : *frame.mutable_answers()) {
        answers_.emplace(answer.id(), std::move(answer));
      }
      arrived_.notify_all();
    }
    const grpc::Status end = stream_->Finish();
    std::lock_guard lock(answers_mutex_);
    end_ = end;
    ended_ = true;
    arrived_.notify_all();
  }

  grpc::ClientContext context_;
  std::unique_ptr<lane::v1::LaneService::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<lane::v1::OpenRequest, lane::v1::OpenResponse>> stream_;
  std::mutex mutex_;  // of sending
  absl::flat_hash_map<std::string, size_t> places_;
  uint64_t last_id_ = 0;
  bool closed_ = false;
  std::mutex answers_mutex_;
  std::condition_variable arrived_;
  std::map<uint64_t, lane::v1::Answer> answers_;
  bool ended_ = false;
  grpc::Status end_;
  std::thread reader_;  // last: runs on the members above
};

}  // namespace ecom::tests
