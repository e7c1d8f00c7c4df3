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

/// Count and sum of durations, without quantiles.
MetricFamily Seconds(const char* name, const char* help, int64_t count, absl::Duration sum) {
  MetricFamily family{.name = name, .help = help, .type = MetricType::Summary, .metric = {}};
  ClientMetric::Summary& summary = family.metric.emplace_back().summary;
  summary.sample_count = static_cast<uint64_t>(count);
  summary.sample_sum = absl::ToDoubleSeconds(sum);
  return family;
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
             {Cache("l1", "hit", catalog.l1_hits), Cache("l1", "miss", catalog.l1_misses),
              Cache("l2", "hit", catalog.reader.l2_hits),
              Cache("l2", "miss", catalog.reader.l2_misses),
              Cache("l2", "error", catalog.reader.l2_errors),
              Cache("l2", "skipped", catalog.reader.l2_skipped)}),
      Family("product_cache_l1_hits_total", "Hits of L1 that were more than a fresh product.",
             MetricType::Counter,
             {{{{"kind", "negative"}}, catalog.l1_negative_hits},
              {{{"kind", "stale"}}, catalog.l1_stale_hits},
              {{{"kind", "expired"}}, catalog.expired_serves}}),
      Family("product_cache_entries", "Entries in the product cache.", MetricType::Gauge,
             {{{{"level", "l1"}}, catalog.l1_entries}}),
      Family("product_cache_negative_entries", "Ids that are known not to exist.",
             MetricType::Gauge, {{{{"level", "l1"}}, catalog.l1_negative_entries}}),
      Family("product_cache_hot_entries", "Entries of hot products, which are not evicted.",
             MetricType::Gauge, {{{{"level", "l1"}}, catalog.l1_pinned}}),
      Family("product_cache_bytes", "Approximate size of the product cache.", MetricType::Gauge,
             {{{{"level", "l1"}}, catalog.l1_bytes}}),
      Family("product_cache_evictions_total", "Entries evicted from the product cache.",
             MetricType::Counter, {{{{"level", "l1"}}, catalog.l1_evictions}}),
      Family("product_cache_invalidations_total",
             "Changes that L1 was told of, or may have missed.", MetricType::Counter,
             {{{{"kind", "product"}}, catalog.invalidations},
              {{{"kind", "all"}}, catalog.invalidated_all}}),
      Family("product_cache_breaker_state",
             "Whether L2 is asked: 0 yes, 1 somebody is trying, 2 no.", MetricType::Gauge,
             {{{{"level", "l2"}}, static_cast<int64_t>(catalog.reader.breaker)}}),
      Family("product_cache_fills_total", "Puts into L2, by result.", MetricType::Counter,
             {Result("ok", catalog.reader.fills - catalog.reader.fill_errors),
              Result("error", catalog.reader.fill_errors),
              Result("too_old", catalog.reader.fills_too_old)}),
      Seconds("product_cache_fill_seconds", "How long puts into L2 took.", catalog.reader.fills,
              catalog.reader.fill_time),
      Family("product_loads_total", "Reads of the product store, by result.", MetricType::Counter,
             {Result("ok", catalog.reader.store_reads - catalog.reader.store_errors),
              Result("error", catalog.reader.store_errors)}),
      Seconds("product_load_seconds", "How long reads of the product store took.",
              catalog.reader.store_reads, catalog.reader.store_read_time),
      Family("product_loaded_ids_total", "Ids in the reads of the product store.",
             MetricType::Counter, {{{}, catalog.reader.store_ids}}),
      Family("product_load_joins_total", "Reads that joined one of the same id under way.",
             MetricType::Counter, {{{}, catalog.joins}}),
      Family("product_refreshes_total", "Reads ahead of expiry, for which nobody waited.",
             MetricType::Counter, {{{}, catalog.refreshes}}),
      Family("product_refused_total", "Reads and lists refused because too many waited.",
             MetricType::Counter, {{{}, catalog.refused}}),
      Family("product_lists_total", "Pages of lists read from the store, by result.",
             MetricType::Counter,
             {Result("ok", catalog.lists - catalog.list_errors),
              Result("error", catalog.list_errors)}),
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
