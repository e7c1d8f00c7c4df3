#include "app/app.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "app/build_info.h"
#include "app/metrics.h"
#include "app/process_stats.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::app {
namespace {

/// How long the server goes on after it said NOT_SERVING: for callers that look each moment.
constexpr absl::Duration kLameDuck = absl::Milliseconds(200);

/// How often a store that does not answer is prepared again.
constexpr absl::Duration kPrepareInterval = absl::Milliseconds(500);
/// How often a starting server looks whether its gates are open.
constexpr absl::Duration kReadyInterval = absl::Milliseconds(10);

/// Where other servers go on appending, the log does not become empty: what this process leaves
/// unrecorded, another one or the next start records.
constexpr absl::Duration kSharedLogDrain = absl::Seconds(2);

/// Products whose views by other servers show here within the contract's two seconds however long
/// nobody has asked for them: with each flush, four short reads of the gate's Redis.
constexpr size_t kSharedProductsMax = 4'096;

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

product::Catalog::Options CatalogOptions(const Config& all) {
  const Config::Product& config = all.product;
  product::Catalog::Options options;
  options.l1.entries_max = static_cast<size_t>(config.l1_entries_max);
  options.l1.bytes_max = static_cast<size_t>(config.l1_bytes_max);
  options.l1.soft_ttl = config.soft_ttl;
  options.l1.asked_lately = config.read_ahead;
  options.l1.hard_ttl = config.hard_ttl;
  options.l1.negative_ttl = config.negative_ttl;
  options.loads_waiting_max = static_cast<size_t>(config.loads_queued_max);
  options.views.flush_interval = config.view_flush_interval;
  options.views.shared_products_max = all.app.backend == Backend::kStack ? kSharedProductsMax : 0;
  return options;
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
  RETURN_IF_ERROR(MakeDataFolder(config.app.data_dir));
  ASSIGN_OR_RETURN(backing_, Backing::Create(config, clock_));
  if (config.sample_data.load) {
    sample_ = MakeSampleData(clock_.Now(), config.sample_data.coupon_stock);
  }
  directory_ = std::make_unique<coupon::CouponDirectory>(coupon::CouponDirectory::Options{},
                                                         backing_->coupon_store(), clock_);
  reconciler_ = std::make_unique<coupon::Reconciler>(
      coupon::Reconciler::Options{.interval = config.coupon.reconcile_interval,
                                  .ack_deadline = config.coupon.ack_deadline,
                                  .repairs = config.app.roles.reconciler},
      coupon::Reconciler::Deps{.store = backing_->coupon_store(),
                               .authority = backing_->authority(),
                               .gate = backing_->gate(),
                               .control = backing_->control(),
                               .log = backing_->log(),
                               .progress = backing_->progress(),
                               .directory = *directory_,
                               .clock = clock_});
  if (config.app.roles.api) {
    MakeApi();
    ASSIGN_OR_RETURN(
        server_, rpc::Server::Create({.address = config.rpc.address.ToString(),
                                      .socket_path = config.rpc.socket_path,
                                      .completion_queues = config.rpc.completion_queues,
                                      .calls_in_flight_max = config.rpc.requests_in_flight_max},
                                     {.issuer = *issuer_, .catalog = *catalog_, .clock = clock_}));
  }
  ASSIGN_OR_RETURN(admin_, AdminServer::Create({.host = config.admin.address.host,
                                                .port = config.admin.address.port,
                                                .info = {.name = "ecom-server",
                                                         .version = kVersion,
                                                         .commit = kCommit,
                                                         .compiler = kCompiler,
                                                         .started_at = started_at_,
                                                         .backend = std::string(backing_->name()),
                                                         .config_digest = parsed_.Digest()}},
                                               {.metrics = [this] { return Metrics(); },
                                                .health = [this] { return Health(); },
                                                .meters = [this] { return Meters(); },
                                                .hot_products = [this] { return HotProducts(); }}));
  starter_ = std::thread([this] { BecomeReady(); });
  return absl::OkStatus();
}

void App::MakeApi() {
  const Config& config = parsed_.config;
  writer_ = std::make_unique<coupon::ClaimWriter>(
      coupon::ClaimWriter::Options{.batch_claims_max =
                                       static_cast<size_t>(config.coupon.claim_batch_max)},
      backing_->log());
  issuer_ = std::make_unique<coupon::Issuer>(
      coupon::Issuer::Options{
          .claims_waiting_max = static_cast<size_t>(config.coupon.claims_queued_max),
          .batch_claims_max = static_cast<size_t>(config.coupon.claim_batch_max),
          .claim_wait_target = config.coupon.claim_wait_target,
          .ack_deadline = config.coupon.ack_deadline},
      coupon::Issuer::Deps{.gate = backing_->gate(),
                           .writer = *writer_,
                           .log = backing_->log(),
                           .store = backing_->coupon_store(),
                           .directory = *directory_,
                           .reconciler = *reconciler_,
                           .clock = clock_});
  catalog_ = std::make_unique<product::Catalog>(
      CatalogOptions(config), product::Catalog::Deps{.store = backing_->product_store(),
                                                     .cache = backing_->product_cache(),
                                                     .totals = backing_->view_totals(),
                                                     .clock = clock_});
}

/// Waits for the stores, prepares them, starts what works on them, and serves once all is ready.
void App::BecomeReady() {
  absl::Status reported;
  absl::Status prepared = backing_->Prepare(sample_ ? &*sample_ : nullptr);
  while (!prepared.ok() && !absl::IsFailedPrecondition(prepared)) {
    if (prepared != std::exchange(reported, prepared)) {
      base::Log(base::Level::kWarn, "waiting for a dependency", {{"error", prepared}});
    }
    if (!WaitUnlessStopping(kPrepareInterval)) return;
    prepared = backing_->Prepare(sample_ ? &*sample_ : nullptr);
  }
  if (prepared.ok()) prepared = StartWork();
  if (!prepared.ok()) {
    {
      std::lock_guard lock(mutex_);
      cannot_serve_ = prepared;
    }
    kill(getpid(), SIGTERM);  // ends Wait
    return;
  }
  while (!reconciler_->AllOpen()) {
    if (!WaitUnlessStopping(kReadyInterval)) return;
  }
  Serve();
}

absl::Status App::StartWork() {
  const Config& config = parsed_.config;
  if (catalog_) {
    change_listener_ =
        std::make_unique<product::ChangeListener>(backing_->product_changes(), *catalog_);
    warmer_ = std::make_unique<product::Warmer>(product::Warmer::Options{},
                                                backing_->product_store(), *catalog_);
  }
  if (config.app.roles.recorder) {
    ASSIGN_OR_RETURN(const std::vector<coupon::ClaimSource*> sources, backing_->OpenSources());
    std::lock_guard lock(mutex_);
    if (stopping_) return absl::OkStatus();
    for (coupon::ClaimSource* source : sources) {
      recorders_.push_back(std::make_unique<coupon::Recorder>(
          coupon::Recorder::Options{.batch_records_max = config.coupon.record_batch_max},
          coupon::Recorder::Deps{.source = *source,
                                 .store = backing_->coupon_store(),
                                 .gate = backing_->gate(),
                                 .dead_letters = backing_->dead_letters(),
                                 .feed = backing_->feed(),
                                 .clock = clock_,
                                 .on_over_admitted = [this](coupon::CouponId id) {
                                   reconciler_->RequestRebuild(id);
                                 }}));
    }
  }
  reconciler_->Start();
  StartViewWriter();
  std::lock_guard lock(mutex_);
  log_watch_ = std::make_unique<LogWatch>(
      LogWatch::Options{},
      LogWatch::Deps{.progress = backing_->progress(),
                     .count_dead_letters = [this] { return backing_->CountDeadLetters(); }});
  return absl::OkStatus();
}

/// Each process brings views to the store, so that those of one that was killed come there, too.
/// The embedded backend's are there already.
void App::StartViewWriter() {
  if (parsed_.config.app.backend == Backend::kEmbedded) return;
  std::lock_guard lock(mutex_);
  view_writer_ = std::make_unique<product::ViewWriter>(
      product::ViewWriter::Options{},
      product::ViewWriter::Deps{
          .totals = backing_->view_totals(), .store = backing_->product_store(), .clock = clock_});
}

bool App::WaitUnlessStopping(absl::Duration duration) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, absl::ToChronoMilliseconds(duration),
                            [this] { return stopping_; });
}

void App::Serve() {
  serving_ = true;
  if (server_) server_->SetServing(true);
  base::Log(base::Level::kInfo, "serving",
            {{"grpc_port", server_ ? server_->port() : 0},
             {"admin_port", admin_->port()},
             {"data_dir", parsed_.config.app.data_dir},
             {"backend", std::string(backing_->name())},
             {"version", kVersion},
             {"commit", kCommit}});
}

absl::Status App::Wait(const sigset_t& stop_signals) {
  int signal = 0;
  sigwait(&stop_signals, &signal);
  std::lock_guard lock(mutex_);
  if (cannot_serve_.ok()) base::Log(base::Level::kInfo, "stopping", {{"signal", signal}});
  return cannot_serve_;
}

void App::Stop() {
  if (std::exchange(stopped_, true)) return;
  const absl::Duration drain_timeout = parsed_.config.app.drain_timeout;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (starter_.joinable()) starter_.join();
  if (serving_.exchange(false) && server_) {
    server_->SetServing(false);
    absl::SleepFor(kLameDuck);
  }
  if (log_watch_) log_watch_->BeginStop();
  if (reconciler_) {
    reconciler_->Stop();  // first: calls that wait for a gate would outlast the drain
  }
  if (server_) server_->Drain(drain_timeout);
  if (issuer_) issuer_->Stop();
  if (writer_) writer_->Stop();
  if (warmer_) warmer_->Stop();
  if (change_listener_) change_listener_->Stop();
  if (catalog_) catalog_->Stop();
  if (view_writer_) view_writer_->Stop().IgnoreError();  // logged there; others bring the rest
  if (server_) server_->Close();
  const bool alone = parsed_.config.app.backend == Backend::kEmbedded;
  const absl::Duration log_drain = alone ? drain_timeout : std::min(drain_timeout, kSharedLogDrain);
  for (const auto& recorder : recorders_) recorder->BeginStop(log_drain);
  for (const auto& recorder : recorders_) recorder->Stop(log_drain);
  if (log_watch_) log_watch_->Stop();
  if (backing_) backing_->CloseSources();
  if (admin_) admin_->Stop();
  base::Log(base::Level::kInfo, "stopped");
}

std::vector<ComponentHealth> App::Health() {
  const absl::Status log = backing_->log().Ready();
  const bool gates = reconciler_->AllOpen();
  return {
      {.name = "serving", .up = serving_, .detail = serving_ ? "" : "starting or draining"},
      {.name = "log", .up = log.ok(), .detail = std::string(log.message())},
      {.name = "gates", .up = gates, .detail = gates ? "" : "a gate is closed, or unreachable"}};
}

std::string App::Metrics() {
  return RenderMetrics(
      {.issuer = issuer_ ? issuer_->stats() : coupon::Issuer::Stats{},
       .recorder = RecorderStats(),
       .last_recorded = LastRecorded(),
       .reconciler = reconciler_->stats(),
       .catalog = catalog_ ? catalog_->stats() : product::Catalog::Stats{},
       .view_writer = ViewWriterStats(),
       .log = LogSight(),
       .process = ReadProcessStats(),
       .started_at = started_at_,
       .calls_in_flight = CallsInFlight(),
       .calls = server_ ? server_->calls() : std::vector<rpc::Server::MethodCalls>{},
       .clients = backing_->Clients()});
}

coupon::Recorder::Stats App::RecorderStats() {
  coupon::Recorder::Stats sum;
  std::lock_guard lock(mutex_);
  for (const auto& recorder : recorders_) sum += recorder->stats();
  return sum;
}

/// Of the recorder that has waited longest: the others must not hide that it is stuck.
std::optional<absl::Time> App::LastRecorded() {
  std::optional<absl::Time> earliest;
  std::lock_guard lock(mutex_);
  for (const auto& recorder : recorders_) {
    const absl::Time success = recorder->stats().last_success;
    earliest = std::min(earliest.value_or(success), success);
  }
  return earliest;
}

LogWatch::Sight App::LogSight() {
  std::lock_guard lock(mutex_);
  return log_watch_ ? log_watch_->sight() : LogWatch::Sight{};
}

product::ViewWriter::Stats App::ViewWriterStats() {
  std::lock_guard lock(mutex_);
  return view_writer_ ? view_writer_->stats() : product::ViewWriter::Stats{};
}

std::vector<std::pair<int64_t, int64_t>> App::HotProducts() const {
  std::vector<std::pair<int64_t, int64_t>> hot;
  if (!catalog_) return hot;
  for (const product::HotProduct& product : catalog_->Hot()) {
    hot.emplace_back(product.id.value, product.views);
  }
  return hot;
}

int64_t App::CallsInFlight() const { return server_ ? server_->calls_in_flight() : 0; }

std::vector<Meter> App::Meters() {
  return {{.name = "grpc.server.calls.active",
           .description = "Calls under way",
           .base_unit = "calls",
           .measurements = {{.statistic = "VALUE", .value = static_cast<double>(CallsInFlight())}},
           .tags = {}}};
}

}  // namespace ecom::app
