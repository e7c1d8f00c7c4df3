#include "app/app.h"

#include <sysexits.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "adapters/embedded/sample_loader.h"
#include "app/build_info.h"
#include "app/metrics.h"
#include "app/sample_data.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::app {
namespace {

/// How long the server goes on after it said NOT_SERVING: for callers that look each moment.
constexpr absl::Duration kLameDuck = absl::Milliseconds(200);

/// A server that was killed a moment ago lets go of its file and its ports within this.
constexpr absl::Duration kLockTimeout = absl::Seconds(3);

constexpr absl::Duration kLogFlushTimeout = absl::Seconds(1);

absl::Status MakeDataFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error || access(path.c_str(), W_OK | X_OK) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "DATA_DIR ", path,
        " can't be written: ", error ? error.message() : std::string(strerror(errno))));
  }
  return absl::OkStatus();
}

product::Catalog::Options CatalogOptions(const Config::Product& config) {
  product::Catalog::Options options;
  options.l1.entries_max = static_cast<size_t>(config.l1_entries_max);
  options.l1.bytes_max = static_cast<size_t>(config.l1_bytes_max);
  options.l1.soft_ttl = config.soft_ttl;
  options.l1.hard_ttl = config.hard_ttl;
  options.l1.negative_ttl = config.negative_ttl;
  options.loads_waiting_max = static_cast<size_t>(config.loads_queued_max);
  options.views.flush_interval = config.view_flush_interval;
  options.views.idle_max = config.hard_ttl;
  return options;
}

/// Ends the process at once: an fsync that failed says nothing about what is on the disk, so
/// nothing more may be promised. The next start reads what is really there.
[[noreturn]] void DieOfIoError(const absl::Status& status) {
  base::Log(base::Level::kError,
            "the data file failed; the server ends at once and promises nothing",
            {{"error", status}});
  base::FlushLog(kLogFlushTimeout);
  _exit(EX_IOERR);
}

}  // namespace

absl::StatusOr<std::unique_ptr<App>> App::Create(const ParsedConfig& parsed) {
  auto app = std::unique_ptr<App>(new App(parsed));
  RETURN_IF_ERROR(app->Start());
  return app;
}

App::App(const ParsedConfig& parsed) : parsed_(parsed), started_at_(absl::Now()) {}

App::~App() { Stop(); }

absl::Status App::Start() {
  const Config& config = parsed_.config;
  if (config.app.backend == Backend::kStack) {
    return absl::FailedPreconditionError(
        "BACKEND=stack is not part of this version yet; leave it out, or set it to embedded");
  }
  RETURN_IF_ERROR(MakeDataFolder(config.app.data_dir));
  ASSIGN_OR_RETURN(database_,
                   adapters::embedded::Database::Create({.path = config.app.data_dir + "/ecom.db",
                                                         .lock_timeout = kLockTimeout,
                                                         .on_failure = DieOfIoError}));
  coupon_store_ = std::make_unique<adapters::embedded::EmbeddedCouponStore>(*database_, clock_);
  product_store_ = std::make_unique<adapters::embedded::EmbeddedProductStore>(*database_);
  log_ = std::make_unique<adapters::embedded::EmbeddedClaimLog>(*database_);
  gate_ = std::make_unique<adapters::embedded::EmbeddedCouponGate>(
      adapters::embedded::EmbeddedCouponGate::Options{.reservations_max =
                                                          config.coupon.reservations_max},
      clock_);
  if (config.sample_data.load) {
    const SampleData sample = MakeSampleData(clock_.Now(), config.sample_data.coupon_stock);
    RETURN_IF_ERROR(
        adapters::embedded::LoadSampleData(*database_, sample.coupons, sample.products));
  }

  directory_ = std::make_unique<coupon::CouponDirectory>(coupon::CouponDirectory::Options{},
                                                         *coupon_store_, clock_);
  reconciler_ = std::make_unique<coupon::Reconciler>(
      coupon::Reconciler::Options{.interval = config.coupon.reconcile_interval,
                                  .ack_deadline = config.coupon.ack_deadline},
      coupon::Reconciler::Deps{.store = *coupon_store_,
                               .authority = *coupon_store_,
                               .control = *gate_,
                               .log = *log_,
                               .source = *log_,
                               .directory = *directory_,
                               .clock = clock_});
  recorder_ = std::make_unique<coupon::Recorder>(
      coupon::Recorder::Options{.batch_records_max = config.coupon.record_batch_max},
      coupon::Recorder::Deps{
          .source = *log_,
          .store = *coupon_store_,
          .gate = *gate_,
          .on_over_admitted = [this](coupon::CouponId id) { reconciler_->RequestRebuild(id); }});
  writer_ = std::make_unique<coupon::ClaimWriter>(
      coupon::ClaimWriter::Options{.batch_claims_max =
                                       static_cast<size_t>(config.coupon.claim_batch_max)},
      *log_);
  issuer_ = std::make_unique<coupon::Issuer>(
      coupon::Issuer::Options{
          .claims_waiting_max = static_cast<size_t>(config.coupon.claims_queued_max),
          .batch_claims_max = static_cast<size_t>(config.coupon.claim_batch_max),
          .ack_deadline = config.coupon.ack_deadline},
      coupon::Issuer::Deps{.gate = *gate_,
                           .writer = *writer_,
                           .log = *log_,
                           .store = *coupon_store_,
                           .directory = *directory_,
                           .reconciler = *reconciler_,
                           .clock = clock_});
  catalog_ =
      std::make_unique<product::Catalog>(CatalogOptions(config.product), *product_store_, clock_);
  RETURN_IF_ERROR(reconciler_->Reconcile());
  reconciler_->Start();

  ASSIGN_OR_RETURN(
      server_, rpc::Server::Create({.address = config.rpc.address.ToString(),
                                    .socket_path = config.rpc.socket_path,
                                    .completion_queues = config.rpc.completion_queues,
                                    .calls_in_flight_max = config.rpc.requests_in_flight_max},
                                   {.issuer = *issuer_, .catalog = *catalog_, .clock = clock_}));
  ASSIGN_OR_RETURN(admin_, AdminServer::Create({.host = config.admin.address.host,
                                                .port = config.admin.address.port,
                                                .info = {.name = "ecom-server",
                                                         .version = kVersion,
                                                         .commit = kCommit,
                                                         .compiler = kCompiler,
                                                         .started_at = started_at_,
                                                         .backend = "embedded",
                                                         .config_digest = parsed_.Digest()}},
                                               {.metrics = [this] { return Metrics(); },
                                                .health = [this] { return Health(); },
                                                .meters = [this] { return Meters(); }}));
  return absl::OkStatus();
}

void App::Serve() {
  serving_ = true;
  server_->SetServing(true);
  base::Log(base::Level::kInfo, "serving",
            {{"grpc_port", server_->port()},
             {"admin_port", admin_->port()},
             {"data_dir", parsed_.config.app.data_dir},
             {"version", kVersion},
             {"commit", kCommit}});
}

void App::Stop() {
  if (std::exchange(stopped_, true)) return;
  const absl::Duration drain_timeout = parsed_.config.app.drain_timeout;
  if (serving_.exchange(false)) {
    server_->SetServing(false);
    absl::SleepFor(kLameDuck);
  }
  if (reconciler_)
    reconciler_->Stop();  // first: calls that wait for a gate would outlast the drain
  if (server_) server_->Drain(drain_timeout);
  if (issuer_) issuer_->Stop();
  if (writer_) writer_->Stop();
  if (catalog_) catalog_->Stop();
  if (server_) server_->Close();
  if (recorder_) recorder_->Stop(drain_timeout);
  if (admin_) admin_->Stop();
  base::Log(base::Level::kInfo, "stopped");
}

std::vector<ComponentHealth> App::Health() {
  return {
      {.name = "serving", .up = serving_, .detail = serving_ ? "" : "starting or draining"},
      {.name = "log", .up = log_->Ready().ok(), .detail = std::string(log_->Ready().message())}};
}

std::string App::Metrics() {
  return RenderMetrics({.issuer = issuer_->stats(),
                        .recorder = recorder_->stats(),
                        .reconciler = reconciler_->stats(),
                        .catalog = catalog_->stats(),
                        .calls_in_flight = server_->calls_in_flight()});
}

std::vector<Meter> App::Meters() {
  return {{.name = "grpc.server.calls.active",
           .description = "Calls under way",
           .base_unit = "calls",
           .measurements = {{.statistic = "VALUE",
                             .value = static_cast<double>(server_->calls_in_flight())}},
           .tags = {}}};
}

}  // namespace ecom::app
