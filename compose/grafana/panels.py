"""What the dashboards show: read by generate.py, which makes Grafana's JSON of it, and by render.py, which draws it.

A query may say $__rate_interval, as Grafana does: the shortest window that holds a few scrapes.
"""

import dataclasses


@dataclasses.dataclass
class Panel:
    title: str
    unit: str            # Grafana's name of it
    queries: dict        # what a line is called, with {{label}} in it: the query
    limit: float = None  # where an alert of compose/prometheus/rules begins
    about: str = ""


@dataclasses.dataclass
class Row:
    title: str
    panels: list


@dataclasses.dataclass
class Dashboard:
    name: str
    title: str
    rows: list


def rate(counter, *by):
    return f"{_sum(*by)}(rate({counter}[$__rate_interval]))"


def quantile(q, histogram, *by):
    name, brace, labels = histogram.partition("{")
    return f"histogram_quantile({q}, {rate(name + '_bucket' + brace + labels, 'le', *by)})"


def quantiles(histogram):
    return {f"p{100 * q:g}": quantile(q, histogram) for q in (0.5, 0.95, 0.99)}


def mean(histogram):
    return f"{rate(histogram + '_sum')} / {rate(histogram + '_count')}"


def _sum(*by):
    return f"sum by ({', '.join(by)}) " if by else "sum"


def result(*names):
    return f'coupon_issue_total{{result=~"{"|".join(names)}"}}'


DELAY = "coupon_queue_to_row_seconds"
CPU = Panel("CPU", "short", {"{{job}} {{instance}}": "rate(process_cpu_seconds_total[$__rate_interval])"},
            about="Cores in use.")
MEMORY = Panel("Memory", "bytes", {"{{job}} {{instance}}": "process_resident_memory_bytes"})
LAG = Panel("Claims that are not rows yet, by partition", "short",
            {"{{partition}}": 'max by (partition) (kafka_consumer_lag{group="coupon-issue-group"})'}, limit=1000,
            about="Exported by all servers, so also when no recorder lives.")
ROW_DELAY = Panel("From QUEUED to the row", "s", quantiles(DELAY), limit=5)
PRODUCE = Panel("Kafka: acknowledged after, p99", "s",
                {"{{topic}}": quantile(0.99, "kafka_produce_seconds", "topic")})
STORE_ERRORS = Panel("Calls of stores that failed", "ops", {
    "Redis {{client}} {{code}}": rate("redis_errors_total", "client", "code"),
    "MySQL {{client}} {{code}}": rate("mysql_errors_total", "client", "code"),
    "Kafka {{topic}} {{code}}": rate("kafka_produce_errors_total", "topic", "code")})

DASHBOARDS = [
    Dashboard("overview", "Overview", [
        Row("What users get: rate, errors, duration", [
            Panel("Requests by route", "reqps", {"{{route}}": rate("http_requests_total", "route")}),
            Panel("Requests by status", "reqps", {"{{status}}": rate("http_requests_total", "status")}),
            Panel("Answered 5xx", "percentunit", {"5xx": "({} or vector(0)) / {}".format(
                rate('http_requests_total{status=~"5.."}'), rate("http_requests_total"))}, limit=0.05),
            Panel("Duration", "s", quantiles("http_request_duration_seconds"), limit=0.3),
            Panel("Duration by route, p95", "s",
                  {"{{route}}": quantile(0.95, "http_request_duration_seconds", "route")}),
            Panel("Stock, and claims on their way to a row", "short",
                  {"stock": "max(coupon_stock_remaining)", "on their way": "max(coupon_reservations)"}),
        ]),
        Row("The server, as the gateway sees it", [
            Panel("Calls by method", "reqps", {"{{grpc_method}}": rate("grpc_server_handled_total", "grpc_method")}),
            Panel("Calls that were not OK", "reqps", {"{{grpc_method}} {{grpc_code}}": rate(
                'grpc_server_handled_total{grpc_code!="OK"}', "grpc_method", "grpc_code")},
                  about="Refusals, such as sold out, are among them."),
            Panel("Duration by method, p99", "s",
                  {"{{grpc_method}}": quantile(0.99, "grpc_server_handling_seconds", "grpc_method")}),
        ]),
        Row("What it takes: use, saturation, errors", [
            CPU,
            MEMORY,
            Panel("Under way", "short", {"requests": "sum(http_requests_in_flight)",
                                         "calls": "sum(grpc_server_calls_in_flight)",
                                         "claims before gate and log": "sum(coupon_claims_on_their_way)"}),
            Panel("Redis: round trip, p99", "s", {"{{client}}": quantile(0.99, "redis_command_seconds", "client")}),
            Panel("MySQL: statement, p99", "s", {"{{client}}": quantile(0.99, "mysql_statement_seconds", "client")}),
            PRODUCE,
            Panel("MySQL: connections", "short", {
                "{{client}}, in use": "sum by (client) (mysql_pool_connections_in_use)",
                "{{client}}, at most": "sum by (client) (mysql_pool_connections_max)",
                "{{client}}, callers waiting": "sum by (client) (mysql_pool_waiting)"}),
            STORE_ERRORS,
            Panel("Processes that answer", "short", {"{{job}}": "sum by (job) (up)"}),
        ]),
    ]),
    Dashboard("campaign", "Campaign", [
        Row("The sale", [
            Panel("Stock left", "short", {"stock": "max(coupon_stock_remaining)"},
                  about="Of all coupons whose gates are open, at the reconciler's last pass."),
            Panel("Funnel, a second", "ops", {"{{result}}": rate(
                result("requested", "admitted", "acked", "recorded"), "result")}),
            Panel("Funnel, since the start", "short", {"{{result}}": "sum by (result) ({})".format(
                result("requested", "admitted", "acked", "recorded"))}),
            Panel("Refused, a second", "ops", {"{{result}}": rate(
                result("sold_out", "duplicate", "not_open", "not_found", "unavailable", "unknown_outcome"), "result")}),
            Panel("Refused before the gate, a second", "ops", {"{{reason}}": rate("coupon_shed_total", "reason")},
                  about="More come than gate and log take; nothing was promised."),
            Panel("Wait before gate and log", "s", {"the oldest claim": "max(coupon_claim_wait_seconds)"}),
        ]),
        Row("The promise", [
            ROW_DELAY,
            Panel("Rows within 5 s", "percentunit", {"rows": "{} / {}".format(
                rate(DELAY + '_bucket{le="5"}'), rate(DELAY + "_count"))}, limit=1 - 14.4 * 0.001),
            LAG,
            Panel("Accepted, and not a row yet", "short", {"reservations": "max(coupon_reservations)"}),
            Panel("Promises broken", "short", {
                "over-admitted": 'sum(coupon_recorded_total{result="over_admitted"})',
                "dead letters": "max(coupon_dead_letters)"}, about="Both are zero, or somebody has to act."),
            Panel("Gates", "short", {"{{state}}": "max by (state) (coupon_gate_state)",
                                     "contradict the rows": "max(coupon_reconcile_drift)",
                                     "rebuilt": "sum(coupon_gate_rebuilds_total)"}),
        ]),
    ]),
    Dashboard("recorder", "Kafka and recorder", [
        Row("From the log to rows", [
            LAG,
            Panel("Records by what became of them, a second", "ops",
                  {"{{result}}": rate("coupon_recorded_total", "result")}),
            Panel("Since a recorder last succeeded", "s", {
                "the one that has waited longest": "time() - min(coupon_consumer_last_success_timestamp_seconds)"},
                  limit=10),
            ROW_DELAY,
            Panel("Committed, a second", "ops", {
                "{{partition}}": "max by (partition) (rate(kafka_consumer_committed_offset[$__rate_interval]))"}),
            Panel("MySQL for coupons: statements", "s", quantiles('mysql_statement_seconds{client="coupons"}')),
        ]),
        Row("Into Kafka", [
            Panel("Batches, a second", "ops", {"{{topic}}": rate("kafka_produce_seconds_count", "topic")}),
            PRODUCE,
            Panel("Batches that were not acknowledged", "ops",
                  {"{{topic}} {{code}}": rate("kafka_produce_errors_total", "topic", "code")}),
            Panel("Events on coupon-issued, a second", "ops", {"events": rate("coupon_published_total")}),
            Panel("Dead letters", "short", {"waiting for a person": "max(coupon_dead_letters)"}),
            Panel("Repairs", "short", {"appended again": "sum(coupon_republished_total)",
                                       "gate told late": "sum(coupon_settled_late_total)",
                                       "gates rebuilt": "sum(coupon_gate_rebuilds_total)",
                                       "gates that contradicted the rows": "sum(coupon_reconcile_drifts_total)"}),
        ]),
    ]),
    Dashboard("products", "Product cache", [
        Row("Who answers reads", [
            Panel("Reads by level", "ops", {
                "gateway's copy": rate("edge_answers_total"),
                "L1": rate('product_cache_requests_total{level="l1",result="hit"}'),
                "L2": rate('product_cache_requests_total{level="l2",result="hit"}'),
                "store, in ids": rate("product_loaded_ids_total")}),
            Panel("Hits", "percentunit", {level: "{} / {}".format(
                rate(f'product_cache_requests_total{{level="{level}",result="hit"}}'),
                rate(f'product_cache_requests_total{{level="{level}",result=~"hit|miss"}}'))
                for level in ("l1", "l2")}),
            Panel("L2: everything", "ops", {
                "{{result}}": rate('product_cache_requests_total{level="l2"}', "result"),
                "put {{result}}": rate("product_cache_fills_total", "result")}),
            Panel("L2: round trip", "s", quantiles('redis_command_seconds{client="product-cache"}')),
            Panel("Store: reads", "ops", {"{{result}}": rate("product_loads_total", "result"),
                                          "lists {{result}}": rate("product_lists_total", "result")}),
            Panel("Store: one read takes", "s", {"mean": mean("product_load_seconds")}),
        ]),
        Row("What is kept", [
            Panel("Entries", "short", {"products": "sum(product_cache_entries)",
                                       "hot ones": "sum(product_cache_hot_entries)",
                                       "ids that do not exist": "sum(product_cache_negative_entries)",
                                       "copies in gateways": "sum(edge_products)"}),
            Panel("Size of L1", "bytes", {"{{instance}}": "product_cache_bytes"}),
            Panel("Thrown away, a second", "ops", {"evicted": rate("product_cache_evictions_total"),
                                                   "changed: {{kind}}": rate("product_cache_invalidations_total", "kind")}),
            Panel("For which nobody, or another one, asked", "ops", {"refreshed ahead": rate("product_refreshes_total"),
                                                                     "joined": rate("product_load_joins_total"),
                                                                     "refused": rate("product_refused_total")}),
            Panel("Old or unknown answers, a second", "ops", {"{{kind}}": rate("product_cache_l1_hits_total", "kind")},
                  about="expired: the store did not answer in time."),
            Panel("Views, a second", "ops", {"counted": rate("product_views_total"),
                                             "added to the totals": rate("product_views_flushed_total"),
                                             "perhaps lost": rate("edge_views_lost_total")}),
        ]),
    ]),
    Dashboard("runtime", "Runtime", [
        Row("Processes", [
            CPU,
            MEMORY,
            Panel("Open files", "percentunit", {"{{job}} {{instance}}": "process_open_fds / process_max_fds"}),
            Panel("Threads of servers", "short", {"{{instance}}": "process_threads"}),
            Panel("Up since", "s", {"{{job}} {{instance}}": "time() - process_start_time_seconds"}),
            Panel("Builds that run", "short", {"{{process}} {{commit}}": "count by (process, commit) (ecom_build_info)"}),
        ]),
        Row("Gateways", [
            Panel("Goroutines", "short", {"{{instance}}": "go_goroutines"}),
            Panel("Heap", "bytes", {"{{instance}}": "go_memstats_heap_inuse_bytes"}),
            Panel("Longest pause of the collector", "s", {"{{instance}}": 'go_gc_duration_seconds{quantile="1"}'}),
            Panel("Lanes", "short", {"up": "sum(lanes_up)", "calls waiting": "sum(lane_calls_waiting)"}),
            Panel("Calls in a frame", "short", {"to the server": mean("lane_frame_calls"),
                                                "answers": mean("lane_frame_answers")}),
            Panel("Not by lane, a second", "ops", {"refused": rate("lane_calls_refused_total"),
                                                   "sent by themselves": rate("lane_calls_passed_by_total"),
                                                   "lanes opened": rate("lanes_opened_total")}),
        ]),
    ]),
]
