#include "product/cursor.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "support/cursor_check.h"

namespace ecom::tests {
namespace {

using product::CategoryId;
using product::DecodeCursor;
using product::EncodeCursor;
using product::ListQuery;
using product::PageStart;
using product::Sort;

/// Each filter and each sort order.
std::vector<ListQuery> AllLists() {
  std::vector<ListQuery> lists;
  for (const Sort sort : {Sort::kPrice, Sort::kViews, Sort::kNewest}) {
    for (const int64_t category : {0, 1, 2}) {
      for (const int active : {0, 1, 2}) {
        ListQuery query{.sort = sort};
        if (category != 0) query.category = CategoryId{category};
        if (active != 0) query.is_active = active == 2;
        lists.push_back(query);
      }
    }
  }
  return lists;
}

TEST(Cursor, ReadsBackWhatItWrote) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  for (const ListQuery& query : AllLists()) {
    for (const PageStart start : {PageStart{0, {1}}, PageStart{kMax, {kMax}}, PageStart{kMin, {7}},
                                  PageStart{1766653343000001, {100}}}) {
      const std::string cursor = EncodeCursor(query, start);
      const auto read = DecodeCursor(query, cursor);
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_EQ(read->sort_key, start.sort_key);
      EXPECT_EQ(read->id, start.id);
      EXPECT_EQ(cursor.size(), 46u);
      EXPECT_EQ(cursor.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                         "0123456789-_"),
                std::string::npos);
    }
  }
}

TEST(Cursor, BelongsToItsFiltersAndSortOnly) {
  const std::vector<ListQuery> lists = AllLists();
  for (size_t written = 0; written < lists.size(); ++written) {
    const std::string cursor = EncodeCursor(lists[written], {.sort_key = 5, .id = {6}});
    for (size_t read = 0; read < lists.size(); ++read) {
      EXPECT_EQ(DecodeCursor(lists[read], cursor).ok(), read == written)
          << written << " as " << read;
    }
  }
}

TEST(Cursor, DoesNotDependOnPageSize) {
  const std::string cursor = EncodeCursor({.limit = 20}, {.sort_key = 5, .id = {6}});
  EXPECT_TRUE(DecodeCursor({.limit = 100}, cursor).ok());
}

TEST(Cursor, RefusesWhatIsMalformed) {
  const ListQuery query;
  const std::string good = EncodeCursor(query, {.sort_key = 5, .id = {6}});
  std::string with_zero = good;
  with_zero[3] = '\0';
  for (const std::string& bad :
       {std::string(), std::string("x"), good + "A", good + "==", " " + good, good + "\n",
        good.substr(1), good.substr(0, 45), std::string(46, 'A'), std::string(46, '='),
        std::string(46, ' '), std::string("\xff\xfe\xfd"), std::string(1 << 20, 'A'), with_zero}) {
    const auto read = DecodeCursor(query, bad);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << bad.substr(0, 60);
  }
}

TEST(Cursor, RefusesEveryChangeOfOneCharacter) {
  const ListQuery query{.category = CategoryId{3}, .is_active = true, .sort = Sort::kPrice};
  const std::string good = EncodeCursor(query, {.sort_key = 1'010'000, .id = {1}});
  for (size_t i = 0; i < good.size(); ++i) {
    for (int character = 0; character < 256; ++character) {
      std::string changed = good;
      changed[i] = static_cast<char>(character);
      if (changed == good) continue;
      EXPECT_FALSE(DecodeCursor(query, changed).ok()) << i << " " << character;
    }
  }
}

TEST(Cursor, HoldsAgainstRandomBytesAndMutations) {
  std::mt19937_64 random(20251225);
  const std::vector<ListQuery> lists = AllLists();
  for (int round = 0; round < 20'000; ++round) {
    std::vector<uint8_t> bytes = {static_cast<uint8_t>(random()), static_cast<uint8_t>(random())};
    if (round % 2 == 0) {
      bytes.resize(2 + random() % 64);
      for (size_t i = 2; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(random());
    } else {
      const PageStart start{.sort_key = static_cast<int64_t>(random()),
                            .id = {static_cast<int64_t>(random())}};
      const std::string cursor = EncodeCursor(lists[random() % lists.size()], start);
      bytes.insert(bytes.end(), cursor.begin(), cursor.end());
      const int mutations = static_cast<int>(random() % 3);
      for (int i = 0; i < mutations; ++i) {
        bytes[2 + random() % cursor.size()] = static_cast<uint8_t>(random());
      }
    }
    CheckCursorBytes(bytes.data(), bytes.size());
  }
}

}  // namespace
}  // namespace ecom::tests
