#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "product/store.h"
#include "product/views.h"

namespace ecom::product {

/// Brings totals of views to the store, on a thread of its own. Several servers may do so at once,
/// and any may die meanwhile: the store keeps the highest, and what is not noted as stored is
/// brought again. Thread-safe.
class ViewWriter {
 public:
  struct Options {
    /// The longest pause between two rounds; half of it is random, so that servers take turns.
    /// With what a flush and a round take, views are in the store well within the 15 seconds that
    /// the contract allows.
    absl::Duration interval = absl::Seconds(5);
    /// Products in one transaction of the store.
    int batch_products_max = 1'000;
    /// How often Stop tries, and how long it waits in between.
    int stop_attempts = 5;
    absl::Duration stop_retry_delay = absl::Milliseconds(100);
  };

  /// All of these must outlive the writer.
  struct Deps {
    ViewTotals& totals;
    ProductStore& store;
    const base::Clock& clock;
  };

  struct Stats {
    int64_t written = 0;                     ///< totals that were brought to the store
    int64_t rounds = 0;                      ///< that left nothing behind
    int64_t errors = 0;                      ///< rounds that failed; the next one goes on
    std::optional<absl::Time> last_success;  ///< of a round
  };

  ViewWriter(Options options, Deps deps);
  ~ViewWriter();

  /// Brings all that was not stored when the call began, now, on the caller's thread. Blocks for
  /// the I/O. Returns the first error; what was not brought waits for the next round.
  absl::Status WriteAll();

  /// Ends the thread, and brings what is left. To be called when this server adds no more views.
  /// Returns the error of the last of `stop_attempts`: the totals wait for another server, or the
  /// next start. Idempotent.
  absl::Status Stop();

  Stats stats() const;

 private:
  void Run();
  absl::Duration Pause();
  absl::Status WriteRound();

  const Options options_;
  ViewTotals& totals_;
  ProductStore& store_;
  const base::Clock& clock_;

  std::mutex round_mutex_;  // one round at a time; guards the next
  bool failing_ = false;

  mutable std::mutex stats_mutex_;
  Stats stats_;

  std::mutex stop_mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::once_flag stopped_;
  absl::Status stop_status_;
  std::minstd_rand random_;  // only the thread touches it
  std::thread thread_;       // last: runs on the members above
};

}  // namespace ecom::product
