#pragma once

#include <cstdint>
#include <string>

#include "coupon/issuer.h"
#include "coupon/reconciler.h"
#include "coupon/recorder.h"
#include "product/catalog.h"
#include "product/view_writer.h"

namespace ecom::app {

/// What /metrics shows, read at one moment.
struct MetricsSnapshot {
  coupon::Issuer::Stats issuer;
  coupon::Recorder::Stats recorder;
  coupon::Reconciler::Stats reconciler;
  product::Catalog::Stats catalog;
  product::ViewWriter::Stats view_writer;
  int64_t calls_in_flight = 0;
};

/// Renders in Prometheus's text format. Rooms count with their own atomics, so that the hot path
/// takes no lock for a metric. Thread-safe.
std::string RenderMetrics(const MetricsSnapshot& snapshot);

}  // namespace ecom::app
