#include "product/view_writer.h"

#include <pthread.h>

#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::product {

ViewWriter::ViewWriter(Options options, Deps deps)
    : options_(options),
      totals_(deps.totals),
      store_(deps.store),
      clock_(deps.clock),
      random_(std::random_device{}()),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "view-writer");
}

ViewWriter::~ViewWriter() { Stop().IgnoreError(); }

absl::Status ViewWriter::WriteAll() {
  std::lock_guard round_lock(round_mutex_);
  absl::Status written = WriteRound();
  if (written.ok() == failing_) {
    failing_ = !written.ok();
    if (failing_) {
      base::Log(base::Level::kWarn, "views do not come to the store", {{"error", written}});
    } else {
      base::Log(base::Level::kInfo, "views come to the store again");
    }
  }
  std::lock_guard lock(stats_mutex_);
  if (!written.ok()) {
    ++stats_.errors;
    return written;
  }
  ++stats_.rounds;
  stats_.last_success = clock_.Now();
  return written;
}

absl::Status ViewWriter::Stop() {
  std::call_once(stopped_, [this] {
    {
      std::lock_guard lock(stop_mutex_);
      stopping_ = true;
    }
    stop_.notify_all();
    thread_.join();
    stop_status_ = WriteAll();
    for (int attempt = 1; !stop_status_.ok() && attempt < options_.stop_attempts; ++attempt) {
      absl::SleepFor(options_.stop_retry_delay);
      stop_status_ = WriteAll();
    }
  });
  return stop_status_;
}

ViewWriter::Stats ViewWriter::stats() const {
  std::lock_guard lock(stats_mutex_);
  return stats_;
}

void ViewWriter::Run() {
  std::unique_lock lock(stop_mutex_);
  while (!stop_.wait_for(lock, absl::ToChronoNanoseconds(Pause()), [this] { return stopping_; })) {
    lock.unlock();
    WriteAll().IgnoreError();  // logged there; the next round goes on
    lock.lock();
  }
}

absl::Duration ViewWriter::Pause() {
  return options_.interval * std::uniform_real_distribution<double>(0.5, 1.0)(random_);
}

/// Those that wait longest come first, and one that has grown meanwhile goes behind all others: so
/// when one comes for the second time, all that waited when the round began are done.
absl::Status ViewWriter::WriteRound() {
  absl::flat_hash_set<ProductId> seen;
  for (;;) {
    ASSIGN_OR_RETURN(const std::vector<ViewTotal> totals,
                     totals_.Unstored(options_.batch_products_max));
    if (totals.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(store_.RaiseViews(totals));
    RETURN_IF_ERROR(totals_.NoteStored(totals));
    {
      std::lock_guard lock(stats_mutex_);
      stats_.written += static_cast<int64_t>(totals.size());
    }
    bool again = false;
    for (const ViewTotal& total : totals) again |= !seen.insert(total.id).second;
    if (again) return absl::OkStatus();
  }
}

}  // namespace ecom::product
