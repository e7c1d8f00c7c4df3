#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "grpc/call.h"
#include "grpc/histogram.h"

namespace ecom::bench {

/// A closed loop of callers: each sends its next call when the last one was answered.
struct LoadOptions {
  /// What gRPC takes as a target: host:port or unix:path.
  std::string target;
  /// A name that MakeCallKind knows.
  std::string method;
  /// Calls in flight at any time.
  int callers = 64;
  /// Connections that the callers share; at most one per caller.
  int connections = 4;
  /// Threads that send and receive. The server shares the cores, so few.
  int threads = 1;
  /// Calls answered in this first time are made but not measured.
  absl::Duration warm_up = absl::Seconds(1);
  /// How long is measured.
  absl::Duration duration = absl::Seconds(5);
  /// The deadline of a call, and of connecting.
  absl::Duration timeout = absl::Seconds(5);
  /// `call.first_user` is the first user of the run.
  CallOptions call;
};

/// What a run showed.
struct LoadReport {
  /// Latencies by Outcome; only of calls answered in the measured time.
  std::array<Histogram, kOutcomes> measured;
  /// By Outcome; all calls of the run, warm-up and those in flight at the end too: what a count of
  /// the server's rows must be compared with.
  std::array<uint64_t, kOutcomes> total{};
  /// All calls of the run by code.
  std::map<std::string, uint64_t> total_by_code;
  /// The measured time.
  absl::Duration elapsed;
  /// The message of one failed call, for a person; empty when none failed.
  std::string error_example;
};

/// Runs the load and blocks until the last call was answered: at most warm-up, duration and
/// timeout.
///
/// Returns
/// * INVALID_ARGUMENT: a number is out of range, or there is no such method.
/// * UNAVAILABLE: a connection was not up within `timeout`.
absl::StatusOr<LoadReport> RunLoad(const LoadOptions& options);

}  // namespace ecom::bench
