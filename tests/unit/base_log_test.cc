#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"

namespace ecom::base {
namespace {

const absl::Time kTime = absl::FromUnixMicros(1766653343000042);

std::string Json(std::string_view message, std::initializer_list<LogField> fields = {}) {
  return FormatLogLine(LogFormat::kJson, kTime, Level::kInfo, message, fields);
}

std::string Text(std::string_view message, std::initializer_list<LogField> fields = {}) {
  return FormatLogLine(LogFormat::kText, kTime, Level::kWarn, message, fields);
}

/// Puts the level back that the test found.
class LevelRestored {
 public:
  ~LevelRestored() { SetLogLevel(level_); }

 private:
  const Level level_ = log_internal::level.load();
};

TEST(LogLine, IsAnObjectWithTimeLevelMessageAndThenTheFieldsInOrder) {
  EXPECT_EQ(
      Json("ready", {{"zeta", 1}, {"alpha", "x"}}),
      R"({"time":"2025-12-25T09:02:23.000042Z","level":"info","message":"ready","zeta":1,"alpha":"x"})");
}

TEST(LogLine, ShowsEachTypeOfValueAsItsJsonCounterpart) {
  const nlohmann::json line = nlohmann::json::parse(
      Json("m", {{"smallest", std::numeric_limits<int64_t>::min()},
                 {"largest", std::numeric_limits<uint64_t>::max()},
                 {"ratio", 0.5},
                 {"yes", true},
                 {"text", std::string("s")},
                 {"took", absl::Milliseconds(1500)},
                 {"error", absl::UnavailableError("gone")},
                 {"fine", absl::OkStatus()},
                 {"not_a_number", std::numeric_limits<double>::quiet_NaN()}}));
  EXPECT_EQ(line["smallest"].get<int64_t>(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(line["largest"].get<uint64_t>(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(line["ratio"], 0.5);
  EXPECT_EQ(line["yes"], true);
  EXPECT_EQ(line["text"], "s");
  EXPECT_EQ(line["took"], "1.5s");
  EXPECT_EQ(line["error"], "UNAVAILABLE: gone");
  EXPECT_EQ(line["fine"], "OK");
  EXPECT_TRUE(line["not_a_number"].is_null());
}

TEST(LogLine, StaysOneValidLineWhateverBytesItIsGiven) {
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  const std::string json = Json(every_byte, {{every_byte, every_byte}});
  EXPECT_EQ(json.find('\n'), std::string::npos);
  const nlohmann::json line = nlohmann::json::parse(json);  // throws on bad UTF-8
  EXPECT_EQ(line["message"].get<std::string>().substr(0, 128), every_byte.substr(0, 128));
  EXPECT_NE(line["message"].get<std::string>().find("\xEF\xBF\xBD"), std::string::npos);
}

TEST(LogLine, KeepsValidUtf8AsItIs) {
  EXPECT_NE(Json("쿠폰 <&>").find("쿠폰 <&>"), std::string::npos);
  EXPECT_NE(Text("쿠폰").find("쿠폰"), std::string::npos);
}

TEST(LogLine, RenamesAFieldThatWouldReplaceAnother) {
  const nlohmann::json line =
      nlohmann::json::parse(Json("real", {{"message", "field"}, {"a", 1}, {"a", 2}}));
  EXPECT_EQ(line["message"], "real");
  EXPECT_EQ(line["message_"], "field");
  EXPECT_EQ(line["a"], 1);
  EXPECT_EQ(line["a_"], 2);
}

TEST(LogLine, CutsATextThatIsLongerThanTheBound) {
  EXPECT_LT(Json(std::string(1 << 20, 'x')).size(), 9000u);
  EXPECT_LT(Json("m", {{"error", absl::UnknownError(std::string(1 << 20, 'x'))}}).size(), 9000u);
}

TEST(LogLine, ReadsWellAsText) {
  EXPECT_EQ(
      Text("a batch failed",
           {{"claims", 3}, {"error", absl::UnavailableError("no \"x\"")}, {"id", "k-1"}}),
      R"(2025-12-25T09:02:23.000042Z warn  a batch failed claims=3 error="UNAVAILABLE: no \"x\"" id=k-1)");
}

TEST(LogLine, NeverSendsAControlCharacterToATerminal) {
  const std::string text =
      Text("a\nb\x1b[31m\x7f\xc2\x9b", {{"k", "\r\x1b]0;title\x07\xc2\x9b"}, {"empty", ""}});
  for (const char c : text) {
    EXPECT_GE(static_cast<unsigned char>(c), 0x20);
    EXPECT_NE(c, '\x7f');
  }
  EXPECT_EQ(text.find('\xc2'), std::string::npos);
  EXPECT_NE(text.find(R"(a\nb\u001b[31m\u007f\u009b)"), std::string::npos) << text;
  EXPECT_NE(text.find(R"(empty="")"), std::string::npos);
}

TEST(Log, WritesOnlyLinesOfTheLevelAndAbove) {
  const LevelRestored restored;
  const LogCapture capture;
  SetLogLevel(Level::kWarn);
  Log(Level::kInfo, "hidden");
  Log(Level::kWarn, "shown");
  EXPECT_FALSE(LogEnabled(Level::kInfo));
  SetLogLevel(Level::kDebug);
  Log(Level::kDebug, "shown after the change");
  const std::vector<std::string> lines = capture.Lines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(nlohmann::json::parse(lines[0])["message"], "shown");
  EXPECT_EQ(nlohmann::json::parse(lines[0])["level"], "warn");
  EXPECT_EQ(nlohmann::json::parse(lines[1])["message"], "shown after the change");
}

TEST(Log, StampsTheLineWithTheTimeNow) {
  const LogCapture capture;
  const absl::Time before = absl::Now() - absl::Microseconds(1);
  Log(Level::kError, "now");
  const std::string stamp = nlohmann::json::parse(capture.Lines().at(0))["time"];
  absl::Time time;
  ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full, stamp, &time, nullptr));
  EXPECT_GE(time, before);
  EXPECT_LE(time, absl::Now());
}

TEST(Log, LosesNoLineOfConcurrentThreads) {
  constexpr int kThreads = 8;
  constexpr int kLinesEach = 500;
  const LogCapture capture;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < kLinesEach; ++i) Log(Level::kError, "line", {{"thread", t}, {"i", i}});
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<int> next(kThreads, 0);
  for (const std::string& text : capture.Lines()) {
    const nlohmann::json line = nlohmann::json::parse(text);
    EXPECT_EQ(line["i"], next[line["thread"].get<size_t>()]++)
        << "lines of one thread out of order";
  }
  EXPECT_EQ(next, std::vector<int>(kThreads, kLinesEach));
}

class Pipe {
 public:
  Pipe() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    read_end_ = ends[0];
    write_end_ = ends[1];
  }
  ~Pipe() {
    CloseReadEnd();
    close(write_end_);
  }

  int write_end() const { return write_end_; }
  void CloseReadEnd() {
    if (read_end_ >= 0) close(read_end_);
    read_end_ = -1;
  }

  /// Reads until `text` has been seen, for at most 10 s.
  std::string ReadUntil(std::string_view text) {
    const absl::Time deadline = absl::Now() + absl::Seconds(10);
    while (read_.find(text) == std::string::npos && absl::Now() < deadline) {
      pollfd readable{.fd = read_end_, .events = POLLIN, .revents = 0};
      if (poll(&readable, 1, 100) <= 0) continue;
      char bytes[65536];
      const ssize_t count = read(read_end_, bytes, sizeof bytes);
      if (count > 0) read_.append(bytes, static_cast<size_t>(count));
    }
    return read_;
  }

 private:
  int read_end_ = -1;
  int write_end_ = -1;
  std::string read_;
};

std::string Notice(uint64_t lines) { return absl::StrCat("dropped ", lines); }

TEST(LineWriter, WritesWholeLinesInOrder) {
  Pipe pipe;
  LineWriter writer(pipe.write_end(), 100, &Notice);
  writer.Write("first");
  writer.Write("second");
  EXPECT_TRUE(writer.Flush(absl::Seconds(10)));
  EXPECT_EQ(pipe.ReadUntil("second\n"), "first\nsecond\n");
  EXPECT_EQ(writer.dropped(), 0u);
}

TEST(LineWriter, DropsTheOldestRatherThanWaitForAReaderAndSaysHowMany) {
  constexpr int kLines = 2000;
  Pipe pipe;
  const int pipe_bytes = fcntl(pipe.write_end(), F_SETPIPE_SZ, 4096);
  LineWriter writer(pipe.write_end(), 16, &Notice);
  const std::string padding(static_cast<size_t>(pipe_bytes), '.');  // no line fits the pipe
  for (int i = 0; i < kLines; ++i) writer.Write(absl::StrCat(padding, i, ";"));
  EXPECT_FALSE(writer.Flush(absl::Milliseconds(1)));
  EXPECT_GE(writer.dropped(), kLines - 17u);  // 16 wait, one is being written

  const std::string read = pipe.ReadUntil(absl::StrCat(padding, kLines - 1, ";\n"));
  EXPECT_TRUE(writer.Flush(absl::Seconds(10)));
  uint64_t told = 0;
  size_t lines = 0;
  for (size_t begin = 0; begin < read.size();) {
    const size_t end = read.find('\n', begin);
    ASSERT_NE(end, std::string::npos);
    const std::string line = read.substr(begin, end - begin);
    if (line.starts_with("dropped ")) {
      told += std::stoull(line.substr(8));
    } else {
      ++lines;
    }
    begin = end + 1;
  }
  EXPECT_EQ(told, writer.dropped());
  EXPECT_EQ(lines + told, static_cast<uint64_t>(kLines));
}

TEST(LineWriter, CountsWhatAClosedDescriptorRefuses) {
  Pipe pipe;
  LineWriter writer(pipe.write_end(), 16, &Notice);
  pipe.CloseReadEnd();
  writer.Write("nobody reads this");
  EXPECT_TRUE(writer.Flush(absl::Seconds(10)));
  EXPECT_EQ(writer.dropped(), 1u);
}

}  // namespace
}  // namespace ecom::base
