#include "app/process_stats.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace ecom::app {
namespace {

/// The fields of /proc/self/stat from the third on: the second, the name, may hold blanks.
std::vector<std::string> ReadStat() {
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  return absl::StrSplit(text.substr(name_end + 1), ' ', absl::SkipWhitespace());
}

/// A field by its number in proc(5).
int64_t Field(const std::vector<std::string>& stat, size_t number) {
  constexpr size_t kFirst = 3;
  int64_t value = 0;
  if (number - kFirst >= stat.size() || !absl::SimpleAtoi(stat[number - kFirst], &value)) return 0;
  return value;
}

}  // namespace

ProcessStats ReadProcessStats() {
  ProcessStats stats;
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    stats.cpu =
        absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) stats.fds_max = static_cast<int64_t>(limit.rlim_cur);
  const std::vector<std::string> stat = ReadStat();
  stats.threads = Field(stat, 20);
  stats.virtual_bytes = Field(stat, 23);
  stats.resident_bytes = Field(stat, 24) * sysconf(_SC_PAGESIZE);
  std::error_code error;
  for (std::filesystem::directory_iterator fd("/proc/self/fd", error), end; !error && fd != end;
       fd.increment(error)) {
    ++stats.open_fds;
  }
  return stats;
}

}  // namespace ecom::app
