#include "base/log.h"

#include <poll.h>
#include <pthread.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace ecom::base {
namespace {

/// Rides out a reader that pauses for a moment; its memory, about 2 MiB, is taken at once.
constexpr size_t kLinesWaitingMax = 4096;

/// No text of ours is longer; what a client or a driver says may be.
constexpr size_t kTextBytesMax = 8192;

std::string_view Name(Level level) {
  switch (level) {
    case Level::kDebug: return "debug";
    case Level::kInfo: return "info";
    case Level::kWarn: return "warn";
    case Level::kError: return "error";
  }
  return "unknown";
}

std::string FormatLogTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone());
}

std::string Bounded(std::string_view text) {
  if (text.size() <= kTextBytesMax) return std::string(text);
  return absl::StrCat(std::string(text.substr(0, kTextBytesMax)), "...");
}

std::string StatusText(const absl::Status& status) {
  return status.ToString(absl::StatusToStringMode::kWithNoExtraData);
}

nlohmann::ordered_json ToJson(const LogValue& value) {
  return std::visit(
      [](const auto& held) -> nlohmann::ordered_json {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, absl::Duration>) return absl::FormatDuration(held);
        if constexpr (std::is_same_v<Held, const absl::Status*>) return Bounded(StatusText(*held));
        if constexpr (std::is_same_v<Held, std::string_view>) return Bounded(held);
        if constexpr (std::is_arithmetic_v<Held>) return held;
      },
      value.variant());
}

/// JSON text with every invalid byte replaced, on one line.
std::string Dump(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string FormatJson(absl::Time time, Level level, std::string_view message,
                       std::initializer_list<LogField> fields) {
  nlohmann::ordered_json line;
  line["time"] = FormatLogTime(time);
  line["level"] = Name(level);
  line["message"] = Bounded(message);
  for (const LogField& field : fields) {
    std::string key(field.key);
    while (line.contains(key)) key += '_';
    line[key] = ToJson(field.value);
  }
  return Dump(line);
}

bool IsPlain(std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte >= 0x7f || c == '"' || c == '=' || c == '\\') return false;
  }
  return !text.empty();
}

/// Escapes what would break the line or command the terminal; leaves printable UTF-8 alone.
std::string EscapeForTerminal(std::string_view text) {
  std::string quoted = Dump(nlohmann::ordered_json(text));
  // DEL and the C1 controls (U+0080 to U+009F, 0xC2 0x80..0x9F) are legal in JSON.
  std::string safe;
  for (size_t i = 1; i + 1 < quoted.size(); ++i) {
    const auto byte = static_cast<unsigned char>(quoted[i]);
    const auto next = static_cast<unsigned char>(quoted[i + 1]);
    if (byte == 0x7f) {
      safe += "\\u007f";
    } else if (byte == 0xc2 && next >= 0x80 && next <= 0x9f) {
      absl::StrAppend(&safe, "\\u00", absl::Hex(next, absl::kZeroPad2));
      ++i;
    } else {
      safe += quoted[i];
    }
  }
  return safe;
}

std::string FormatText(absl::Time time, Level level, std::string_view message,
                       std::initializer_list<LogField> fields) {
  std::string line = FormatLogTime(time);
  const std::string_view name = Name(level);
  line += ' ';
  line += name;
  line.append(6 - name.size(), ' ');
  line += EscapeForTerminal(Bounded(message));
  for (const LogField& field : fields) {
    const nlohmann::ordered_json value = ToJson(field.value);
    line += ' ';
    line += EscapeForTerminal(field.key);
    line += '=';
    if (!value.is_string()) {
      line += Dump(value);
      continue;
    }
    const auto& text = value.get_ref<const std::string&>();
    if (IsPlain(text)) {
      line += text;
      continue;
    }
    line += '"';
    line += EscapeForTerminal(text);
    line += '"';
  }
  return line;
}

/// Writes all of `bytes`, however often the descriptor takes only a part; false when it refuses.
bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return false;
    pollfd writable{.fd = fd, .events = POLLOUT, .revents = 0};
    poll(&writable, 1, -1);  // someone made the descriptor non-blocking; this thread may wait
  }
  return true;
}

/// The end of the queue: runs on the writer's thread only.
class DescriptorSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  DescriptorSink(int fd, LineWriter::DropNotice drop_notice) : fd_(fd), drop_notice_(drop_notice) {}

  /// Counts the lines that left the queue: written, or refused by the descriptor.
  uint64_t taken() const { return taken_; }
  uint64_t refused() const { return refused_; }
  void set_queue(spdlog::details::thread_pool* queue) { queue_ = queue; }

  std::mutex mutex;
  std::condition_variable progress;

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const uint64_t dropped = queue_->overrun_counter();
    std::string text;
    if (dropped > reported_) absl::StrAppend(&text, drop_notice_(dropped - reported_), "\n");
    text.append(message.payload.data(), message.payload.size());
    text += '\n';
    const bool written = WriteAll(fd_, text);
    if (written) reported_ = dropped;
    {
      std::lock_guard lock(mutex);
      ++taken_;
      if (!written) ++refused_;
    }
    progress.notify_all();
  }

  void flush_() override {}

  const int fd_;
  const LineWriter::DropNotice drop_notice_;
  spdlog::details::thread_pool* queue_ = nullptr;
  uint64_t reported_ = 0;
  std::atomic<uint64_t> taken_{0};
  std::atomic<uint64_t> refused_{0};
};

/// Signals belong to the main thread; a SIGPIPE here becomes EPIPE.
void StartWriterThread() {
  pthread_setname_np(pthread_self(), "log");
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

std::atomic<LogFormat>& Format() {
  static std::atomic<LogFormat> format{LogFormat::kAuto};
  return format;
}

LogFormat EffectiveFormat() {
  const LogFormat format = Format().load(std::memory_order_relaxed);
  if (format != LogFormat::kAuto) return format;
  static const bool is_terminal = isatty(STDERR_FILENO) == 1;
  return is_terminal ? LogFormat::kText : LogFormat::kJson;
}

std::string DropNotice(uint64_t lines) {
  return FormatLogLine(EffectiveFormat(), absl::Now(), Level::kWarn, "log lines were dropped",
                       {{"lines", lines}});
}

/// Never destroyed: other threads may log while the process ends.
LineWriter& StderrWriter() {
  static auto& writer = *new LineWriter(STDERR_FILENO, kLinesWaitingMax, &DropNotice);
  return writer;
}

std::mutex capture_mutex;
LogCapture* capture = nullptr;  // guarded by capture_mutex
std::atomic<bool> capturing{false};

}  // namespace

void log_internal::Write(Level level, std::string_view message,
                         std::initializer_list<LogField> fields) {
  const absl::Time now = absl::Now();
  if (capturing.load(std::memory_order_acquire)) {
    std::lock_guard lock(capture_mutex);
    if (capture != nullptr) {
      std::lock_guard lines_lock(capture->mutex_);
      capture->lines_.push_back(FormatLogLine(LogFormat::kJson, now, level, message, fields));
      return;
    }
  }
  StderrWriter().Write(FormatLogLine(EffectiveFormat(), now, level, message, fields));
}

void SetLogLevel(Level level) { log_internal::level.store(level, std::memory_order_relaxed); }

Level LogLevel() { return log_internal::level.load(std::memory_order_relaxed); }

void SetLogFormat(LogFormat format) { Format().store(format, std::memory_order_relaxed); }

bool FlushLog(absl::Duration timeout) { return StderrWriter().Flush(timeout); }

uint64_t LogLinesDropped() { return StderrWriter().dropped(); }

std::string FormatLogLine(LogFormat format, absl::Time time, Level level, std::string_view message,
                          std::initializer_list<LogField> fields) {
  if (format == LogFormat::kText) return FormatText(time, level, message, fields);
  return FormatJson(time, level, message, fields);
}

LogCapture::LogCapture() {
  std::lock_guard lock(capture_mutex);
  if (capture != nullptr) std::abort();  // two at once would take each other's lines
  capture = this;
  capturing.store(true, std::memory_order_release);
}

LogCapture::~LogCapture() {
  std::lock_guard lock(capture_mutex);
  capturing.store(false, std::memory_order_release);
  capture = nullptr;
}

std::vector<std::string> LogCapture::Lines() const {
  std::lock_guard lock(mutex_);
  return lines_;
}

struct LineWriter::State {
  State(int fd, size_t lines_waiting_max, DropNotice drop_notice)
      : sink(std::make_shared<DescriptorSink>(fd, drop_notice)),
        queue(std::make_shared<spdlog::details::thread_pool>(lines_waiting_max, 1,
                                                             StartWriterThread)) {
    logger = std::make_shared<spdlog::async_logger>("log", sink, queue,
                                                    spdlog::async_overflow_policy::overrun_oldest);
    logger->set_level(spdlog::level::trace);
    sink->set_queue(queue.get());
  }

  std::atomic<uint64_t> handed{0};
  std::shared_ptr<DescriptorSink> sink;
  std::shared_ptr<spdlog::async_logger> logger;
  std::shared_ptr<spdlog::details::thread_pool> queue;  // last: its thread uses both when it ends
};

LineWriter::LineWriter(int fd, size_t lines_waiting_max, DropNotice drop_notice)
    : state_(std::make_unique<State>(fd, lines_waiting_max, drop_notice)) {}

LineWriter::~LineWriter() = default;

void LineWriter::Write(std::string_view line) {
  state_->handed.fetch_add(1);
  state_->logger->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

bool LineWriter::Flush(absl::Duration timeout) {
  const uint64_t handed = state_->handed.load();
  std::unique_lock lock(state_->sink->mutex);
  return state_->sink->progress.wait_for(lock, absl::ToChronoNanoseconds(timeout), [&] {
    return state_->sink->taken() + state_->queue->overrun_counter() >= handed;
  });
}

uint64_t LineWriter::dropped() const {
  return state_->queue->overrun_counter() + state_->sink->refused();
}

}  // namespace ecom::base
