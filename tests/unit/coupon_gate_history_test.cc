#include "coupon/gate_history.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ecom::coupon {
namespace {

/// One look: what the store says, what the gate holds, and whether the two contradict each other.
struct Look {
  int64_t total_quantity, available_quantity;
  int64_t total, stock, participants, reservations;
  bool contradicts;
  int64_t generation = 1;
};

struct Row {
  const char* name;
  std::vector<Look> looks;
};

class GateHistoryOf : public testing::TestWithParam<Row> {};

TEST_P(GateHistoryOf, Contradicts) {
  GateHistory history;
  for (size_t i = 0; i < GetParam().looks.size(); ++i) {
    const Look& look = GetParam().looks[i];
    const Coupon coupon = {.total_quantity = look.total_quantity,
                           .available_quantity = look.available_quantity};
    const GateState state = {.generation = {look.generation},
                             .open = true,
                             .total = look.total,
                             .stock = look.stock,
                             .participants = look.participants,
                             .reservations = look.reservations};
    EXPECT_EQ(history.Contradicts(coupon, state), look.contradicts) << "look " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, GateHistoryOf,
    testing::Values(
        Row{"Agreement", {{10, 7, 10, 7, 3, 0, false}, {10, 7, 10, 7, 3, 0, false}}},
        Row{"ASumThatIsNone", {{10, 7, 10, 8, 3, 0, true}}},
        Row{"ATotalThatWasRaised", {{20, 17, 10, 7, 3, 0, true}}},
        Row{"ATotalThatWasLowered", {{5, 2, 10, 7, 3, 0, true}}},
        Row{"ATotalBelowWhatIsIssued", {{2, 0, 3, 0, 3, 0, false}, {2, 0, 3, 0, 3, 0, false}}},
        Row{"UnitsThatAPersonTook", {{10, 0, 10, 10, 0, 0, true}}},
        Row{"ClaimsOnTheirWay", {{10, 10, 10, 7, 3, 3, false}, {10, 10, 10, 7, 3, 3, false}}},
        Row{"RowsThatTheGateHasNotHeardOf", {{10, 7, 10, 7, 3, 3, false}}},
        Row{"RowsThatWereDeleted",
            {{10, 7, 10, 7, 3, 0, false},
             {10, 10, 10, 7, 3, 0, false},
             {10, 10, 10, 7, 3, 0, true}}},
        Row{"FewerUnitsThanTheRowsItWasToldOf",
            {{10, 8, 10, 7, 3, 1, false}, {10, 8, 9, 6, 3, 1, true}}},
        Row{"WhatOnlyAnEarlierGenerationWasToldOf",
            {{10, 8, 10, 7, 3, 1, false, 1}, {10, 8, 9, 6, 3, 1, false, 2}}},
        Row{"ADifferenceThatStays", {{10, 10, 10, 8, 2, 0, false}, {10, 10, 10, 8, 2, 0, true}}},
        Row{"ADifferenceThatMoves",
            {{10, 10, 10, 8, 2, 0, false},
             {10, 9, 10, 8, 2, 0, false},
             {10, 8, 10, 8, 2, 0, false}}},
        Row{"ADifferenceThatARebuildDidNotCure",
            {{10, 10, 10, 8, 2, 0, false, 1},
             {10, 10, 10, 8, 2, 0, true, 1},
             {10, 10, 10, 8, 2, 0, false, 2},
             {10, 10, 10, 8, 2, 0, false, 2}}}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(GateHistory, OfACopyLooksAheadAndLeavesTheOriginalAlone) {
  const Coupon coupon = {.total_quantity = 10, .available_quantity = 10};
  const GateState state = {.open = true, .total = 10, .stock = 8, .participants = 2};
  GateHistory history;
  GateHistory copy = history;
  EXPECT_FALSE(copy.Contradicts(coupon, state));
  EXPECT_TRUE(copy.Contradicts(coupon, state));
  EXPECT_FALSE(copy.Contradicts(coupon, state)) << "no second rebuild for what the first left";
  EXPECT_FALSE(history.Contradicts(coupon, state));
  EXPECT_TRUE(history.Contradicts(coupon, state));
}

}  // namespace
}  // namespace ecom::coupon
