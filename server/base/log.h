#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ecom::base {

enum class Level { kDebug, kInfo, kWarn, kError };

enum class LogFormat {
  kAuto,  ///< text when stderr is a terminal, else JSON
  kJson,  ///< one object a line
  kText,  ///< for people
};

/// What a field holds. Refers to the caller's string or status: it lives as long as the full
/// expression that made it.
class LogValue {
 public:
  using Variant = std::variant<int64_t, uint64_t, double, bool, std::string_view, absl::Duration,
                               const absl::Status*>;

  LogValue(bool value) : value_(value) {}
  template <std::signed_integral Integer>
  LogValue(Integer value) : value_(int64_t{value}) {}
  template <std::unsigned_integral Integer>
  requires(!std::same_as<Integer, bool>) LogValue(Integer value) : value_(uint64_t{value}) {}
  LogValue(double value) : value_(value) {}
  LogValue(const char* value) : value_(std::string_view(value)) {}
  LogValue(std::string_view value) : value_(value) {}
  LogValue(const std::string& value) : value_(std::string_view(value)) {}
  LogValue(absl::Duration value) : value_(value) {}
  LogValue(const absl::Status& value) : value_(&value) {}

  const Variant& variant() const { return value_; }

 private:
  Variant value_;
};

struct LogField {
  std::string_view key;
  LogValue value;
};

namespace log_internal {
inline std::atomic<Level> level{Level::kInfo};
void Write(Level level, std::string_view message, std::initializer_list<LogField> fields);
}  // namespace log_internal

/// True when lines of this level are written. Thread-safe; one relaxed load.
inline bool LogEnabled(Level level) {
  return level >= log_internal::level.load(std::memory_order_relaxed);
}

/// Writes one line to stderr: `Log(Level::kWarn, "the log refused a batch", {{"claims", 3},
/// {"error", status}})`. Any bytes are allowed in the message and the values; what is not UTF-8
/// becomes U+FFFD, and what is longer than 8192 bytes is cut. The keys are lower_snake_case;
/// `time`, `level` and `message` are taken, a field of such a name gets an underscore behind it.
///
/// Thread-safe. Formats on the caller's thread (some microseconds) and never waits for the
/// reader of stderr: the line is handed to a writer that drops its oldest ones when 4096 wait.
/// Costs a comparison when the level is off.
inline void Log(Level level, std::string_view message,
                std::initializer_list<LogField> fields = {}) {
  if (LogEnabled(level)) log_internal::Write(level, message, fields);
}

/// Sets which lines are written from now on. Thread-safe; before the first call: kInfo.
void SetLogLevel(Level level);

/// The level from which on lines are written. Thread-safe.
Level LogLevel();

/// Sets how lines look from now on. Thread-safe; before the first call: kAuto.
void SetLogFormat(LogFormat format);

/// Waits until all lines of earlier calls are written; false when `timeout` passed first. To be
/// called before the process ends, or the last lines may be lost. Thread-safe.
bool FlushLog(absl::Duration timeout);

/// Lines dropped since the start because stderr's reader was too slow. Thread-safe.
uint64_t LogLinesDropped();

/// Formats one line, without a line break at its end; `format` must not be kAuto.
std::string FormatLogLine(LogFormat format, absl::Time time, Level level, std::string_view message,
                          std::initializer_list<LogField> fields);

/// Takes the lines of all threads, as JSON, in place of stderr for as long as it lives; only one
/// may live at a time. For tests. Thread-safe.
class LogCapture {
 public:
  LogCapture();
  ~LogCapture();

  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  /// What was written so far, one element a line.
  std::vector<std::string> Lines() const;

 private:
  friend void log_internal::Write(Level, std::string_view, std::initializer_list<LogField>);

  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

/// Writes lines to a file descriptor on a thread of its own, so that nobody waits for whoever
/// reads it. When `lines_waiting_max` wait, the oldest is dropped, and a line that says how many
/// were dropped follows. Thread-safe. This is what Log writes to.
class LineWriter {
 public:
  /// Makes the line that tells of dropped ones.
  using DropNotice = std::string (*)(uint64_t lines);

  /// `fd` stays open and is the caller's.
  LineWriter(int fd, size_t lines_waiting_max, DropNotice drop_notice);

  /// Waits, without a bound, for the lines that wait to be written.
  ~LineWriter();

  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  /// Hands over one line, without its line break. Does not block.
  void Write(std::string_view line);

  /// Waits until what was handed over earlier is written or dropped; false after `timeout`.
  bool Flush(absl::Duration timeout);

  /// Lines dropped since the start, among them those that the descriptor refused.
  uint64_t dropped() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ecom::base
