#include "app/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <span>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "app/build_info.h"
#include "base/call_stats.h"

namespace ecom::app {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

/// The contract's names; the embedded log goes by the same.
constexpr char kTopic[] = "coupon-issue";
constexpr char kGroup[] = "coupon-issue-group";

/// In Prometheus's units: seconds, and seconds since 1970.
struct Number {
  Number(int64_t count) : value(static_cast<double>(count)) {}
  Number(absl::Duration duration) : value(absl::ToDoubleSeconds(duration)) {}
  Number(absl::Time time) : Number(std::max(time, absl::UnixEpoch()) - absl::UnixEpoch()) {}

  double value;
};

struct Sample {
  std::vector<ClientMetric::Label> labels;
  Number number;
};

MetricFamily Family(const char* name, const char* help, MetricType type,
                    const std::vector<Sample>& samples) {
  MetricFamily family{.name = name, .help = help, .type = type, .metric = {}};
  for (const Sample& sample : samples) {
    ClientMetric& metric = family.metric.emplace_back();
    metric.label = sample.labels;
    if (type == MetricType::Counter) {
      metric.counter.value = sample.number.value;
    } else {
      metric.gauge.value = sample.number.value;
    }
  }
  return family;
}

Sample Result(const char* result, int64_t value) { return {{{"result", result}}, value}; }

Sample Reason(const char* reason, int64_t value) { return {{{"reason", reason}}, value}; }

Sample Cache(const char* level, const char* result, int64_t value) {
  return {{{"level", level}, {"result", result}}, value};
}

/// Count and sum of durations, without quantiles.
MetricFamily Seconds(const char* name, const char* help, int64_t count, absl::Duration sum) {
  MetricFamily family{.name = name, .help = help, .type = MetricType::Summary, .metric = {}};
  ClientMetric::Summary& summary = family.metric.emplace_back().summary;
  summary.sample_count = static_cast<uint64_t>(count);
  summary.sample_sum = absl::ToDoubleSeconds(sum);
  return family;
}

/// `counts` has one more than `bounds`: those above all of them.
void AddHistogram(MetricFamily& family, std::vector<ClientMetric::Label> labels,
                  std::span<const absl::Duration> bounds, std::span<const int64_t> counts,
                  absl::Duration sum) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  ClientMetric::Histogram& histogram = metric.histogram;
  uint64_t cumulative = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    cumulative += static_cast<uint64_t>(counts[i]);
    histogram.bucket.push_back({.cumulative_count = cumulative,
                                .upper_bound = i == bounds.size()
                                                   ? std::numeric_limits<double>::infinity()
                                                   : absl::ToDoubleSeconds(bounds[i])});
  }
  histogram.sample_count = cumulative;
  histogram.sample_sum = absl::ToDoubleSeconds(sum);
}

MetricFamily RowDelays(const coupon::Recorder::Stats& recorder) {
  MetricFamily family{.name = "coupon_queue_to_row_seconds",
                      .help = "How long after the claim its row was there.",
                      .type = MetricType::Histogram,
                      .metric = {}};
  AddHistogram(family, {}, coupon::Recorder::kRowDelayBounds, recorder.row_delays,
               recorder.row_delay_sum);
  return family;
}

/// By gRPC's numbers, in the words of its Go library, by which tools for grpc_server_handled_total
/// look for them.
constexpr std::array<const char*, base::CallStats::kCodes> kCodeNames = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

/// What a fault brings is there from the start: a rate needs a sample before the first one. The
/// others come as they happen.
bool IsShown(size_t code, int64_t count) {
  switch (static_cast<absl::StatusCode>(code)) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnavailable: return true;
    default: return count > 0;
  }
}

/// The calls that ended with `first_code` or a higher one, by code.
void AddByCode(std::vector<Sample>& samples, const std::vector<ClientMetric::Label>& labels,
               const char* code_label, const base::CallStats::Snapshot& calls, size_t first_code) {
  for (size_t code = first_code; code < calls.by_code.size(); ++code) {
    if (!IsShown(code, calls.by_code[code])) continue;
    samples.push_back({labels, calls.by_code[code]});
    samples.back().labels.push_back({code_label, kCodeNames[code]});
  }
}

void AddCalls(const std::vector<rpc::Server::MethodCalls>& methods,
              std::vector<MetricFamily>& families) {
  std::vector<Sample> started;
  std::vector<Sample> handled;
  MetricFamily seconds{.name = "grpc_server_handling_seconds",
                       .help = "How long calls took, unary and in lanes.",
                       .type = MetricType::Histogram,
                       .metric = {}};
  for (const rpc::Server::MethodCalls& method : methods) {
    const std::vector<ClientMetric::Label> labels = {{"grpc_service", method.service},
                                                     {"grpc_method", method.method}};
    started.push_back({labels, method.calls.started});
    AddByCode(handled, labels, "grpc_code", method.calls, /*first_code=*/0);
    AddHistogram(seconds, labels, base::CallStats::kBounds, method.calls.by_duration,
                 method.calls.total);
  }
  families.push_back(Family("grpc_server_started_total", "Calls that came, unary and in lanes.",
                            MetricType::Counter, started));
  families.push_back(Family("grpc_server_handled_total", "Calls that were answered, by code.",
                            MetricType::Counter, handled));
  families.push_back(std::move(seconds));
}

/// How the families of the clients of one system are called.
struct ClientNames {
  ClientStats::System system;
  const char* label;
  const char* seconds;
  const char* errors;
  const char* under_way;
};
constexpr std::array kClientNames = {
    ClientNames{ClientStats::System::kRedis, "client", "redis_command_seconds",
                "redis_errors_total", "redis_commands_in_flight"},
    ClientNames{ClientStats::System::kMysql, "client", "mysql_statement_seconds",
                "mysql_errors_total", "mysql_statements_in_flight"},
    ClientNames{ClientStats::System::kKafka, "topic", "kafka_produce_seconds",
                "kafka_produce_errors_total", "kafka_produces_in_flight"}};

void AddClients(const std::vector<ClientStats>& clients, std::vector<MetricFamily>& families) {
  if (clients.empty()) return;
  for (const ClientNames& names : kClientNames) {
    MetricFamily seconds{.name = names.seconds,
                         .help = "How long round trips took, with the wait for their turn.",
                         .type = MetricType::Histogram,
                         .metric = {}};
    std::vector<Sample> errors;
    std::vector<Sample> under_way;
    for (const ClientStats& client : clients) {
      if (client.system != names.system) continue;
      const std::vector<ClientMetric::Label> labels = {{names.label, client.name}};
      AddHistogram(seconds, labels, base::CallStats::kBounds, client.calls.by_duration,
                   client.calls.total);
      AddByCode(errors, labels, "code", client.calls, /*first_code=*/1);
      const int64_t ended =
          std::accumulate(client.calls.by_code.begin(), client.calls.by_code.end(), int64_t{0});
      under_way.push_back({labels, std::max<int64_t>(client.calls.started - ended, 0)});
    }
    families.push_back(std::move(seconds));
    families.push_back(Family(names.errors, "Those that failed, by what came of them.",
                              MetricType::Counter, errors));
    families.push_back(
        Family(names.under_way, "Those that have not ended.", MetricType::Gauge, under_way));
  }
}

void AddPools(const std::vector<ClientStats>& clients, std::vector<MetricFamily>& families) {
  std::vector<Sample> in_use;
  std::vector<Sample> sizes;
  std::vector<Sample> waiting;
  for (const ClientStats& client : clients) {
    if (!client.pool) continue;
    const std::vector<ClientMetric::Label> labels = {{"client", client.name}};
    in_use.push_back({labels, client.pool->in_use});
    sizes.push_back({labels, client.pool->size});
    waiting.push_back({labels, client.pool->waiting});
  }
  if (sizes.empty()) return;
  families.push_back(Family("mysql_pool_connections_in_use", "Connections that somebody has.",
                            MetricType::Gauge, in_use));
  families.push_back(
      Family("mysql_pool_connections_max", "Connections at most.", MetricType::Gauge, sizes));
  families.push_back(Family("mysql_pool_waiting", "Callers for whom no connection is free.",
                            MetricType::Gauge, waiting));
}

/// What is known of each partition of the log.
std::vector<Sample> OfPartitions(const std::optional<coupon::LogPositions>& positions) {
  std::vector<Sample> samples;
  if (!positions) return samples;
  for (const auto& [partition, position] : *positions) {
    samples.push_back(
        {{{"group", kGroup}, {"topic", kTopic}, {"partition", absl::StrCat(partition)}}, position});
  }
  return samples;
}

std::optional<coupon::LogPositions> LagOf(const LogWatch::Sight& log) {
  if (!log.ends || !log.committed) return std::nullopt;
  coupon::LogPositions lag;
  for (const auto& [partition, end] : *log.ends) {
    const auto committed = log.committed->find(partition);
    if (committed != log.committed->end()) {
      lag[partition] = std::max<int64_t>(end - committed->second, 0);
    }
  }
  return lag;
}

template <typename T>
std::vector<Sample> IfKnown(const std::optional<T>& value) {
  if (!value) return {};
  return {{{}, *value}};
}

void AddProcess(const ProcessStats& process, absl::Time started_at,
                std::vector<MetricFamily>& families) {
  families.insert(families.end(), {Family("process_cpu_seconds_total", "User and system CPU time.",
                                          MetricType::Counter, {{{}, process.cpu}}),
                                   Family("process_resident_memory_bytes", "Resident memory.",
                                          MetricType::Gauge, {{{}, process.resident_bytes}}),
                                   Family("process_virtual_memory_bytes", "Virtual memory.",
                                          MetricType::Gauge, {{{}, process.virtual_bytes}}),
                                   Family("process_threads", "Threads.", MetricType::Gauge,
                                          {{{}, process.threads}}),
                                   Family("process_open_fds", "Open file descriptors.",
                                          MetricType::Gauge, {{{}, process.open_fds}}),
                                   Family("process_max_fds", "File descriptors that may be open.",
                                          MetricType::Gauge, {{{}, process.fds_max}}),
                                   Family("process_start_time_seconds", "When the process started.",
                                          MetricType::Gauge, {{{}, started_at}})});
}

}  // namespace

std::string RenderMetrics(const MetricsSnapshot& snapshot) {
  const auto& [issuer, recorder, last_recorded, reconciler, catalog, view_writer, log, process,
               started_at, calls_in_flight, calls, clients] = snapshot;
  std::vector<MetricFamily> families = {
      Family("coupon_issue_total", "Claims by how far they came and how they ended.",
             MetricType::Counter,
             {Result("requested", issuer.requested), Result("admitted", issuer.admitted),
              Result("acked", issuer.queued), Result("recorded", recorder.issued),
              Result("replayed", issuer.replayed), Result("duplicate", issuer.duplicate),
              Result("not_found", issuer.unknown_coupon), Result("not_open", issuer.not_open),
              Result("sold_out", issuer.sold_out), Result("unavailable", issuer.unavailable),
              Result("unknown_outcome", issuer.unknown_outcome)}),
      Family("coupon_shed_total", "Claims refused before the gate, nothing promised, by reason.",
             MetricType::Counter,
             {Reason("overload", issuer.load.shed_at_once),
              Reason("late", issuer.load.shed_waiting), Reason("queue_full", issuer.full)}),
      Family("coupon_claims_on_their_way", "Claims before gate and log.", MetricType::Gauge,
             {{{}, issuer.load.on_their_way}}),
      Family("coupon_claim_wait_seconds", "How long the oldest of them has been there.",
             MetricType::Gauge, {{{}, issuer.load.oldest_wait}}),
      Family("coupon_recorded_total", "Log records by what became of them.", MetricType::Counter,
             {Result("issued", recorder.issued), Result("duplicate", recorder.duplicate),
              Result("over_admitted", recorder.over_admitted), Result("stale", recorder.stale),
              Result("dead_letter", recorder.dead)}),
      Family("coupon_published_total", "Events on coupon-issued.", MetricType::Counter,
             {{{}, recorder.published}}),
      RowDelays(recorder),
      Family("coupon_trace_lines_skipped_total",
             "Traced claims of which the log does not tell, as there were too many.",
             MetricType::Counter, {{{}, recorder.trace_lines_skipped}}),
      Family("coupon_consumer_last_success_timestamp_seconds",
             "When the recorder that has waited longest recorded a batch last, or found the log "
             "empty.",
             MetricType::Gauge, IfKnown(last_recorded)),
      Family("kafka_consumer_lag", "Records of the log that are not recorded yet.",
             MetricType::Gauge, OfPartitions(LagOf(log))),
      Family("kafka_consumer_committed_offset", "Up to where the log is recorded.",
             MetricType::Gauge, OfPartitions(log.committed)),
      Family("coupon_dead_letters", "Dead letters that nobody has dealt with.", MetricType::Gauge,
             IfKnown(log.dead_letters)),
      Family("coupon_gate_rebuilds_total", "Gates built anew.", MetricType::Counter,
             {{{}, reconciler.rebuilds}}),
      Family("coupon_republished_total", "Reservations that were appended again.",
             MetricType::Counter, {{{}, reconciler.republished}}),
      Family("coupon_settled_late_total", "Reservations whose row the gate had not heard of.",
             MetricType::Counter, {{{}, reconciler.settled}}),
      Family("coupon_gate_state", "Gates that ought to admit, by whether they do.",
             MetricType::Gauge,
             {{{{"state", "open"}}, reconciler.gates_open},
              {{{"state", "closed"}}, reconciler.gates_closed}}),
      Family("coupon_stock_remaining", "Units that open gates still have, at the last pass.",
             MetricType::Gauge, {{{}, reconciler.stock}}),
      Family("coupon_reservations", "Claims accepted and not yet recorded, at the last pass.",
             MetricType::Gauge, {{{}, reconciler.reservations}}),
      Family("coupon_reconcile_drift", "Gates that contradicted the rows in the last pass.",
             MetricType::Gauge, {{{}, reconciler.drifting}}),
      Family("coupon_reconcile_drifts_total", "How often a gate contradicted the rows.",
             MetricType::Counter, {{{}, reconciler.drifts}}),
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
             {{{{"process", "ecom-server"}, {"version", kVersion}, {"commit", kCommit}}, 1}}),
  };
  AddCalls(calls, families);
  AddClients(clients, families);
  AddPools(clients, families);
  AddProcess(process, started_at, families);
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, families);
  return text.str();
}

}  // namespace ecom::app
