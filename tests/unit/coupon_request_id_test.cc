#include <gtest/gtest.h>

#include <set>
#include <string>

#include "coupon/coupon.h"

namespace ecom::tests {
namespace {

using coupon::RequestId;
using coupon::UserId;

TEST(RequestId, IsAVersion4UuidWhenRandomAndAVersion8OneForAKey) {
  const std::string random = RequestId::Random().ToString();
  EXPECT_EQ(random.size(), 36u);
  EXPECT_EQ(random[14], '4');
  EXPECT_NE(std::string("89ab").find(random[19]), std::string::npos);
  const std::string named = RequestId::ForKey("incarnation", UserId{1}, "key").ToString();
  EXPECT_EQ(named[14], '8');
  EXPECT_NE(std::string("89ab").find(named[19]), std::string::npos);
}

TEST(RequestId, DoesNotRepeatWhenRandom) {
  std::set<RequestId> seen;
  for (int i = 0; i < 10000; ++i) seen.insert(RequestId::Random());
  EXPECT_EQ(seen.size(), 10000u);
}

// The rule must hold for ever: a key that is repeated after an upgrade gets its old answer.
TEST(RequestId, OfAKeyNeverChanges) {
  EXPECT_EQ(RequestId::ForKey("incarnation", UserId{910000002}, "k-1").ToString(),
            "b2a4d9eb-f4be-8101-b928-648bdc881852");
}

TEST(RequestId, OfAKeyDependsOnEachPartAndOnWherePartsEnd) {
  const std::set<RequestId> ids = {
      RequestId::ForKey("a", UserId{1}, "b"),  RequestId::ForKey("a", UserId{1}, "c"),
      RequestId::ForKey("a", UserId{2}, "b"),  RequestId::ForKey("c", UserId{1}, "b"),
      RequestId::ForKey("a", UserId{11}, "b"), RequestId::ForKey("a", UserId{1}, "1b"),
      RequestId::ForKey("a1", UserId{1}, "b"),
  };
  EXPECT_EQ(ids.size(), 7u);
}

TEST(RequestId, SurvivesItsTextForm) {
  const RequestId id = RequestId::Random();
  EXPECT_EQ(RequestId::Parse(id.ToString()), id);
  EXPECT_EQ(RequestId::Parse("00112233-4455-4677-8899-aabbccddeeff")->ToString(),
            "00112233-4455-4677-8899-aabbccddeeff");
}

TEST(RequestId, RefusesOtherText) {
  for (const char* text :
       {"", "00112233-4455-4677-8899-aabbccddeef", "00112233-4455-4677-8899-aabbccddeefff",
        "00112233-4455-4677-8899-AABBCCDDEEFF", "00112233+4455-4677-8899-aabbccddeeff",
        "0011223g-4455-4677-8899-aabbccddeeff", "00112233445546778899aabbccddeeff0000"}) {
    EXPECT_EQ(RequestId::Parse(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace ecom::tests
