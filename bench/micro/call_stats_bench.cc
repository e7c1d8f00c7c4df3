// What it costs to count a call, beside the look at the clock in it: a unary call looks twice, one
// in a lane once, for its frame looks for all of them.
#include <benchmark/benchmark.h>

#include "base/call_stats.h"
#include "base/clock.h"

namespace ecom::base {
namespace {

CallStats& Shared() {
  static auto& stats = *new CallStats();
  return stats;
}

void UnaryCall(benchmark::State& state) {
  for (auto _ : state) {
    Shared().Started();
    const absl::Time began = MonotonicNow();
    Shared().Ended(0, MonotonicNow() - began);
  }
}

void CallInALane(benchmark::State& state) {
  const absl::Time began = MonotonicNow();
  for (auto _ : state) {
    Shared().Started();
    Shared().Ended(0, MonotonicNow() - began);
  }
}

void Clock(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(MonotonicNow());
}

BENCHMARK(UnaryCall)->Threads(1)->Threads(2);
BENCHMARK(CallInALane)->Threads(1)->Threads(2);
BENCHMARK(Clock);

}  // namespace
}  // namespace ecom::base

BENCHMARK_MAIN();
