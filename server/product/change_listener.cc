#include "product/change_listener.h"

#include <pthread.h>

#include "base/log.h"

namespace ecom::product {
namespace {

/// For one look: how long Stop may have to wait.
constexpr absl::Duration kLook = absl::Milliseconds(200);

}  // namespace

ChangeListener::ChangeListener(ProductChanges& changes, Catalog& catalog)
    : changes_(changes), catalog_(catalog) {
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "product-changes");
}

ChangeListener::~ChangeListener() { Stop(); }

void ChangeListener::Stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void ChangeListener::Run() {
  while (!stopping_) {
    const auto changes = changes_.Next(kLook);
    if (changes.ok()) {
      catalog_.Invalidate(*changes);
      continue;
    }
    catalog_.InvalidateAll();
    base::Log(base::Level::kDebug, "changes of products may have been missed",
              {{"error", changes.status()}});
  }
}

}  // namespace ecom::product
