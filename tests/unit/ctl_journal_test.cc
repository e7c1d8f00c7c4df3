#include "ctl/journal.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "support/temporary_folder.h"

namespace ecom::ctl {
namespace {

class Journal : public testing::Test {
 protected:
  absl::Status Read(const std::string& text) {
    const std::string path = folder_.path() + "/journal.jsonl";
    std::ofstream(path) << text;
    return ReadJournal(path, {1}, told_);
  }

  tests::TemporaryFolder folder_;
  Told told_;
};

TEST_F(Journal, KeepsWhatEachUserOfTheCouponWasTold) {
  ASSERT_TRUE(
      Read(
          R"({"invoke_ns":1,"done_ns":5,"user":7,"key":"k","coupon":1,"answer":"QUEUED","request_id":"a"}
{"invoke_ns":6,"done_ns":7,"user":7,"key":"k","coupon":1,"answer":"QUEUED","request_id":"a"}
{"invoke_ns":8,"done_ns":9,"user":7,"key":"other","coupon":1,"answer":"DUPLICATE"}
{"invoke_ns":1,"done_ns":2,"user":8,"coupon":1,"answer":"UNAVAILABLE"}
{"invoke_ns":1,"done_ns":2,"user":9,"coupon":1,"answer":"SOLD_OUT"}
{"invoke_ns":1,"done_ns":2,"user":9,"coupon":2,"answer":"QUEUED","request_id":"b"}
)")
          .ok());
  const ToldUser& seven = told_.users[{7}];
  EXPECT_EQ(seven.queued, std::vector<std::string>{"a"});
  EXPECT_TRUE(seven.duplicate);
  EXPECT_EQ(seven.keys.at("k").queued_by_ns, 5);
  EXPECT_EQ(seven.keys.at("other").refused_after_ns, 8);
  EXPECT_TRUE(told_.users[{8}].indeterminate);
  EXPECT_TRUE(told_.users[{9}].queued.empty());
  EXPECT_EQ(told_.sold_out, 1);
}

TEST_F(Journal, KeepsWhichRequestsHadAKeyAndWhichWereADuplicate) {
  ASSERT_TRUE(
      Read(R"({"invoke_ns":1,"done_ns":5,"user":7,"coupon":1,"answer":"QUEUED","request_id":"a"}
{"invoke_ns":6,"done_ns":7,"user":7,"coupon":1,"answer":"QUEUED","request_id":"a"}
{"invoke_ns":1,"done_ns":2,"user":8,"key":"k","coupon":1,"answer":"DUPLICATE"}
{"invoke_ns":1,"done_ns":2,"user":8,"key":"none","coupon":1,"answer":"NOT_SENT"}
{"invoke_ns":1,"done_ns":2,"user":9,"coupon":1,"answer":"RATE_LIMITED"}
{"invoke_ns":1,"done_ns":2,"user":9,"coupon":2,"answer":"QUEUED","request_id":"b"}
)")
          .ok());
  EXPECT_EQ(told_.users[{7}].queued_without_key, 2);
  EXPECT_TRUE(told_.users[{7}].asked_without_key);
  ASSERT_EQ(told_.users[{8}].keys.size(), 1u) << "what nobody has read was not asked";
  EXPECT_TRUE(told_.users[{8}].keys.at("k").duplicate);
  EXPECT_FALSE(told_.users[{8}].asked_without_key);
  EXPECT_FALSE(told_.users.contains({9}));
  EXPECT_EQ(told_.queued, 3) << "of whatever coupon";
}

TEST_F(Journal, RefusesWhatIsNoneWithTheLinesNumber) {
  for (const std::string line :
       {"", "nonsense", "[]", R"({"user":1,"coupon":1,"answer":"QUEUED"})",
        R"({"invoke_ns":1,"done_ns":2,"user":"1","coupon":1,"answer":"QUEUED"})",
        R"({"invoke_ns":1,"done_ns":2,"user":0,"coupon":1,"answer":"QUEUED"})",
        R"({"invoke_ns":1,"done_ns":2,"user":1,"coupon":-1,"answer":"QUEUED"})",
        R"({"invoke_ns":3,"done_ns":2,"user":1,"coupon":1,"answer":"QUEUED"})",
        R"({"invoke_ns":1,"done_ns":2,"user":1,"coupon":1,"answer":"QUEUD"})"}) {
    const absl::Status refused =
        Read(R"({"invoke_ns":1,"done_ns":2,"user":1,"coupon":1,"answer":"SOLD_OUT"})"
             "\n" +
             line + "\n");
    EXPECT_TRUE(absl::IsInvalidArgument(refused)) << line;
    EXPECT_NE(std::string(refused.message()).find(":2:"), std::string::npos) << refused;
  }
  EXPECT_TRUE(absl::IsNotFound(ReadJournal("/nonexistent", {1}, told_)));
}

}  // namespace
}  // namespace ecom::ctl
