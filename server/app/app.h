#pragma once

#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "app/admin_server.h"
#include "app/backing.h"
#include "app/config.h"
#include "app/log_watch.h"
#include "app/sample_data.h"
#include "base/clock.h"
#include "coupon/claim_writer.h"
#include "coupon/directory.h"
#include "coupon/issuer.h"
#include "coupon/reconciler.h"
#include "coupon/recorder.h"
#include "product/catalog.h"
#include "product/change_listener.h"
#include "product/view_writer.h"
#include "product/warmer.h"
#include "rpc/server.h"

namespace ecom::app {

/// The whole server: how its parts are put together, and the order in which they start and stop.
class App {
 public:
  /// Puts the parts together, listens, and begins to prepare the stores; says NOT_SERVING until
  /// they are fit and the gates of open coupons are armed. A store that does not answer is waited
  /// for: calls that need it get UNAVAILABLE meanwhile.
  ///
  /// FAILED_PRECONDITION, with a message for the operator: it can't start as configured, and
  /// trying again would not help. Other errors: it might.
  static absl::StatusOr<std::unique_ptr<App>> Create(const ParsedConfig& parsed);

  /// Stops, if Stop was not called.
  ~App();

  /// Blocks until one of `stop_signals`, which the caller has blocked in every thread, arrives, or
  /// until it turns out that the stores can't be used as configured: then FAILED_PRECONDITION.
  absl::Status Wait(const sigset_t& stop_signals);

  /// The one order of stopping: says NOT_SERVING, goes on serving for a moment until callers have
  /// seen it, refuses new calls and finishes those under way, drains the claims into the log and
  /// the log into the store, flushes the views, closes the stores. Bounded by `drain-timeout` for
  /// the calls and as long again for the log. Idempotent.
  void Stop();

 private:
  explicit App(const ParsedConfig& parsed);

  absl::Status Start();
  void MakeApi();
  void BecomeReady();
  absl::Status StartWork();
  void StartViewWriter();
  bool WaitUnlessStopping(absl::Duration duration);
  void Serve();
  std::vector<ComponentHealth> Health();
  std::string Metrics();
  std::vector<Meter> Meters();
  coupon::Recorder::Stats RecorderStats();
  std::optional<absl::Time> LastRecorded();
  LogWatch::Sight LogSight();
  product::ViewWriter::Stats ViewWriterStats();
  std::vector<std::pair<int64_t, int64_t>> HotProducts() const;
  int64_t CallsInFlight() const;

  const ParsedConfig parsed_;
  const absl::Time started_at_;
  std::optional<SampleData> sample_;
  std::atomic<bool> serving_{false};
  bool stopped_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;      // guarded by mutex_
  absl::Status cannot_serve_;  // guarded by mutex_

  // Lifetime order: each one uses only what stands above it.
  base::SystemClock clock_;
  std::unique_ptr<Backing> backing_;
  std::unique_ptr<coupon::CouponDirectory> directory_;
  std::unique_ptr<coupon::Reconciler> reconciler_;
  std::vector<std::unique_ptr<coupon::Recorder>> recorders_;  // guarded by mutex_
  std::unique_ptr<coupon::ClaimWriter> writer_;
  std::unique_ptr<coupon::Issuer> issuer_;
  std::unique_ptr<product::Catalog> catalog_;
  std::unique_ptr<product::ViewWriter> view_writer_;  // guarded by mutex_
  std::unique_ptr<product::ChangeListener> change_listener_;
  std::unique_ptr<product::Warmer> warmer_;
  std::unique_ptr<LogWatch> log_watch_;  // guarded by mutex_
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<AdminServer> admin_;
  std::thread starter_;  // last: runs on the members above
};

}  // namespace ecom::app
