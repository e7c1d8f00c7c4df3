#include "ctl/command_line.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "ctl/commands.h"

namespace ecom::ctl {
namespace {

absl::StatusOr<CommandLine> Parse(const std::vector<std::string>& args) {
  return ParseCommandLine(args);
}

TEST(CommandLine, ReadsAFlagWithAnEqualsSignOrWithoutBeforeOrAfterTheCommand) {
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"verify", "--coupon", "7", "-o", "json"},
        {"verify", "--coupon=7", "--output=json"},
        {"--coupon", "7", "-o", "json", "verify"}}) {
    const auto line = Parse(args);
    ASSERT_TRUE(line.ok()) << line.status();
    EXPECT_EQ(line->command, "verify");
    EXPECT_EQ(*line->Number("coupon"), 7);
    EXPECT_TRUE(line->AsJson());
    EXPECT_FALSE(line->help);
  }
}

TEST(CommandLine, KeepsEveryValueOfAFlagAndTakesTheLastWhereOneIsMeant) {
  const auto line = Parse({"verify", "--journal", "a", "--journal=b", "--coupon=1", "--coupon=2"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->flags.at("journal"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(*line->Number("coupon"), 2);
}

TEST(CommandLine, LeavesSettingsToTheServersParser) {
  const auto line = Parse({"gate", "show", "--redis-url=redis://here", "--coupon=1"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->command, "gate show");
  EXPECT_EQ(line->settings, std::vector<std::string>{"--redis-url=redis://here"});
}

TEST(CommandLine, KnowsEachCommandOfTheHelpAndNoOther) {
  for (const std::vector<std::string>& args : {std::vector<std::string>{"verify"},
                                               {"explain"},
                                               {"gate", "show"},
                                               {"gate", "rebuild"},
                                               {"reconcile", "--dry-run"},
                                               {"dlt", "list", "--all"},
                                               {"dlt", "show"},
                                               {"dlt", "replay", "--all"},
                                               {"dlt", "discard", "--offset=1", "--partition=0"}}) {
    EXPECT_TRUE(Parse(args).ok()) << args[0] << " " << Parse(args).status();
    EXPECT_NE(HelpText().find("\n  " + args[0]), std::string::npos) << args[0];
  }
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{}, {"verify", "1"}, {"gate"}, {"dlt", "lists"}, {"Verify"}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Parse(args).status()));
  }
}

TEST(CommandLine, RefusesAFlagThatTheCommandDoesNotHave) {
  for (const std::vector<std::string>& args : {std::vector<std::string>{"verify", "--user=1"},
                                               {"explain", "--journal=a"},
                                               {"gate", "rebuild", "--output=json"},
                                               {"reconcile", "--coupon=1"},
                                               {"dlt", "show", "--all"},
                                               {"verify", "--dry-run"}}) {
    const absl::Status status = Parse(args).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << args[0];
    EXPECT_NE(status.message().find(" is no flag of "), status.message().npos) << status;
  }
}

TEST(CommandLine, RefusesFlagsThatLackAValueOrHaveOneTooMany) {
  for (const std::vector<std::string>& args : {std::vector<std::string>{"verify", "--coupon"},
                                               {"reconcile", "--dry-run=yes"},
                                               {"verify", "--backend", "stack"},
                                               {"verify", "-o", "xml"},
                                               {"verify", "-o"}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Parse(args).status())) << args[1];
  }
}

TEST(CommandLine, TakesWholeNumbersFromZeroOn) {
  const auto number = [](const std::string& text) {
    return Parse({"verify", "--coupon=" + text})->Number("coupon");
  };
  EXPECT_EQ(*number("0"), 0);
  EXPECT_EQ(*number("9223372036854775807"), INT64_MAX);
  for (const std::string wrong : {"-1", "", "x", "1.5", "9223372036854775808", "1x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(number(wrong).status())) << wrong;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"verify"})->Number("coupon").status()));
  EXPECT_EQ(*Parse({"verify"})->Number("users-max", 20), 20);
  EXPECT_FALSE(Parse({"verify", "--users-max=x"})->Number("users-max", 20).ok());
}

TEST(CommandLine, TakesDurationsUpToAnHour) {
  const auto wait = [](const std::string& text) {
    return Parse({"verify", "--wait=" + text})->Duration("wait", absl::ZeroDuration());
  };
  EXPECT_EQ(*wait("1m30s"), absl::Seconds(90));
  EXPECT_EQ(*wait("1h"), absl::Hours(1));
  for (const std::string wrong : {"30", "-1s", "61m", "inf", "", "soon"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(wait(wrong).status())) << wrong;
  }
  EXPECT_EQ(*Parse({"verify"})->Duration("wait", absl::Seconds(5)), absl::Seconds(5));
}

TEST(CommandLine, AsksForHelpWhateverElseIsThere) {
  for (const std::string help : {"-h", "--help", "help"}) {
    const auto line = Parse({"nonsense", help, "--more"});
    ASSERT_TRUE(line.ok());
    EXPECT_TRUE(line->help);
  }
}

}  // namespace
}  // namespace ecom::ctl
