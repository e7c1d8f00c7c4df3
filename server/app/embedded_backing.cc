#include "app/embedded_backing.h"

#include <sysexits.h>
#include <unistd.h>

#include <utility>

#include "adapters/embedded/sample_loader.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::app {
namespace {

/// A server that was killed a moment ago lets go of its file and its ports within this.
constexpr absl::Duration kLockTimeout = absl::Seconds(3);

constexpr absl::Duration kLogFlushTimeout = absl::Seconds(1);

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

std::string EmbeddedBacking::DataFile(const Config& config) {
  return config.app.data_dir + "/ecom.db";
}

absl::StatusOr<std::unique_ptr<Backing>> EmbeddedBacking::Create(const Config& config,
                                                                 const base::Clock& clock) {
  ASSIGN_OR_RETURN(
      auto database,
      adapters::embedded::Database::Create(
          {.path = DataFile(config), .lock_timeout = kLockTimeout, .on_failure = DieOfIoError}));
  return std::unique_ptr<Backing>(new EmbeddedBacking(config, clock, std::move(database)));
}

EmbeddedBacking::EmbeddedBacking(const Config& config, const base::Clock& clock,
                                 std::unique_ptr<adapters::embedded::Database> database)
    : database_(std::move(database)),
      coupon_store_(*database_, clock),
      product_store_(*database_, clock),
      product_changes_({}, *database_, clock),
      view_totals_(*database_),
      log_(*database_),
      gate_({.reservations_max = config.coupon.reservations_max}, clock) {}

absl::Status EmbeddedBacking::Prepare(const SampleData* sample) {
  if (sample == nullptr) return absl::OkStatus();
  return adapters::embedded::LoadSampleData(*database_, sample->coupons, sample->products);
}

}  // namespace ecom::app
