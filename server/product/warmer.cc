#include "product/warmer.h"

#include <pthread.h>

#include <algorithm>
#include <span>
#include <vector>

#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::product {

Warmer::Warmer(Options options, ProductStore& store, Catalog& catalog)
    : options_(options), store_(store), catalog_(catalog) {
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "product-warmer");
}

Warmer::~Warmer() { Stop(); }

void Warmer::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Warmer::Run() {
  bool failing = false;
  for (;;) {
    const absl::Status warmed = Warm();
    if (!warmed.ok() && !failing) {
      base::Log(base::Level::kWarn, "the product caches could not be warmed; it is tried again",
                {{"error", warmed}});
    }
    failing = !warmed.ok();
    if (!WaitUnlessStopping(failing ? options_.retry_interval : options_.interval)) return;
  }
}

absl::Status Warmer::Warm() {
  ASSIGN_OR_RETURN(const std::vector<Product> products,
                   store_.ListProducts({.sort = Sort::kViews, .limit = options_.products}));
  // Read anew: the catalog knows what changes meanwhile.
  std::vector<ProductId> ids;
  for (const Product& product : products) ids.push_back(product.id);
  const size_t step = static_cast<size_t>(options_.step_products);
  for (size_t begin = 0; begin < ids.size(); begin += step) {
    if (begin > 0 && !WaitUnlessStopping(options_.step_pause)) return absl::OkStatus();
    catalog_.Warm(std::span(ids).subspan(begin, std::min(step, ids.size() - begin)));
  }
  base::Log(base::Level::kInfo, "the product caches are being warmed",
            {{"products", static_cast<int64_t>(ids.size())}});
  return absl::OkStatus();
}

/// False: the end has come.
bool Warmer::WaitUnlessStopping(absl::Duration duration) {
  std::unique_lock lock(mutex_);
  return !stop_.wait_for(lock, absl::ToChronoNanoseconds(duration), [this] { return stopping_; });
}

}  // namespace ecom::product
