#include "app/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <initializer_list>
#include <limits>
#include <sstream>
#include <utility>
#include <vector>

#include "app/build_info.h"

namespace ecom::app {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

struct Sample {
  std::vector<ClientMetric::Label> labels;
  int64_t value = 0;
};

MetricFamily Family(const char* name, const char* help, MetricType type,
                    std::initializer_list<Sample> samples) {
  MetricFamily family{.name = name, .help = help, .type = type, .metric = {}};
  for (const Sample& sample : samples) {
    ClientMetric& metric = family.metric.emplace_back();
    metric.label = sample.labels;
    const double value = static_cast<double>(sample.value);
    if (type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
  }
  return family;
}

Sample Result(const char* result, int64_t value) {
  return {.labels = {{"result", result}}, .value = value};
}

Sample Cache(const char* level, const char* result, int64_t value) {
  return {.labels = {{"level", level}, {"result", result}}, .value = value};
}

MetricFamily RowDelays(const coupon::Recorder::Stats& recorder) {
  MetricFamily family{.name = "coupon_queue_to_row_seconds",
                      .help = "How long after the claim its row was there.",
                      .type = MetricType::Histogram,
                      .metric = {}};
  ClientMetric::Histogram& histogram = family.metric.emplace_back().histogram;
  uint64_t cumulative = 0;
  for (size_t i = 0; i < recorder.row_delays.size(); ++i) {
    cumulative += static_cast<uint64_t>(recorder.row_delays[i]);
    const bool last = i == coupon::Recorder::kRowDelayBounds.size();
    histogram.bucket.push_back(
        {.cumulative_count = cumulative,
         .upper_bound = last ? std::numeric_limits<double>::infinity()
                             : absl::ToDoubleSeconds(coupon::Recorder::kRowDelayBounds[i])});
  }
  histogram.sample_count = cumulative;
  histogram.sample_sum = absl::ToDoubleSeconds(recorder.row_delay_sum);
  return family;
}

}  // namespace

std::string RenderMetrics(const MetricsSnapshot& snapshot) {
  const auto& [issuer, recorder, reconciler, catalog, view_writer, calls_in_flight] = snapshot;
  const std::vector<MetricFamily> families = {
      Family("coupon_issue_total", "Claims by how far they came and how they ended.",
             MetricType::Counter,
             {Result("requested", issuer.requested), Result("admitted", issuer.admitted),
              Result("queued", issuer.queued), Result("replayed", issuer.replayed),
              Result("duplicate", issuer.duplicate), Result("not_found", issuer.unknown_coupon),
              Result("not_open", issuer.not_open), Result("sold_out", issuer.sold_out),
              Result("unavailable", issuer.unavailable),
              Result("unknown_outcome", issuer.unknown_outcome)}),
      Family("coupon_recorded_total", "Log records by what became of them.", MetricType::Counter,
             {Result("issued", recorder.issued), Result("duplicate", recorder.duplicate),
              Result("over_admitted", recorder.over_admitted), Result("stale", recorder.stale),
              Result("dead_letter", recorder.dead)}),
      Family("coupon_published_total", "Events on coupon-issued.", MetricType::Counter,
             {{{}, recorder.published}}),
      RowDelays(recorder),
      Family("coupon_consumer_last_success_timestamp_seconds",
             "When a batch was recorded last, or the log was seen to be empty.", MetricType::Gauge,
             {{{}, absl::ToUnixSeconds(recorder.last_success)}}),
      Family("coupon_gate_rebuilds_total", "Gates built anew.", MetricType::Counter,
             {{{}, reconciler.rebuilds}}),
      Family("coupon_republished_total", "Reservations that were appended again.",
             MetricType::Counter, {{{}, reconciler.republished}}),
      Family("coupon_settled_late_total", "Reservations whose row the gate had not heard of.",
             MetricType::Counter, {{{}, reconciler.settled}}),
      Family("coupon_gates_closed", "Gates that ought to admit and do not.", MetricType::Gauge,
             {{{}, reconciler.gates_closed}}),
      Family("coupon_gates_open", "Gates that admit.", MetricType::Gauge,
             {{{}, reconciler.gates_open}}),
      Family("coupon_reservations", "Claims accepted and not yet recorded, at the last pass.",
             MetricType::Gauge, {{{}, reconciler.reservations}}),
      Family("coupon_reconcile_drift", "Gates that contradicted the rows in the last pass.",
             MetricType::Gauge, {{{}, reconciler.drifting}}),
      Family("product_cache_requests_total", "Product reads by cache level and result.",
             MetricType::Counter,
             {Cache("l1", "hit", catalog.l1_hits), Cache("l1", "miss", catalog.l1_misses)}),
      Family("product_cache_entries", "Entries in the product cache.", MetricType::Gauge,
             {{{{"level", "l1"}}, catalog.l1_entries}}),
      Family("product_cache_bytes", "Approximate size of the product cache.", MetricType::Gauge,
             {{{{"level", "l1"}}, catalog.l1_bytes}}),
      Family("product_cache_evictions_total", "Entries evicted from the product cache.",
             MetricType::Counter, {{{{"level", "l1"}}, catalog.l1_evictions}}),
      Family("product_loads_total", "Reads of the product store, by result.", MetricType::Counter,
             {Result("ok", catalog.reader.store_reads - catalog.reader.store_errors),
              Result("error", catalog.reader.store_errors)}),
      Family("product_views_total", "Product views counted.", MetricType::Counter,
             {{{}, catalog.views.views}}),
      Family("product_views_flushed_total", "Product views that were added to the totals.",
             MetricType::Counter, {{{}, catalog.views.views_flushed}}),
      Family("product_view_totals_stored_total", "Totals of views that were brought to the store.",
             MetricType::Counter, {{{}, view_writer.written}}),
      Family("product_view_rounds_total", "Rounds that bring views to the store, by result.",
             MetricType::Counter,
             {Result("ok", view_writer.rounds), Result("error", view_writer.errors)}),
      Family("grpc_server_calls_in_flight", "Calls under way.", MetricType::Gauge,
             {{{}, calls_in_flight}}),
      Family("ecom_build_info", "What is running.", MetricType::Gauge,
             {{{{"version", kVersion}, {"commit", kCommit}}, 1}}),
  };
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, families);
  return text.str();
}

}  // namespace ecom::app
