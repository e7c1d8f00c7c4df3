// ecom-bench-grpc: loads a server over gRPC and prints what it saw as one line of JSON.
#include <absl/flags/flag.h>
#include <absl/flags/parse.h>
#include <absl/flags/usage.h>
#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <cstdint>
#include <cstdio>
#include <string>

#include "grpc/load.h"

ABSL_FLAG(std::string, target, "127.0.0.1:50051",
          "where the server listens: host:port or unix:path");
ABSL_FLAG(std::string, method, "get-product",
          "get-product, list-popular, issue-coupon, or health: a call in which the server does "
          "next to nothing, as the control");
ABSL_FLAG(int, callers, 64, "calls in flight at any time");
ABSL_FLAG(int, connections, 4, "connections that the callers share");
ABSL_FLAG(int, threads, 1, "threads of the client");
ABSL_FLAG(double, seconds, 5, "how long is measured");
ABSL_FLAG(double, warm_up_seconds, 1, "how long calls are made before that");
ABSL_FLAG(double, timeout_seconds, 5, "the deadline of a call");
ABSL_FLAG(int64_t, coupon_id, 1, "the coupon that is asked for");
ABSL_FLAG(int64_t, user_base, 1, "the first user; every call is of another user");
ABSL_FLAG(uint64_t, seed, 1, "seeds the choice of products");

namespace {

using ecom::bench::Histogram;
using ecom::bench::kOutcomes;
using ecom::bench::LoadOptions;
using ecom::bench::LoadReport;

constexpr const char* kOutcomeNames[kOutcomes] = {"accepted", "sold_out", "duplicate", "error"};

LoadOptions OptionsFromFlags() {
  LoadOptions options;
  options.target = absl::GetFlag(FLAGS_target);
  options.method = absl::GetFlag(FLAGS_method);
  options.callers = absl::GetFlag(FLAGS_callers);
  options.connections = absl::GetFlag(FLAGS_connections);
  options.threads = absl::GetFlag(FLAGS_threads);
  options.duration = absl::Seconds(absl::GetFlag(FLAGS_seconds));
  options.warm_up = absl::Seconds(absl::GetFlag(FLAGS_warm_up_seconds));
  options.timeout = absl::Seconds(absl::GetFlag(FLAGS_timeout_seconds));
  options.call.coupon_id = absl::GetFlag(FLAGS_coupon_id);
  options.call.first_user = absl::GetFlag(FLAGS_user_base);
  options.call.seed = absl::GetFlag(FLAGS_seed);
  return options;
}

std::string Milliseconds(uint64_t nanoseconds) {
  return absl::StrFormat("%.3f", static_cast<double>(nanoseconds) / 1e6);
}

std::string OutcomeJson(const Histogram& latency, uint64_t total) {
  return absl::StrCat("{\"measured\":", latency.count(), ",\"total\":", total,
                      ",\"p50_ms\":", Milliseconds(latency.Quantile(0.5)),
                      ",\"p95_ms\":", Milliseconds(latency.Quantile(0.95)),
                      ",\"p99_ms\":", Milliseconds(latency.Quantile(0.99)),
                      ",\"p99_9_ms\":", Milliseconds(latency.Quantile(0.999)),
                      ",\"max_ms\":", Milliseconds(latency.max()), "}");
}

std::string ReportJson(const LoadOptions& options, const LoadReport& report) {
  const double seconds = absl::ToDoubleSeconds(report.elapsed);
  uint64_t measured = 0;
  std::string outcomes;
  for (int i = 0; i < kOutcomes; ++i) {
    const Histogram& latency = report.measured[static_cast<size_t>(i)];
    measured += latency.count();
    absl::StrAppend(&outcomes, i == 0 ? "" : ",", "\"", kOutcomeNames[i],
                    "\":", OutcomeJson(latency, report.total[static_cast<size_t>(i)]));
  }
  // Codes come from the server: only what needs no escaping in JSON may be one.
  const auto code = [](std::string* out, const auto& entry) {
    std::string name = entry.first;
    for (char& c : name) {
      if (!absl::ascii_isalnum(static_cast<unsigned char>(c))) c = '_';
    }
    absl::StrAppend(out, "\"", name, "\":", entry.second);
  };
  return absl::StrCat(
      "{\"method\":\"", options.method, "\",\"callers\":", options.callers,
      ",\"connections\":", options.connections, ",\"threads\":", options.threads,
      ",\"seconds\":", absl::StrFormat("%.3f", seconds),
      ",\"calls_per_second\":", absl::StrFormat("%.1f", static_cast<double>(measured) / seconds),
      ",\"accepted_per_second\":",
      absl::StrFormat("%.1f", static_cast<double>(report.measured[0].count()) / seconds),
      ",\"outcomes\":{", outcomes, "},\"total_by_code\":{",
      absl::StrJoin(report.total_by_code, ",", code), "}}");
}

}  // namespace

int main(int argc, char** argv) {
  // Debian's abseil checks the lock order at run time, which costs more than the calls measured
  // here.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  absl::SetProgramUsageMessage(
      "Loads a server over gRPC and prints what it saw as one line of JSON.");
  absl::ParseCommandLine(argc, argv);

  const LoadOptions options = OptionsFromFlags();
  const auto report = ecom::bench::RunLoad(options);
  if (!report.ok()) {
    absl::FPrintF(stderr, "ecom-bench-grpc: %s\n", report.status().message());
    return absl::IsInvalidArgument(report.status()) ? 64 : 69;
  }
  if (!report->error_example.empty()) {
    absl::FPrintF(stderr, "ecom-bench-grpc: one of the errors: %s\n", report->error_example);
  }
  absl::PrintF("%s\n", ReportJson(options, *report));
  return 0;
}
