#pragma once

#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/clock.h"
#include "ecom/lane/v1/lane.grpc.pb.h"
#include "rpc/call.h"
#include "rpc/method.h"

namespace ecom::rpc {

class Lane;

/// ecom.lane.v1.LaneService: carries calls of other services' methods, many in one message.
///
/// Runs on the completion queues' threads. Answers are sent as soon as there are some and the frame
/// before is on its way; those that come meanwhile share the next one.
class LaneService {
 public:
  struct Options {
    /// Lanes open at once; more are refused with UNAVAILABLE. A gateway has a few.
    int lanes_max = 64;
    /// Calls under way on one lane; more are answered with UNAVAILABLE at once. As many as a
    /// connection may have without lanes.
    size_t lane_calls_max = 4096;
    /// Names of methods on one lane.
    size_t methods_max = 256;
    /// The largest request in a call, as for unary calls; larger ones get RESOURCE_EXHAUSTED.
    size_t request_bytes_max = size_t{16} * 1024;
    /// A frame of answers is closed at this size, so only a single larger answer exceeds it.
    size_t frame_bytes_max = size_t{256} * 1024;
    /// The largest answer: what gRPC's clients take, less its frame. Larger ones get
    /// RESOURCE_EXHAUSTED, as from a client of a unary call.
    size_t answer_bytes_max = (size_t{4} << 20) - 1024;
    /// Answers that wait to be sent; while there are more, no further frame is read.
    size_t answers_waiting_max = 8192;
  };

  /// Carries calls of `methods`. All must outlive the service.
  LaneService(const Options& options, const std::vector<Method*>& methods, const base::Clock& clock,
              InFlight& in_flight);
  ~LaneService();

  grpc::Service& service() { return service_; }

  /// Takes lanes on `queue`. Once for each queue, before its thread runs.
  void Start(grpc::ServerCompletionQueue& queue);

  /// Refuses further calls; each lane ends with OK once those under way are answered. Returns at
  /// once. Thread-safe.
  void Drain();

  /// Lanes that have not ended. Thread-safe.
  int open();

 private:
  friend class Lane;
  using AsyncService = lane::v1::LaneService::WithRawMethod_Open<lane::v1::LaneService::Service>;

  void Post(grpc::ServerCompletionQueue& queue);
  bool Admit();
  void Release(Lane& lane, bool admitted);
  Method* Find(const std::string& name) const;

  const Options options_;
  const base::Clock& clock_;
  InFlight& in_flight_;
  absl::flat_hash_map<std::string, Method*> methods_;
  AsyncService service_;

  std::mutex mutex_;
  std::vector<std::unique_ptr<Lane>> lanes_;  // guarded by mutex_; used again, never freed
  std::vector<Lane*> free_;                   // guarded by mutex_
  int open_ = 0;                              // guarded by mutex_
  bool draining_ = false;                     // guarded by mutex_
};

}  // namespace ecom::rpc
