#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace ecom::bench {

/// Counts durations in buckets that grow with the value: constant memory (38 KiB), and every
/// quantile is at most 1/128 above the true one. Not thread-safe: one per thread, then Merge.
class Histogram {
 public:
  /// Counts one duration in nanoseconds; negative ones count as 0. O(1).
  void Record(int64_t nanoseconds) {
    const auto value = static_cast<uint64_t>(std::max<int64_t>(nanoseconds, 0));
    ++buckets_[Index(value)];
    ++count_;
    max_ = std::max(max_, value);
  }

  /// Adds everything that `other` counted.
  void Merge(const Histogram& other) {
    for (size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    max_ = std::max(max_, other.max_);
  }

  /// How many durations were counted.
  uint64_t count() const { return count_; }

  /// The longest one, exactly, in nanoseconds; 0 when there is none.
  uint64_t max() const { return max_; }

  /// The smallest bucket bound, in nanoseconds, that at least the share `q` (0 to 1) does not
  /// exceed; 0 when nothing was counted.
  uint64_t Quantile(double q) const {
    if (count_ == 0) return 0;
    const auto rank = std::clamp<uint64_t>(
        static_cast<uint64_t>(q * static_cast<double>(count_) + 0.999999), 1, count_);
    uint64_t seen = 0;
    for (size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen >= rank) return std::min(UpperBound(i), max_);
    }
    return max_;
  }

 private:
  // Below 2^kBits each value has a bucket; above, each power of two has 2^kBits of them.
  static constexpr int kBits = 7;
  static constexpr uint64_t kSub = uint64_t{1} << kBits;
  // 2^43 ns are 2.4 hours, longer than any call may take.
  static constexpr int kExponentMax = 43;
  static constexpr size_t kBuckets = (kExponentMax - kBits + 1) * kSub;

  static size_t Index(uint64_t value) {
    if (value < kSub) return value;
    const int exponent = std::bit_width(value) - 1;
    if (exponent >= kExponentMax) return kBuckets - 1;
    const int shift = exponent - kBits;
    return static_cast<size_t>(shift + 1) * kSub + ((value >> shift) - kSub);
  }

  static uint64_t UpperBound(size_t index) {
    if (index < kSub) return index;
    const auto shift = index / kSub - 1;
    return ((kSub + index % kSub + 1) << shift) - 1;
  }

  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t count_ = 0;
  uint64_t max_ = 0;
};

}  // namespace ecom::bench
