#include "grpc/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace ecom::bench {
namespace {

TEST(Histogram, SaysZeroOfNothing) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.Quantile(0.99), 0U);
  EXPECT_EQ(histogram.max(), 0U);
}

TEST(Histogram, IsExactBelow128) {
  Histogram histogram;
  for (int i = 1; i <= 100; ++i) histogram.Record(i);
  EXPECT_EQ(histogram.Quantile(0.5), 50U);
  EXPECT_EQ(histogram.Quantile(0.99), 99U);
  EXPECT_EQ(histogram.Quantile(1), 100U);
}

TEST(Histogram, IsNeverBelowTheTrueQuantileAndAtMostOne128thAbove) {
  Histogram histogram;
  std::vector<int64_t> values;
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> exponent(0, 30);
  for (int i = 0; i < 100'000; ++i) {
    values.push_back(static_cast<int64_t>(std::exp2(exponent(random))));
    histogram.Record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double q : {0.5, 0.9, 0.95, 0.99, 0.999}) {
    const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(values.size())));
    const auto exact = static_cast<double>(values[rank - 1]);
    const auto shown = static_cast<double>(histogram.Quantile(q));
    EXPECT_GE(shown, exact) << q;
    EXPECT_LE(shown, exact * (1 + 1.0 / 128)) << q;
  }
  EXPECT_EQ(histogram.max(), static_cast<uint64_t>(values.back()));
}

TEST(Histogram, KeepsValuesBeyondItsRangeAndBelowZero) {
  Histogram histogram;
  histogram.Record(-5);
  histogram.Record(INT64_MAX);
  EXPECT_EQ(histogram.count(), 2U);
  EXPECT_EQ(histogram.Quantile(0.5), 0U);
  EXPECT_EQ(histogram.max(), static_cast<uint64_t>(INT64_MAX));
}

TEST(Histogram, MergesToWhatOneWouldHaveCounted) {
  Histogram one;
  Histogram left;
  Histogram right;
  for (int64_t value = 1; value < 1'000'000; value += 997) {
    one.Record(value);
    (value % 2 == 0 ? left : right).Record(value);
  }
  left.Merge(right);
  EXPECT_EQ(left.count(), one.count());
  EXPECT_EQ(left.max(), one.max());
  for (const double q : {0.1, 0.5, 0.99}) EXPECT_EQ(left.Quantile(q), one.Quantile(q));
}

}  // namespace
}  // namespace ecom::bench
