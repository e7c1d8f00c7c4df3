#include "ctl/text.h"

#include <gtest/gtest.h>

#include <string>

namespace ecom::ctl {
namespace {

TEST(CtlText, ShowsTimesInUtcToTheMicrosecond) {
  EXPECT_EQ(TimeText(absl::FromUnixMicros(1'766'653'343'000'007)), "2025-12-25T09:02:23.000007Z");
}

TEST(CtlText, ShowsRequestIdsAndSaysWhereThereIsNone) {
  const std::string id = "be8b3b77-93b9-4a4f-a6d6-745050229422";
  EXPECT_EQ(IdText(coupon::RequestId::Parse(id)), id);
  EXPECT_EQ(IdText(std::nullopt), "(malformed)");
}

TEST(CtlText, KeepsTextOfOthersOnOneLineAndShort) {
  EXPECT_EQ(Shown("one\ntwo\t\x1b[2J\xff"), "one\\ntwo\\t\\033[2J\\377");
  EXPECT_EQ(Shown("이미"), "이미");
  EXPECT_EQ(Shown("\xc2\x9b"
                  "2J\xc2\xa0\xea\xb0"),
            "\\302\\2332J\xc2\xa0\\352\\260");
  EXPECT_EQ(Shown(std::string(200, 'x')), std::string(200, 'x'));
  EXPECT_EQ(Shown(std::string(201, 'x')), std::string(200, 'x') + "…");
}

TEST(CtlText, CutsNoCharacterInTwo) {
  const std::string shown = Shown(std::string(199, 'x') + "이미");
  EXPECT_EQ(shown, std::string(199, 'x') + "…");
}

}  // namespace
}  // namespace ecom::ctl
