#pragma once

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"

namespace ecom::base {

/// Batches when busy, passes on at once when idle: a thread of its own takes everything that is
/// waiting (up to a bound) and calls the stage once for all of it. There is no timer: a lone item
/// never waits for company.
///
/// Thread-safe. Adding costs a lock and, when the stage is idle, a wake-up; it never blocks.
template <typename Item>
class Batcher {
 public:
  struct Options {
    /// Names the thread; up to 15 characters.
    std::string name;
    /// The most items that one call of the stage gets.
    size_t batch_items_max = 256;
    /// The most items that wait; more are refused.
    size_t queue_items_max = 8192;
  };

  /// Gets 1 to batch_items_max items, in the order in which they were added, and completes each
  /// of them. Never called twice at once. May block.
  using Stage = absl::AnyInvocable<void(std::vector<Item>& batch)>;

  Batcher(Options options, Stage stage)
      : options_(std::move(options)), stage_(std::move(stage)), thread_([this] { Run(); }) {
    pthread_setname_np(thread_.native_handle(), options_.name.substr(0, 15).c_str());
  }

  ~Batcher() { Stop(); }

  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  /// Hands over one item. Returns false, and leaves `item` alone, when the queue is full or the
  /// batcher was stopped: the caller completes the item itself.
  [[nodiscard]] bool Add(Item&& item) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_ || waiting_.size() >= options_.queue_items_max) return false;
      waiting_.push_back(std::move(item));
      if (!idle_) return true;
      idle_ = false;
    }
    wake_.notify_one();
    return true;
  }

  /// Hands over all items, in order, under one lock. Returns false, and leaves them alone, when
  /// not all of them fit or the batcher was stopped.
  [[nodiscard]] bool AddAll(std::vector<Item>& items) {
    if (items.empty()) return true;
    {
      std::lock_guard lock(mutex_);
      if (stopping_ || waiting_.size() + items.size() > options_.queue_items_max) return false;
      for (Item& item : items) waiting_.push_back(std::move(item));
      items.clear();
      if (!idle_) return true;
      idle_ = false;
    }
    wake_.notify_one();
    return true;
  }

  /// Refuses new items, runs the stage for all that wait, and returns when it is done. Idempotent.
  /// Not to be called from the stage.
  void Stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      idle_ = false;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void Run() {
    std::vector<Item> taken;
    std::vector<Item> batch;
    while (TakeWaiting(taken)) {
      for (size_t begin = 0; begin < taken.size(); begin += options_.batch_items_max) {
        const size_t end = std::min(begin + options_.batch_items_max, taken.size());
        batch.assign(std::make_move_iterator(taken.begin() + static_cast<ptrdiff_t>(begin)),
                     std::make_move_iterator(taken.begin() + static_cast<ptrdiff_t>(end)));
        stage_(batch);
      }
      taken.clear();
    }
  }

  /// Waits for items and takes all of them; false when stopped and nothing is left.
  bool TakeWaiting(std::vector<Item>& taken) {
    std::unique_lock lock(mutex_);
    if (waiting_.empty() && !stopping_) idle_ = true;
    wake_.wait(lock, [this] { return !waiting_.empty() || stopping_; });
    idle_ = false;
    std::swap(taken, waiting_);
    return !taken.empty();
  }

  const Options options_;
  Stage stage_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Item> waiting_;
  bool idle_ = false;
  bool stopping_ = false;
  std::thread thread_;  // last: runs on the members above
};

}  // namespace ecom::base
