// Puts behind the failpoints what the environment says, in a server that is a test's:
//
//   FAILPOINTS="name=action[@n];name=action[@n];…"
//
//   kill        ends the process with SIGKILL
//   kill:FILE   the same, where FILE is there; deletes it, so that the next process lives
//   stall:MS    waits as many milliseconds
//   pace:RATE   lets as many items a second pass, evenly spaced, and has the others wait
//   wait:FILE   makes FILE.reached, and waits until FILE is there, a minute at most
//
// With @n an action counts only for the n-th time that its point is reached; without, each time.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/failpoint.h"

namespace {

constexpr std::chrono::seconds kWaitMax(60);
constexpr std::chrono::milliseconds kLook(1);
constexpr int kMisuse = 64;  // EX_USAGE

struct Point {
  std::string name;
  std::string action;
  std::string argument;
  int64_t only_at = 0;  // 0: each time
  std::atomic<int64_t> reached = 0;
  std::mutex mutex;
  std::chrono::steady_clock::time_point free_at;  // for pace: when the next item may come
};

// Never destroyed: threads may reach a point until the very end.
std::list<Point>& Points() {
  static auto& points = *new std::list<Point>;
  return points;
}

bool Exists(const std::string& path) {
  struct stat found {};
  return stat(path.c_str(), &found) == 0;
}

void Wait(const std::string& path) {
  std::ofstream(path + ".reached").flush();
  const auto give_up = std::chrono::steady_clock::now() + kWaitMax;
  while (!Exists(path) && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(kLook);
  }
}

void Pace(Point& point, int64_t items) {
  std::chrono::steady_clock::time_point passed;
  {
    std::lock_guard lock(point.mutex);
    const auto each = std::chrono::nanoseconds(std::chrono::seconds(1)) / std::stoi(point.argument);
    point.free_at = std::max(point.free_at, std::chrono::steady_clock::now()) + each * items;
    passed = point.free_at;
  }
  std::this_thread::sleep_until(passed);
}

void Act(Point& point, int64_t items) {
  if (point.action == "pace") {
    Pace(point, items);
  } else if (point.action == "stall") {
    std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(point.argument)));
  } else if (point.action == "wait") {
    Wait(point.argument);
  } else if (point.argument.empty() || unlink(point.argument.c_str()) == 0) {
    raise(SIGKILL);
  }
}

void Reach(const char* name, int64_t items) {
  for (Point& point : Points()) {
    if (point.name != name) continue;
    const int64_t time = ++point.reached;
    if (point.only_at == 0 || point.only_at == time) Act(point, items);
  }
}

[[noreturn]] void Refuse(std::string_view entry) {
  std::fprintf(stderr, "FAILPOINTS: cannot read \"%.*s\"\n", static_cast<int>(entry.size()),
               entry.data());
  std::_Exit(kMisuse);
}

bool IsNumber(std::string_view text, int64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number > 0;
}

void Add(std::string_view entry) {
  const size_t equals = entry.find('=');
  if (equals == entry.npos) Refuse(entry);
  Point& point = Points().emplace_back();
  point.name = entry.substr(0, equals);
  std::string_view action = entry.substr(equals + 1);
  if (const size_t at = action.rfind('@'); at != action.npos) {
    if (!IsNumber(action.substr(at + 1), point.only_at)) Refuse(entry);
    action = action.substr(0, at);
  }
  const size_t colon = action.find(':');
  point.action = action.substr(0, colon);
  if (colon != action.npos) point.argument = action.substr(colon + 1);
  int64_t number = 0;
  const bool known =
      point.action == "kill" ||
      ((point.action == "stall" || point.action == "pace") && IsNumber(point.argument, number)) ||
      (point.action == "wait" && !point.argument.empty());
  if (!known) Refuse(entry);
}

[[maybe_unused]] const bool installed = [] {
  const char* const text = std::getenv("FAILPOINTS");
  if (text == nullptr) return false;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t end = rest.find(';');
    if (end != 0) Add(rest.substr(0, end));
    rest = end == rest.npos ? "" : rest.substr(end + 1);
  }
  ecom::base::failpoint_hook = Reach;
  return true;
}();

}  // namespace
