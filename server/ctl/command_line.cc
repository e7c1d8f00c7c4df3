#include "ctl/command_line.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace ecom::ctl {
namespace {

constexpr std::string_view kSwitches[] = {"all", "dry-run"};
constexpr std::string_view kValued[] = {"active",    "admin",  "coupon",    "id",    "journal",
                                        "offset",    "output", "partition", "price", "stock",
                                        "users-max", "user",   "wait"};

struct CommandForm {
  std::string_view name;
  std::vector<std::string_view> flags;
};

const std::vector<CommandForm>& Commands() {
  static const auto& commands = *new std::vector<CommandForm>{
      {"verify", {"coupon", "journal", "output", "users-max", "wait"}},
      {"explain", {"coupon", "output", "user"}},
      {"gate show", {"coupon", "output"}},
      {"gate rebuild", {"coupon"}},
      {"reconcile", {"dry-run"}},
      {"dlt list", {"all", "output"}},
      {"dlt show", {"offset", "partition"}},
      {"dlt replay", {"all", "offset", "partition"}},
      {"dlt discard", {"all", "offset", "partition"}},
      {"product show", {"id", "output"}},
      {"product set", {"active", "id", "output", "price", "stock"}},
      {"product hot", {"admin", "output"}},
  };
  return commands;
}

bool IsOneOf(std::string_view name, std::span<const std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

absl::Status Wrong(std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(what), "; see ecomctl --help"));
}

absl::Status Check(const CommandLine& line) {
  const auto form = std::ranges::find(Commands(), line.command, &CommandForm::name);
  if (form == Commands().end()) {
    return Wrong(line.command.empty() ? "which command?"
                                      : absl::StrCat("no such command: ", line.command));
  }
  for (const auto& [name, values] : line.flags) {
    if (!IsOneOf(name, form->flags)) {
      return Wrong(absl::StrCat("--", name, " is no flag of ", line.command));
    }
  }
  const std::string output = line.Text("output").value_or("text");
  if (output != "text" && output != "json") return Wrong("-o is text or json");
  return absl::OkStatus();
}

}  // namespace

bool CommandLine::AsJson() const { return Text("output") == "json"; }

std::optional<std::string> CommandLine::Text(const std::string& name) const {
  const auto flag = flags.find(name);
  if (flag == flags.end()) return std::nullopt;
  return flag->second.back();
}

absl::StatusOr<int64_t> CommandLine::Number(const std::string& name) const {
  int64_t number = 0;
  if (!absl::SimpleAtoi(Text(name).value_or(""), &number) || number < 0) {
    return Wrong(absl::StrCat(command, " needs --", name, " with a number"));
  }
  return number;
}

absl::StatusOr<int64_t> CommandLine::Number(const std::string& name, int64_t fallback) const {
  if (!Has(name)) return fallback;
  return Number(name);
}

absl::StatusOr<absl::Duration> CommandLine::Duration(const std::string& name,
                                                     absl::Duration fallback) const {
  if (!Has(name)) return fallback;
  absl::Duration duration;
  if (!absl::ParseDuration(*Text(name), &duration) || duration < absl::ZeroDuration() ||
      duration > absl::Hours(1)) {
    return Wrong(absl::StrCat("--", name, " needs a duration such as 30s, up to 1h"));
  }
  return duration;
}

absl::StatusOr<CommandLine> ParseCommandLine(std::span<const std::string> args) {
  CommandLine line;
  std::vector<std::string> words;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string arg = args[i] == "-o" ? "--output" : args[i];
    if (arg == "-h" || arg == "--help" || arg == "help") {
      line.help = true;
      return line;
    }
    if (!arg.starts_with("--")) {
      words.push_back(arg);
      continue;
    }
    const size_t equals = std::min(arg.find('='), arg.size());
    const std::string name = arg.substr(2, equals - 2);
    const bool has_value = equals < arg.size();
    if (IsOneOf(name, kSwitches)) {
      if (has_value) return Wrong(absl::StrCat("--", name, " takes no value"));
      line.flags[name].emplace_back();
    } else if (!IsOneOf(name, kValued)) {
      // One of the server's, or none: its parser knows, and masks what may be a password.
      if (!has_value) {
        return Wrong(
            absl::StrCat("--", name, " is no flag of ecomctl; a setting is written --name=value"));
      }
      line.settings.push_back(arg);
    } else if (has_value) {
      line.flags[name].push_back(arg.substr(equals + 1));
    } else if (i + 1 < args.size()) {
      line.flags[name].push_back(args[++i]);
    } else {
      return Wrong(absl::StrCat("--", name, " needs a value"));
    }
  }
  line.command = absl::StrJoin(words, " ");
  RETURN_IF_ERROR(Check(line));
  return line;
}

}  // namespace ecom::ctl
