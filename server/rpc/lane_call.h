#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/time/time.h"
#include "base/call_stats.h"
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
  /// Has the method answer `lane`, now or later, from any thread. `began` is when the call came, by
  /// MonotonicNow.
  virtual void Handle(LaneAnswers& lane, absl::Time began) = 0;

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

  /// Both must outlive the call.
  TypedLaneCall(const Handler& handler, base::CallStats& stats)
      : handler_(handler), stats_(stats) {}

  bool Parse(const std::string& text) override {
    this->response_.Clear();
    return this->request_.ParseFromString(text);
  }
  void Handle(LaneAnswers& lane, absl::Time began) override {
    lane_ = &lane;
    this->CountBegin(stats_, began);
    handler_(*this);
  }

  absl::Duration Deadline(const base::Clock&) const override { return deadline; }
  std::string RequestTag() const override { return request_id; }
  std::string TraceParent() const override { return trace_parent; }

 private:
  void Send() override { lane_->Answer(*this, this->response_); }
  void Send(Error error) override { lane_->Answer(*this, error); }

  const Handler& handler_;
  base::CallStats& stats_;
  LaneAnswers* lane_ = nullptr;
};

}  // namespace ecom::rpc
