#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "google/protobuf/timestamp.pb.h"
#include "rpc/call.h"
#include "rpc/status_map.h"

namespace ecom::rpc {

/// Writes a time with microseconds.
inline void Encode(absl::Time time, google::protobuf::Timestamp& timestamp) {
  const int64_t micros = absl::ToUnixMicros(time);
  int64_t seconds = micros / 1000000;
  int64_t rest = micros % 1000000;
  if (rest < 0) {  // before 1970: nanos count upwards all the same
    --seconds;
    rest += 1000000;
  }
  timestamp.set_seconds(seconds);
  timestamp.set_nanos(static_cast<int32_t>(rest * 1000));
}

/// Ends a call with what the rooms below reported; our own bugs are logged here, once.
template <typename Request, typename Response>
void FinishWithError(Call<Request, Response>& call, const absl::Status& status) {
  const Error error = ToError(status);
  if (error == Error::kInternal) {
    base::Log(base::Level::kError, "a call failed for a reason of our own",
              {{"error", status}, {"request_id", call.RequestTag()}});
  }
  call.Finish(error);
}

}  // namespace ecom::rpc
