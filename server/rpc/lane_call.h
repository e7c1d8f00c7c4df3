#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/time/time.h"
#include "base/clock.h"
#include "google/protobuf/message_lite.h"
#include "rpc/call.h"

namespace ecom::rpc {

class LaneCall;

/// A lane as its calls see it. Thread-safe.
class LaneAnswers {
 public:
  virtual ~LaneAnswers() = default;
  /// Sends the answer of a call, with others or alone. The call must not be touched afterwards: the
  /// lane uses it again.
  virtual void Answer(LaneCall& call, const google::protobuf::MessageLite& response) = 0;
  virtual void Answer(LaneCall& call, Error error) = 0;
};

/// One call on a lane, of a method that only Handle knows.
class LaneCall {
 public:
  virtual ~LaneCall() = default;

  /// False: `payload` is no request of the method.
  virtual bool Parse(const std::string& payload) = 0;
  /// Has the method answer `lane`, now or later, from any thread.
  virtual void Handle(LaneAnswers& lane) = 0;

  // What the lane keeps with the call.
  uint64_t id = 0;
  size_t place = 0;  ///< of the method's name on the lane
  absl::Duration deadline;
  std::string request_id;
  std::string trace_parent;
  std::string payload;  ///< the answer's; here for its room
};

template <typename Request, typename Response>
class TypedLaneCall final : public LaneCall, public Call<Request, Response> {
 public:
  using Handler = std::function<void(Call<Request, Response>&)>;

  /// `handler` must outlive the call.
  explicit TypedLaneCall(const Handler& handler) : handler_(handler) {}

  bool Parse(const std::string& text) override {
    this->response_.Clear();
    return this->request_.ParseFromString(text);
  }
  void Handle(LaneAnswers& lane) override {
    lane_ = &lane;
    handler_(*this);
  }

  absl::Duration Deadline(const base::Clock&) const override { return deadline; }
  std::string RequestTag() const override { return request_id; }
  std::string TraceParent() const override { return trace_parent; }
  void Finish() override { lane_->Answer(*this, this->response_); }
  void Finish(Error error) override { lane_->Answer(*this, error); }

 private:
  const Handler& handler_;
  LaneAnswers* lane_ = nullptr;
};

}  // namespace ecom::rpc
