#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>

#include "absl/time/time.h"
#include "base/clock.h"

namespace ecom::coupon {

/// Keeps the wait before the gate short when more claims come than gate and log take. A queue that
/// is bounded only by its length would make everybody wait until nobody wants the answer any more.
///
/// Claims on their way are limited only while there is overload: from the moment at which one has
/// been on its way for longer than the target, until for a second neither that nor a refusal was
/// seen. A burst is over by then, and is not touched. Thread-safe; never blocks.
class LoadShedder {
 public:
  struct Options {
    /// A claim that is on its way for longer means overload; and during it, as many claims are on
    /// their way as come out within this time.
    absl::Duration wait_target = absl::Milliseconds(200);
    /// Claims that may always be on their way: a whole batch. Where a batch takes longer than the
    /// target, fewer would make the batches smaller, and not the wait shorter.
    int64_t claims_always = 256;
  };

  /// One claim on its way.
  using Ticket = int64_t;

  struct Stats {
    int64_t shed_at_once = 0;    ///< refused when they came
    int64_t shed_waiting = 0;    ///< refused when it was their turn, as too little time was left
    int64_t on_their_way = 0;    ///< now
    absl::Duration oldest_wait;  ///< how long the oldest of them is by now
  };

  LoadShedder(const Options& options, const base::Clock& clock);

  /// Lets a claim in. nullopt: refuse it at once.
  std::optional<Ticket> TryEnter();

  /// The claim is answered, or waits for something else. Once for each ticket.
  void Leave(Ticket ticket);

  /// Whether a claim whose turn it is should be refused after all: there are more than the limit,
  /// and half of its time until `deadline` has passed, so that the rest may not do. The caller
  /// leaves with it as usual.
  bool ShouldDrop(Ticket ticket, absl::Duration deadline);

  Stats stats() const;

 private:
  struct Entry {
    absl::Duration entered_at;
    bool left = false;
  };

  bool IsOverloaded(absl::Duration now) const;
  bool IsAboveLimit(absl::Duration now) const;
  double LeavingPerSecond(absl::Duration now) const;
  void CountLeaving(absl::Duration now);

  static constexpr size_t kSlices = 10;

  const Options options_;
  const base::Clock& clock_;
  mutable std::mutex mutex_;
  std::deque<Entry> entries_;  // from the oldest on that has not left
  Ticket first_ = 0;           // of entries_
  int64_t on_their_way_ = 0;
  absl::Duration calm_at_;  // when the overload is over
  /// Claims that left, by slices of time; that of slice n is at n % kSlices, if it is not an older
  /// one.
  struct Slice {
    int64_t number = -1;
    int64_t left = 0;
  };
  std::array<Slice, kSlices> slices_;
  int64_t shed_at_once_ = 0;
  int64_t shed_waiting_ = 0;
};

}  // namespace ecom::coupon
