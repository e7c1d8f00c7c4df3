#pragma once

#include <atomic>
#include <thread>

#include "absl/time/time.h"
#include "product/catalog.h"
#include "product/changes.h"

namespace ecom::product {

/// Has the catalog drop what was changed, as soon as it is told, and everything when it may have
/// missed something; on a thread of its own. Thread-safe.
class ChangeListener {
 public:
  /// Both must outlive the listener. Begins at once.
  ChangeListener(ProductChanges& changes, Catalog& catalog);
  ~ChangeListener();

  /// Ends the thread, within a moment. Idempotent.
  void Stop();

 private:
  void Run();

  ProductChanges& changes_;
  Catalog& catalog_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;  // last: runs on the members above
};

}  // namespace ecom::product
