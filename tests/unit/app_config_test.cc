#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "app/config.h"

namespace ecom::app {
namespace {

using Args = std::vector<std::string>;

absl::StatusOr<std::string> NoFile(const std::string&) {
  return absl::NotFoundError("no such file");
}

absl::StatusOr<ParsedConfig> Parse(const Args& args, const Environment& environment = {},
                                   const std::string& file = "") {
  return ParseConfig(args, environment, [&](const std::string&) { return file; });
}

Config ParseOk(const Args& args, const Environment& environment = {},
               const std::string& file = "") {
  const auto parsed = Parse(args, environment, file);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() ? parsed->config : Config();
}

/// The lines of the error; none when there was no error.
std::vector<std::string> Problems(const Args& args, const Environment& environment = {},
                                  const std::string& file = "") {
  const auto parsed = Parse(args, environment, file);
  if (parsed.ok()) return {};
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  return absl::StrSplit(std::string(parsed.status().message()), '\n');
}

const Setting& Find(const ParsedConfig& parsed, std::string_view name) {
  for (const Setting& setting : parsed.settings) {
    if (setting.name == name) return setting;
  }
  throw std::out_of_range(std::string(name));
}

std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST(ParseConfig, GivesTheDocumentedDefaultsWhenNothingIsSaid) {
  const auto parsed = ParseConfig({}, {}, NoFile);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const Config& config = parsed->config;
  EXPECT_EQ(parsed->action, Action::kRun);
  EXPECT_EQ(config.app.backend, Backend::kEmbedded);
  EXPECT_EQ(config.app.data_dir, ".data");
  EXPECT_EQ(config.app.tz_name, "Asia/Seoul");
  EXPECT_EQ(config.app.tz.At(absl::UnixEpoch()).offset, 9 * 3600);
  EXPECT_EQ(config.app.drain_timeout, absl::Seconds(10));
  EXPECT_FALSE(config.sample_data.load);
  EXPECT_EQ(config.sample_data.coupon_stock, 1000);
  EXPECT_EQ(config.rpc.address, (HostPort{"127.0.0.1", 50051}));
  EXPECT_EQ(config.rpc.socket_path, ".data/server.sock");
  EXPECT_EQ(config.rpc.completion_queues, 1);
  EXPECT_EQ(config.rpc.requests_in_flight_max, 4096);
  EXPECT_EQ(config.admin.address, (HostPort{"127.0.0.1", 8082}));
  EXPECT_EQ(config.coupon.claim_batch_max, 256);
  EXPECT_EQ(config.coupon.claims_queued_max, 8192);
  EXPECT_EQ(config.coupon.claim_wait_target, absl::Milliseconds(200));
  EXPECT_EQ(config.coupon.reservations_max, 100000);
  EXPECT_EQ(config.coupon.record_batch_max, 1000);
  EXPECT_EQ(config.coupon.ack_deadline, absl::Seconds(2));
  EXPECT_EQ(config.coupon.reconcile_interval, absl::Seconds(1));
  EXPECT_EQ(config.product.l1_entries_max, 10000);
  EXPECT_EQ(config.product.l1_bytes_max, 64 << 20);
  EXPECT_EQ(config.product.soft_ttl, absl::Seconds(5));
  EXPECT_EQ(config.product.read_ahead, absl::Minutes(1));
  EXPECT_EQ(config.product.hard_ttl, absl::Seconds(60));
  EXPECT_EQ(config.product.negative_ttl, absl::Seconds(1));
  EXPECT_EQ(config.product.loads_queued_max, 4096);
  EXPECT_EQ(config.product.view_flush_interval, absl::Milliseconds(500));
  EXPECT_EQ(config.redis.gate.address, (HostPort{"127.0.0.1", 6379}));
  EXPECT_EQ(config.redis.cache.socket_path, ".data/cache.sock");
  EXPECT_EQ(config.kafka.brokers, (std::vector<HostPort>{{"127.0.0.1", 9092}}));
  EXPECT_EQ(config.mysql.url.user, "ecom");
  EXPECT_EQ(config.mysql.url.password, "ecom");
  EXPECT_EQ(config.mysql.url.address, (HostPort{"127.0.0.1", 3306}));
  EXPECT_EQ(config.mysql.url.database, "ecommerce");
  EXPECT_EQ(config.log.format, base::LogFormat::kAuto);
  EXPECT_EQ(config.log.level, base::Level::kInfo);
}

TEST(ParseConfig, PrefersFlagToEnvironmentToFileToDefault) {
  const std::string file = "coupon-stock = 4\n";
  const Environment named = {{"ECOM_CONFIG", "f"}};
  Environment both = named;
  both["COUPON_STOCK"] = "3";
  EXPECT_EQ(ParseOk({"--coupon-stock=2"}, both, file).sample_data.coupon_stock, 2);
  EXPECT_EQ(ParseOk({}, both, file).sample_data.coupon_stock, 3);
  EXPECT_EQ(ParseOk({}, named, file).sample_data.coupon_stock, 4);
  EXPECT_EQ(ParseOk({}, {}, file).sample_data.coupon_stock, 1000)
      << "a file that nobody named was read";
}

TEST(ParseConfig, TakesAnEmptyVariableForOneThatIsNotSet) {
  EXPECT_EQ(ParseOk({}, {{"COUPON_STOCK", ""}, {"TZ", ""}}).sample_data.coupon_stock, 1000);
}

TEST(ParseConfig, ReadsAFlagsValueBehindAnEqualsSignOrAsTheNextArgument) {
  EXPECT_EQ(ParseOk({"--data-dir=a=b"}).app.data_dir, "a=b");
  EXPECT_EQ(ParseOk({"--data-dir", "x", "--coupon-stock", "7"}).app.data_dir, "x");
  EXPECT_EQ(ParseOk({"--coupon-stock=1", "--coupon-stock=2"}).sample_data.coupon_stock, 2);
}

TEST(ParseConfig, TakesASwitchAloneForTrue) {
  EXPECT_TRUE(ParseOk({"--sample-data", "--coupon-stock=5"}).sample_data.load);
  EXPECT_TRUE(ParseOk({"--sample-data=true"}).sample_data.load);
  EXPECT_FALSE(ParseOk({"--sample-data=false"}, {{"ECOM_SAMPLE_DATA", "true"}}).sample_data.load);
}

TEST(ParseConfig, ReadsEachSpellingOfANameInTheFileAndSkipsComments) {
  const Config config = ParseOk({"--config", "f"}, {},
                                "# a comment\r\n"
                                "\n"
                                "  GRPC_ADDR = [::1]:0 \r\n"
                                "ECOM_LOG_LEVEL=debug\n"
                                "coupon-stock\t=\t12\n"
                                "record_batch_max = 5\n"
                                "data-dir = a # b");
  EXPECT_EQ(config.rpc.address, (HostPort{"::1", 0}));
  EXPECT_EQ(config.rpc.address.ToString(), "[::1]:0");
  EXPECT_EQ(config.log.level, base::Level::kDebug);
  EXPECT_EQ(config.sample_data.coupon_stock, 12);
  EXPECT_EQ(config.coupon.record_batch_max, 5);
  EXPECT_EQ(config.app.data_dir, "a # b");
}

TEST(ParseConfig, DerivesTheSocketsFromTheDataFolderUnlessTheyAreNamed) {
  EXPECT_EQ(ParseOk({"--data-dir=/var/x"}).rpc.socket_path, "/var/x/server.sock");
  EXPECT_EQ(ParseOk({"--data-dir=/var/x"}).redis.cache.socket_path, "/var/x/cache.sock");
  EXPECT_EQ(ParseOk({"--data-dir=/var/x", "--grpc-socket=/run/s"}).rpc.socket_path, "/run/s");
}

TEST(ParseConfig, ListsAllProblemsOneALineWithTheirSource) {
  const std::vector<std::string> problems =
      Problems({"--coupon-stock=0", "--completion-queues", "--nonsense", "stray", "more"},
               {{"TZ", "Mars/Olympus"}, {"ECOM_NOVELTY", "1"}, {"ECOM_CONFIG", "e.conf"}},
               "log-level = loud\n"
               "what is this\n"
               "nothing = 1\n");
  const std::vector<std::string> expected = {
      "flag --completion-queues: needs a value: a whole number from 1 to 8",
      "flag --nonsense: no such flag",
      "argument 5: not a flag; flags begin with --",
      "environment ECOM_NOVELTY: no such setting",
      "e.conf:2: not of the form name = value",
      "e.conf:3: no such setting: \"nothing\"",
      "environment TZ: \"Mars/Olympus\" is not allowed: must be a name of the IANA time zone "
      "database, such as "
      "Asia/Seoul or UTC",
      "flag --coupon-stock: \"0\" is not allowed: must be a whole number from 1 to 1000000000",
      "e.conf:1: \"loud\" is not allowed: must be one of debug, info, warn, error",
  };
  EXPECT_EQ(problems, expected);
}

TEST(ParseConfig, SuggestsTheNameThatWasProbablyMeant) {
  EXPECT_EQ(Problems({"--grpc-adr=x"}),
            Args{"flag --grpc-adr: no such flag; did you mean --grpc-addr?"});
  EXPECT_EQ(Problems({}, {{"ECOM_LOGLEVEL", "x"}}),
            Args{"environment ECOM_LOGLEVEL: no such setting; did you mean ECOM_LOG_LEVEL?"});
  EXPECT_EQ(Problems({"--config=f"}, {}, "coupon-stok = 1"),
            Args{"f:1: no such setting: \"coupon-stok\"; did you mean coupon-stock?"});
}

TEST(ParseConfig, RefusesANameThatTheFileSetsTwiceInWhateverSpelling) {
  EXPECT_EQ(Problems({"--config=f"}, {}, "log-level = info\nECOM_LOG_LEVEL = warn"),
            Args{"f:2: \"ECOM_LOG_LEVEL\" is set a second time"});
}

TEST(ParseConfig, RefusesAFileThatNamesAnother) {
  EXPECT_EQ(Problems({"--config=f"}, {}, "config = g").size(), 1u);
}

TEST(ParseConfig, TellsWhyTheFileCouldNotBeRead) {
  const auto parsed = ParseConfig({}, {{"ECOM_CONFIG", "gone.conf"}}, NoFile);
  EXPECT_EQ(parsed.status().message(), "environment ECOM_CONFIG: \"gone.conf\": no such file");
}

TEST(ParseConfig, PassesOverWhatOnlyTheGatewayKnowsInEnvironmentAndFileButNotAsAFlag) {
  EXPECT_TRUE(Problems({"--config=f"},
                       {{"ECOM_SERVER_TARGET", "x"}, {"HTTP_ADDR", "y"}, {"PATH", "z"}},
                       "http-addr = 1\nECOM_DRAIN_GRACE = 2")
                  .empty());
  EXPECT_EQ(Problems({"--server-target=x"}).size(), 1u);
}

struct Value {
  std::string name;
  std::string text;
};

class RefusedValue : public testing::TestWithParam<Value> {};

TEST_P(RefusedValue, IsOneProblemThatSaysWhatIsAllowed) {
  const std::vector<std::string> problems =
      Problems({"--" + GetParam().name + "=" + GetParam().text});
  ASSERT_EQ(problems.size(), 1u) << GetParam().text;
  EXPECT_NE(problems[0].find("must be "), std::string::npos) << problems[0];
}

INSTANTIATE_TEST_SUITE_P(ParseConfig, RefusedValue,
                         testing::ValuesIn(std::vector<Value>{
                             {"grpc-addr", ""},
                             {"grpc-addr", "127.0.0.1"},
                             {"grpc-addr", ":50051"},
                             {"grpc-addr", "127.0.0.1:"},
                             {"grpc-addr", "127.0.0.1:65536"},
                             {"grpc-addr", "127.0.0.1:-1"},
                             {"grpc-addr", "127.0.0.1:1x"},
                             {"grpc-addr", "::1:80"},
                             {"grpc-addr", "[::1]"},
                             {"grpc-addr", "[::1]x80"},
                             {"grpc-addr", "[::1"},
                             {"grpc-addr", "[127.0.0.1]:80"},
                             {"grpc-addr", "a b:80"},
                             {"grpc-addr", std::string(300, 'a') + ":80"},
                             {"admin-addr", "localhost"},
                             {"data-dir", ""},
                             {"data-dir", "a\nb"},
                             {"data-dir", std::string(4001, 'a')},
                             {"grpc-socket", ""},
                             {"backend", "Embedded"},
                             {"backend", ""},
                             {"tz", ""},
                             {"tz", "/usr/share/zoneinfo/UTC"},
                             {"tz", "../zoneinfo/UTC"},
                             {"tz", "asia/nowhere"},
                             {"coupon-stock", "0"},
                             {"coupon-stock", "1000000001"},
                             {"coupon-stock", "+5"},
                             {"coupon-stock", "-5"},
                             {"coupon-stock", " 5"},
                             {"coupon-stock", "5 "},
                             {"coupon-stock", "0x5"},
                             {"coupon-stock", "1e3"},
                             {"coupon-stock", "99999999999999999999"},
                             {"coupon-stock", "٣"},
                             {"sample-data", "yes"},
                             {"sample-data", ""},
                             {"completion-queues", "9"},
                             {"requests-in-flight-max", "0"},
                             {"product-l1-bytes-max", "1"},
                             {"product-l1-bytes-max", "64MB"},
                             {"product-l1-bytes-max", "MiB"},
                             {"product-l1-bytes-max", "9223372036854775807GiB"},
                             {"product-soft-ttl", "5"},
                             {"product-soft-ttl", "-1s"},
                             {"product-read-ahead", "61m"},
                             {"product-hard-ttl", "inf"},
                             {"ack-deadline", "0"},
                             {"view-flush-interval", "11s"},
                             {"drain-timeout", "11m"},
                             {"redis-url", ""},
                             {"redis-url", "http://h"},
                             {"redis-url", "redis://"},
                             {"redis-url", "redis://h:0"},
                             {"redis-url", "redis://h/16"},
                             {"redis-url", "redis://h/x"},
                             {"redis-url", "redis://u:%4@h"},
                             {"redis-url", "redis://h?db=1"},
                             {"cache-url", "unix://"},
                             {"kafka-brokers", ""},
                             {"kafka-brokers", "h:1,"},
                             {"kafka-brokers", "h:1, h:2"},
                             {"kafka-brokers", "h:0"},
                             {"mysql-url", "mysql://h/db"},
                             {"mysql-url", "mysql://u@h"},
                             {"mysql-url", "mysql://u@h/"},
                             {"mysql-url", "mysql://u@h/a/b"},
                             {"mysql-url", "mysql://u@h/db?tls=1"},
                             {"mysql-url", "mysql://u@h/a`b"},
                             {"log-format", "xml"},
                             {"log-level", "INFO"},
                         }));

class AllowedValue : public testing::TestWithParam<Value> {};

TEST_P(AllowedValue, IsTaken) {
  EXPECT_TRUE(Problems({"--" + GetParam().name + "=" + GetParam().text}).empty());
}

INSTANTIATE_TEST_SUITE_P(ParseConfig, AllowedValue,
                         testing::ValuesIn(std::vector<Value>{
                             {"grpc-addr", "0.0.0.0:0"},
                             {"grpc-addr", "my-host.example:65535"},
                             {"coupon-stock", "1"},
                             {"coupon-stock", "1000000000"},
                             {"completion-queues", "8"},
                             {"product-l1-bytes-max", "1MiB"},
                             {"product-l1-bytes-max", "2GiB"},
                             {"product-l1-bytes-max", "1048576"},
                             {"product-soft-ttl", "0"},
                             {"product-read-ahead", "0"},
                             {"product-hard-ttl", "1h"},
                             {"drain-timeout", "1m30s"},
                             {"redis-url", "redis://:p%40ss@h:6380/15"},
                             {"redis-url", "redis://[::1]:6379"},
                             {"cache-url", "unix:///run/cache.sock"},
                             {"kafka-brokers", "a:1,b:2,[::1]:3"},
                             {"mysql-url", "mysql://u:p@h:1/db_1"},
                             {"tz", "UTC"},
                             {"tz", "America/New_York"},
                         }));

TEST(ParseConfig, DecodesWhatAUrlEscapes) {
  const MysqlUrl mysql =
      ParseOk({"--mysql-url=mysql://us%3aer:p%40s%2Fs:@db.example:3307/shop"}).mysql.url;
  EXPECT_EQ(mysql.user, "us:er");
  EXPECT_EQ(mysql.password, "p@s/s:");
  EXPECT_EQ(mysql.address, (HostPort{"db.example", 3307}));
  EXPECT_EQ(mysql.ToString(), "mysql://us%3Aer:****@db.example:3307/shop");
}

TEST(ParseConfig, ReadsRolesInAnyOrderAndRefusesOthers) {
  const auto parsed = Parse({"--backend=stack", "--roles=reconciler,api"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->config.app.roles, (Roles{.api = true, .recorder = false, .reconciler = true}));
  EXPECT_EQ(Find(*parsed, "roles").value, "api,reconciler");
  for (const char* const roles : {"", "api,", "apis", "api recorder"}) {
    EXPECT_FALSE(Parse({"--backend=stack", std::string("--roles=") + roles}).ok()) << roles;
  }
}

TEST(ParseConfig, WantsAllRolesOfTheOneProcessThatHasTheFile) {
  EXPECT_FALSE(Parse({"--roles=api"}).ok());
  EXPECT_TRUE(Parse({"--roles=recorder,reconciler,api"}).ok());
  EXPECT_TRUE(Parse({"--backend=stack", "--roles=api"}).ok());
}

TEST(ParseConfig, ChecksSettingsAgainstEachOther) {
  EXPECT_EQ(Problems({"--product-soft-ttl=2m"}),
            Args{"flag --product-soft-ttl: product-soft-ttl = 2m must not be above "
                 "product-hard-ttl = 1m (default)"});
  EXPECT_EQ(Problems({"--claims-queued-max=255"}).size(), 1u);
  EXPECT_EQ(Problems({"--grpc-addr=127.0.0.1:9", "--admin-addr=127.0.0.1:9"}).size(), 1u);
  EXPECT_TRUE(Problems({"--grpc-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0"}).empty());
}

TEST(ParseConfig, NeverShowsAPassword) {
  for (const std::string secret :
       {"mysql://u:hunter2@h/db", "mysql://u:hunter2@h:99999/db", "hunter2", "u:hunter2@h/db",
        "redis://:hunter2@h", "redis://:hunter2@h/99"}) {
    for (const std::string name : {"mysql-url", "redis-url", "cache-url"}) {
      for (const auto& parsed : {Parse({"--" + name + "=" + secret}), Parse({"--x" + name, secret}),
                                 Parse({"--x" + name + "=" + secret}), Parse({secret}),
                                 Parse({"--config=f"}, {}, name + " = " + secret),
                                 Parse({"--config=f"}, {}, name + " " + secret)}) {
        const std::string shown = parsed.ok() ? parsed->Print() + parsed->Digest()
                                              : std::string(parsed.status().message());
        EXPECT_EQ(shown.find("hunter2"), std::string::npos) << shown;
      }
    }
  }
}

TEST(ParseConfig, ShowsTextOfOthersOnOneLineAndNotForEver) {
  const std::vector<std::string> problems =
      Problems({"--backend=a\nb\x1b" + std::string(100000, 'x')});
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_LT(problems[0].size(), 500u);
  EXPECT_EQ(problems[0].find('\x1b'), std::string::npos);
}

TEST(ParseConfig, AnswersHelpAndVersionWhateverElseIsWrong) {
  EXPECT_EQ(Parse({"--nonsense", "--help"}, {{"TZ", "x"}})->action, Action::kHelp);
  EXPECT_EQ(Parse({"-h"})->action, Action::kHelp);
  EXPECT_EQ(Parse({"--version", "--nonsense"})->action, Action::kVersion);
  EXPECT_EQ(Parse({"--help", "--version"})->action, Action::kHelp);
  EXPECT_EQ(Parse({"--print-config"})->action, Action::kPrintConfig);
  EXPECT_FALSE(Parse({"--print-config", "--nonsense"}).ok());
}

TEST(PrintConfig, ShowsEachSettingWithItsSource) {
  const auto parsed = Parse({"--backend=stack"}, {{"COUPON_STOCK", "7"}, {"ECOM_CONFIG", "e.conf"}},
                            "\nlog-level = warn\n");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(Find(*parsed, "backend").source, "flag --backend");
  EXPECT_EQ(Find(*parsed, "coupon-stock").source, "environment COUPON_STOCK");
  EXPECT_EQ(Find(*parsed, "log-level").source, "e.conf:2");
  EXPECT_EQ(Find(*parsed, "tz").source, "default");
  EXPECT_EQ(Find(*parsed, "mysql-url").value, "mysql://ecom:****@127.0.0.1:3306/ecommerce");
  EXPECT_NE(parsed->Print().find("# from e.conf:2\nlog-level = warn\n"), std::string::npos)
      << parsed->Print();
}

TEST(PrintConfig, PrintsAFileThatGivesTheSameSettingsAgain) {
  const auto parsed = Parse({"--config=f", "--coupon-stock=9", "--product-l1-bytes-max=2MiB",
                             "--data-dir=/d", "--mysql-url=mysql://nobody@h/db"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto again = Parse({"--config=f"}, {}, parsed->Print());
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_EQ(again->settings.size(), parsed->settings.size());
  for (size_t i = 0; i < again->settings.size(); ++i) {
    EXPECT_EQ(again->settings[i].value, parsed->settings[i].value) << again->settings[i].name;
  }
}

TEST(ConfigDigest, DependsOnValuesAndNotOnTheirSourcesOrPasswords) {
  const std::string digest = Parse({"--coupon-stock=9"})->Digest();
  EXPECT_EQ(digest.size(), 12u);
  EXPECT_EQ(Parse({}, {{"COUPON_STOCK", "9"}})->Digest(), digest);
  EXPECT_NE(Parse({"--coupon-stock=8"})->Digest(), digest);
  EXPECT_EQ(
      Parse({"--coupon-stock=9", "--mysql-url=mysql://ecom:other@127.0.0.1/ecommerce"})->Digest(),
      digest);
}

TEST(HelpText, NamesEachSettingWithItsVariableAndItsDefault) {
  const std::string help = HelpText();
  const auto parsed = Parse({});
  for (const Setting& setting : parsed->settings) {
    EXPECT_NE(help.find("  --" + std::string(setting.name)), std::string::npos) << setting.name;
  }
  for (const std::string part : {"GRPC_ADDR. Default: 127.0.0.1:50051.",
                                 "ECOM_GRPC_SOCKET. Default: <DATA_DIR>/server.sock.", "--help",
                                 "--version", "--print-config", "--sample-data[=BOOL]"}) {
    EXPECT_NE(help.find(part), std::string::npos) << part;
  }
}

/// The names of our own variables in a text.
std::set<std::string> VariablesIn(const std::string& text) {
  static const std::regex kVariable(R"(\bECOM_[A-Z0-9_]*[A-Z0-9]\b)");
  return {std::sregex_token_iterator(text.begin(), text.end(), kVariable),
          std::sregex_token_iterator()};
}

TEST(Variables, OfTheGatewayAreKnownToTheServerToo) {
  for (const std::string& name :
       VariablesIn(ReadWholeFile(ECOM_SOURCE_DIR "/gateway/config/config.go"))) {
    for (const std::string& problem : Problems({}, {{name, "x"}})) {
      EXPECT_EQ(problem.find("no such setting"), std::string::npos) << problem;
    }
  }
}

TEST(ReadConfigFile, ReadsARegularFileOfBoundedSizeOnly) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("ecom-config-test-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  std::ofstream(folder / "fine") << "log-level = warn\n";
  std::ofstream(folder / "huge") << std::string((1 << 20) + 1, '#');

  const auto fine = ReadConfigFile(folder / "fine");
  EXPECT_TRUE(fine.ok()) << fine.status();
  EXPECT_EQ(fine.value_or(""), "log-level = warn\n");
  EXPECT_EQ(ReadConfigFile(folder / "huge").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadConfigFile(folder / "absent").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadConfigFile(folder).status().code(), absl::StatusCode::kInvalidArgument);
  std::filesystem::remove_all(folder);
}

TEST(CopyEnvironment, SplitsAtTheFirstEqualsSignAndKeepsTheFirstOfTwins) {
  const char* const variables[] = {"A=1=2", "B=", "A=3", "C", nullptr};
  EXPECT_EQ(CopyEnvironment(variables), (Environment{{"A", "1=2"}, {"B", ""}, {"C", ""}}));
}

}  // namespace
}  // namespace ecom::app
