#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "absl/time/time.h"
#include "product/catalog.h"
#include "product/changes.h"

namespace ecom::product {

/// Has the catalog drop what was changed, as soon as it is told, and everything when it may have
/// missed something; on a thread of its own. Thread-safe.
class ChangeListener {
 public:
  struct Stats {
    int64_t changes = 0;  ///< that it was told of
    int64_t gaps = 0;     ///< times that it may have missed some; the first is the start
  };

  /// Both must outlive the listener. Begins at once.
  ChangeListener(ProductChanges& changes, Catalog& catalog);
  ~ChangeListener();

  /// Ends the thread, within a moment. Idempotent.
  void Stop();

  Stats stats() const { return {.changes = changes_told_, .gaps = gaps_}; }

 private:
  void Run();

  ProductChanges& changes_;
  Catalog& catalog_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> changes_told_ = 0;
  std::atomic<int64_t> gaps_ = 0;
  std::thread thread_;  // last: runs on the members above
};

}  // namespace ecom::product
