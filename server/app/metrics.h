#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "app/backing.h"
#include "app/log_watch.h"
#include "app/process_stats.h"
#include "coupon/issuer.h"
#include "coupon/reconciler.h"
#include "coupon/recorder.h"
#include "product/catalog.h"
#include "product/view_writer.h"
#include "rpc/server.h"

namespace ecom::app {

/// What /metrics shows, read at one moment.
struct MetricsSnapshot {
  coupon::Issuer::Stats issuer;
  coupon::Recorder::Stats recorder;
  /// When the recorder that has waited longest had recorded all that it had; none without
  /// recorders.
  std::optional<absl::Time> last_recorded;
  coupon::Reconciler::Stats reconciler;
  product::Catalog::Stats catalog;
  product::ViewWriter::Stats view_writer;
  LogWatch::Sight log;
  ProcessStats process;
  absl::Time started_at;
  int64_t calls_in_flight = 0;
  std::vector<rpc::Server::MethodCalls> calls;
  std::vector<ClientStats> clients;
};

/// Renders in Prometheus's text format. Rooms count with their own atomics, so that the hot path
/// takes no lock for a metric. Thread-safe.
std::string RenderMetrics(const MetricsSnapshot& snapshot);

}  // namespace ecom::app
