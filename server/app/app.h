#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "adapters/embedded/claim_log.h"
#include "adapters/embedded/coupon_store.h"
#include "adapters/embedded/database.h"
#include "adapters/embedded/gate.h"
#include "adapters/embedded/product_store.h"
#include "app/admin_server.h"
#include "app/config.h"
#include "base/clock.h"
#include "coupon/claim_writer.h"
#include "coupon/directory.h"
#include "coupon/issuer.h"
#include "coupon/reconciler.h"
#include "coupon/recorder.h"
#include "product/catalog.h"
#include "rpc/server.h"

namespace ecom::app {

/// The whole server: the one place that knows concrete types, and the order in which they start
/// and stop.
class App {
 public:
  /// Opens the stores, arms the gates of open coupons, and listens; not serving yet.
  ///
  /// FAILED_PRECONDITION, with a message for the operator: it can't start as configured, and
  /// trying again would not help. Other errors: it might.
  static absl::StatusOr<std::unique_ptr<App>> Create(const ParsedConfig& parsed);

  /// Stops, if Stop was not called.
  ~App();

  /// Says SERVING from now on.
  void Serve();

  /// The one order of stopping: says NOT_SERVING, goes on serving for a moment until callers have
  /// seen it, refuses new calls and finishes those under way, drains the claims into the log and
  /// the log into the store, flushes the views, closes the stores. Bounded by `drain-timeout` for
  /// the calls and as long again for the log. Idempotent.
  void Stop();

 private:
  explicit App(const ParsedConfig& parsed);

  absl::Status Start();
  std::vector<ComponentHealth> Health();
  std::string Metrics();
  std::vector<Meter> Meters();

  const ParsedConfig parsed_;
  const absl::Time started_at_;
  std::atomic<bool> serving_{false};
  bool stopped_ = false;

  // Lifetime order: each one uses only what stands above it.
  base::SystemClock clock_;
  std::unique_ptr<adapters::embedded::Database> database_;
  std::unique_ptr<adapters::embedded::EmbeddedCouponStore> coupon_store_;
  std::unique_ptr<adapters::embedded::EmbeddedProductStore> product_store_;
  std::unique_ptr<adapters::embedded::EmbeddedClaimLog> log_;
  std::unique_ptr<adapters::embedded::EmbeddedCouponGate> gate_;
  std::unique_ptr<coupon::CouponDirectory> directory_;
  std::unique_ptr<coupon::Reconciler> reconciler_;
  std::unique_ptr<coupon::Recorder> recorder_;
  std::unique_ptr<coupon::ClaimWriter> writer_;
  std::unique_ptr<coupon::Issuer> issuer_;
  std::unique_ptr<product::Catalog> catalog_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<AdminServer> admin_;
};

}  // namespace ecom::app
