#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "product/catalog.h"
#include "product/store.h"

namespace ecom::product {

/// Fills the catalog with the most viewed products, at the start and from time to time, on a thread
/// of its own: so the first who ask after a start do not all wait for the store. Thread-safe.
class Warmer {
 public:
  struct Options {
    absl::Duration interval = absl::Hours(1);
    /// After a round that failed.
    absl::Duration retry_interval = absl::Seconds(5);
    /// Products; at most Catalog::kPageSizeMax, as they are read like a page of a list.
    int products = 100;
    /// Products that are read at once, and the pause between two such reads: what others ask
    /// meanwhile does not wait behind all of them.
    int step_products = 25;
    absl::Duration step_pause = absl::Milliseconds(20);
  };

  /// Both must outlive the warmer. Begins at once.
  Warmer(Options options, ProductStore& store, Catalog& catalog);
  ~Warmer();

  /// Ends a round under way, and the thread. Idempotent.
  void Stop();

 private:
  void Run();
  absl::Status Warm();
  bool WaitUnlessStopping(absl::Duration duration);

  const Options options_;
  ProductStore& store_;
  Catalog& catalog_;
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;     // last: runs on the members above
};

}  // namespace ecom::product
