#include "app/metrics.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/match.h"
#include "app/process_stats.h"
#include "base/call_stats.h"

namespace ecom::app {
namespace {

TEST(Metrics, ShowTheFunnelByResult) {
  const std::string text =
      RenderMetrics({.issuer = {.requested = 9, .admitted = 5, .queued = 4, .sold_out = 3},
                     .recorder = {.issued = 2}});
  for (const char* line :
       {"coupon_issue_total{result=\"requested\"} 9\n",
        "coupon_issue_total{result=\"admitted\"} 5\n", "coupon_issue_total{result=\"acked\"} 4\n",
        "coupon_issue_total{result=\"recorded\"} 2\n",
        "coupon_issue_total{result=\"sold_out\"} 3\n",
        "coupon_issue_total{result=\"duplicate\"} 0\n"}) {
    EXPECT_TRUE(absl::StrContains(text, line)) << line;
  }
}

TEST(Metrics, ShowWhatWasShedAndWhatWaits) {
  const std::string text = RenderMetrics({.issuer = {.full = 1,
                                                     .load = {.shed_at_once = 7,
                                                              .shed_waiting = 2,
                                                              .on_their_way = 250,
                                                              .oldest_wait = absl::Seconds(0.5)}}});
  for (const char* line :
       {"coupon_shed_total{reason=\"overload\"} 7\n", "coupon_shed_total{reason=\"late\"} 2\n",
        "coupon_shed_total{reason=\"queue_full\"} 1\n", "coupon_claims_on_their_way 250\n",
        "coupon_claim_wait_seconds 0.5\n"}) {
    EXPECT_TRUE(absl::StrContains(text, line)) << line;
  }
}

TEST(Metrics, ShowGatesAndWhatTheyHold) {
  const std::string text = RenderMetrics({.reconciler = {.gates_open = 3,
                                                         .gates_closed = 1,
                                                         .reservations = 12,
                                                         .stock = 345,
                                                         .drifting = 1,
                                                         .drifts = 2}});
  for (const char* line :
       {"coupon_gate_state{state=\"open\"} 3\n", "coupon_gate_state{state=\"closed\"} 1\n",
        "coupon_reservations 12\n", "coupon_stock_remaining 345\n", "coupon_reconcile_drift 1\n",
        "coupon_reconcile_drifts_total 2\n"}) {
    EXPECT_TRUE(absl::StrContains(text, line)) << line;
  }
}

TEST(Metrics, ShowTheLagOfEachPartition) {
  const std::string text = RenderMetrics(
      {.log = {.ends = {{{0, 10}, {1, 7}}}, .committed = {{{0, 4}, {1, 7}}}, .dead_letters = 1}});
  for (const char* line : {"kafka_consumer_lag{group=\"coupon-issue-group\",topic=\"coupon-issue\","
                           "partition=\"0\"} 6\n",
                           "kafka_consumer_lag{group=\"coupon-issue-group\",topic=\"coupon-issue\","
                           "partition=\"1\"} 0\n",
                           "kafka_consumer_committed_offset{group=\"coupon-issue-group\","
                           "topic=\"coupon-issue\",partition=\"0\"} 4\n",
                           "coupon_dead_letters 1\n"}) {
    EXPECT_TRUE(absl::StrContains(text, line)) << line;
  }
}

TEST(Metrics, LeaveOutWhatIsNotKnown) {
  const std::string text = RenderMetrics({});
  EXPECT_FALSE(absl::StrContains(text, "kafka_consumer_lag{"));
  EXPECT_FALSE(absl::StrContains(text, "\ncoupon_dead_letters "));
  EXPECT_FALSE(absl::StrContains(text, "\ncoupon_consumer_last_success_timestamp_seconds "));
}

TEST(Metrics, ShowARecorderThatNeverSucceededAsOneOf1970) {
  EXPECT_TRUE(absl::StrContains(RenderMetrics({.last_recorded = absl::InfinitePast()}),
                                "\ncoupon_consumer_last_success_timestamp_seconds 0\n"));
  EXPECT_TRUE(absl::StrContains(RenderMetrics({.last_recorded = absl::FromUnixSeconds(1764028800)}),
                                "\ncoupon_consumer_last_success_timestamp_seconds 1764028800\n"));
}

TEST(Metrics, ShowTheDelayOfRowsAsAHistogram) {
  coupon::Recorder::Stats recorder;
  recorder.row_delays[0] = 1;
  recorder.row_delays.back() = 2;
  recorder.row_delay_sum = absl::Seconds(80);
  const std::string text = RenderMetrics({.recorder = recorder});
  for (const char* line :
       {"coupon_queue_to_row_seconds_bucket{le=\"0.005\"} 1\n",
        "coupon_queue_to_row_seconds_bucket{le=\"5\"} 1\n",
        "coupon_queue_to_row_seconds_bucket{le=\"+Inf\"} 3\n",
        "coupon_queue_to_row_seconds_count 3\n", "coupon_queue_to_row_seconds_sum 80\n"}) {
    EXPECT_TRUE(absl::StrContains(text, line)) << line;
  }
}

/// Two calls that went well, one that found nobody there, and one under way.
base::CallStats::Snapshot SomeCalls() {
  base::CallStats calls;
  for (int i = 0; i < 4; ++i) calls.Started();
  calls.Ended(0, absl::Microseconds(80));
  calls.Ended(0, absl::Milliseconds(2));
  calls.Ended(static_cast<int>(absl::StatusCode::kUnavailable), absl::Seconds(2));
  return calls.snapshot();
}

TEST(Metrics, ShowCallsByMethodAndCode) {
  const std::string text =
      RenderMetrics({.calls = {{"ecom.coupon.v1.CouponService", "IssueCoupon", SomeCalls()},
                               {"ecom.product.v1.ProductService", "GetProduct", {}}}});
  const std::string issue =
      "grpc_service=\"ecom.coupon.v1.CouponService\",grpc_method=\"IssueCoupon\"";
  const std::string get =
      "grpc_service=\"ecom.product.v1.ProductService\",grpc_method=\"GetProduct\"";
  for (const std::string& line :
       {"grpc_server_started_total{" + issue + "} 4\n",
        "grpc_server_handled_total{" + issue + ",grpc_code=\"OK\"} 2\n",
        "grpc_server_handled_total{" + issue + ",grpc_code=\"Unavailable\"} 1\n",
        "grpc_server_handled_total{" + get + ",grpc_code=\"OK\"} 0\n",
        "grpc_server_handling_seconds_bucket{" + issue + ",le=\"0.0001\"} 1\n",
        "grpc_server_handling_seconds_bucket{" + issue + ",le=\"1\"} 2\n",
        "grpc_server_handling_seconds_count{" + issue + "} 3\n",
        "grpc_server_handling_seconds_count{" + get + "} 0\n"}) {
    EXPECT_TRUE(absl::StrContains(text, line)) << line;
  }
  EXPECT_FALSE(absl::StrContains(text, "grpc_code=\"NotFound\"")) << "nobody was told that";
}

TEST(Metrics, ShowWhatClientsOfOtherProgramsCount) {
  using System = ClientStats::System;
  const std::string text =
      RenderMetrics({.clients = {{System::kRedis, "gate", SomeCalls(), {}},
                                 {System::kMysql,
                                  "coupons",
                                  {},
                                  ClientStats::Pool{.in_use = 2, .size = 17, .waiting = 1}},
                                 {System::kKafka, "coupon-issue", SomeCalls(), {}}}});
  for (const char* line :
       {"redis_command_seconds_bucket{client=\"gate\",le=\"0.0001\"} 1\n",
        "redis_command_seconds_bucket{client=\"gate\",le=\"0.0025\"} 2\n",
        "redis_command_seconds_bucket{client=\"gate\",le=\"1\"} 2\n",
        "redis_command_seconds_bucket{client=\"gate\",le=\"+Inf\"} 3\n",
        "redis_command_seconds_sum{client=\"gate\"} 2.00208\n",
        "redis_errors_total{client=\"gate\",code=\"Unavailable\"} 1\n",
        "redis_errors_total{client=\"gate\",code=\"DeadlineExceeded\"} 0\n",
        "redis_commands_in_flight{client=\"gate\"} 1\n",
        "mysql_statement_seconds_count{client=\"coupons\"} 0\n",
        "mysql_errors_total{client=\"coupons\",code=\"Unavailable\"} 0\n",
        "mysql_pool_connections_in_use{client=\"coupons\"} 2\n",
        "mysql_pool_connections_max{client=\"coupons\"} 17\n",
        "mysql_pool_waiting{client=\"coupons\"} 1\n",
        "kafka_produce_seconds_count{topic=\"coupon-issue\"} 3\n",
        "kafka_produce_errors_total{topic=\"coupon-issue\",code=\"Unavailable\"} 1\n"}) {
    EXPECT_TRUE(absl::StrContains(text, line)) << line;
  }
  EXPECT_FALSE(absl::StrContains(text, "redis_errors_total{client=\"gate\",code=\"OK\"}"));
  EXPECT_FALSE(absl::StrContains(text, "mysql_pool_connections_max{client=\"gate\"}"));
}

TEST(Metrics, SayNothingOfOtherProgramsWhereThereAreNone) {
  const std::string text = RenderMetrics({});
  EXPECT_FALSE(absl::StrContains(text, "redis_"));
  EXPECT_FALSE(absl::StrContains(text, "mysql_"));
}

TEST(Metrics, ShowProcessAndBuild) {
  const std::string text = RenderMetrics(
      {.process = {.cpu = absl::Milliseconds(1500), .resident_bytes = 4096, .open_fds = 8},
       .started_at = absl::FromUnixSeconds(1764028800)});
  for (const char* line :
       {"process_cpu_seconds_total 1.5\n", "process_resident_memory_bytes 4096\n",
        "process_open_fds 8\n", "process_start_time_seconds 1764028800\n",
        "ecom_build_info{process=\"ecom-server\",version=\""}) {
    EXPECT_TRUE(absl::StrContains(text, line)) << line;
  }
}

TEST(ProcessStats, SeeThisProcess) {
  const ProcessStats stats = ReadProcessStats();
  EXPECT_GT(stats.cpu, absl::ZeroDuration());
  EXPECT_GT(stats.resident_bytes, 1 << 20);
  EXPECT_GT(stats.virtual_bytes, stats.resident_bytes);
  EXPECT_GE(stats.threads, 1);
  EXPECT_GE(stats.open_fds, 3);
  EXPECT_GE(stats.fds_max, stats.open_fds);
}

}  // namespace
}  // namespace ecom::app
