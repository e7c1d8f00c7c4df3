#include "ctl/commands.h"

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "adapters/embedded/coupon_audit.h"
#include "adapters/embedded/database.h"
#include "adapters/embedded/product_store.h"
#include "app/embedded_backing.h"
#include "app/stack_backing.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "ctl/explain.h"
#include "ctl/gates.h"
#include "ctl/letters.h"
#include "ctl/products.h"
#include "ctl/verify.h"

namespace ecom::ctl {
namespace {

constexpr char kBackendName[] = "backend";
constexpr char kBackendVariable[] = "BACKEND";

struct Settings {
  app::Config config;
  bool backend_is_guessed = false;
};

/// The server's own settings, but for the backend: most commands are of use on the stack alone.
absl::StatusOr<Settings> ReadSettings(const CommandLine& line, app::Environment environment) {
  ASSIGN_OR_RETURN(app::ParsedConfig parsed,
                   app::ParseConfig(line.settings, environment, app::ReadConfigFile));
  const auto backend = std::ranges::find(parsed.settings, kBackendName, &app::Setting::name);
  if (backend == parsed.settings.end() || backend->source != "default") {
    return Settings{.config = std::move(parsed.config)};
  }
  environment[kBackendVariable] = "stack";
  ASSIGN_OR_RETURN(parsed, app::ParseConfig(line.settings, environment, app::ReadConfigFile));
  return Settings{.config = std::move(parsed.config), .backend_is_guessed = true};
}

absl::StatusOr<Exit> RunOnStack(const CommandLine& line, const app::Config& config,
                                std::ostream& out) {
  const base::SystemClock clock;
  ASSIGN_OR_RETURN(const auto stack, app::StackBacking::Create(config, clock));
  const std::string& command = line.command;
  if (command == "verify") return Verify(*stack, clock, line, out);
  if (command == "explain") {
    return Explain(*stack, clock, config.coupon.reservations_max, line, out);
  }
  if (command == "gate show") return ShowGates(*stack, clock, line, out);
  if (command == "gate rebuild") return RebuildGate(*stack, clock, line, out);
  if (command == "reconcile") return Reconcile(*stack, config, clock, line, out);
  if (command == "dlt list") return ListLetters(*stack, clock, line, out);
  if (command == "dlt show") return ShowLetter(*stack, clock, line, out);
  if (command == "product show") return ShowProduct(stack->product_store(), line, out);
  if (command == "product set") {
    return SetProduct(stack->product_store(), stack->product_cache(), line, out);
  }
  return SettleLetters(*stack, clock, line, out);
}

absl::StatusOr<Exit> RunOnFile(const CommandLine& line, const app::Config& config,
                               std::ostream& out) {
  if (line.command == "product show" || line.command == "product set") {
    const base::SystemClock clock;
    ASSIGN_OR_RETURN(const auto database, adapters::embedded::Database::OpenBeside(
                                              app::EmbeddedBacking::DataFile(config)));
    adapters::embedded::EmbeddedProductStore store(*database, clock);
    if (line.command == "product show") return ShowProduct(store, line, out);
    return SetProduct(store, /*cache=*/nullptr, line, out);
  }
  const bool is_read =
      line.command == "verify" || line.command == "explain" || line.command == "dlt list";
  if (!is_read) {
    return absl::FailedPreconditionError(
        absl::StrCat(line.command,
                     " needs BACKEND=stack: the embedded gate is in the memory of its server, "
                     "which looks after it by itself"));
  }
  ASSIGN_OR_RETURN(const auto file, adapters::embedded::EmbeddedCouponAudit::Open(
                                        app::EmbeddedBacking::DataFile(config)));
  const base::SystemClock clock;
  if (line.command == "verify") return Verify(*file, line, out);
  if (line.command == "explain") {
    return Explain(*file, clock, config.coupon.reservations_max, line, out);
  }
  return ListLetters(*file, line, out);
}

/// What the operator can do about it.
std::string AdviceOn(const absl::Status& status, const Settings& settings) {
  if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return "";
  if (settings.config.app.backend == app::Backend::kEmbedded) return "";
  return absl::StrCat("; is the stack up (make stack), at REDIS_URL, KAFKA_BROKERS and MYSQL_URL?",
                      settings.backend_is_guessed ? " Of `make run` alone: BACKEND=embedded" : "");
}

Exit Fail(const absl::Status& status, const std::string& advice, std::ostream& error) {
  error << "ecomctl: " << std::string(status.message()) << advice << "\n";
  return Exit::kUnable;
}

}  // namespace

std::string HelpText() {
  return R"(Usage: ecomctl COMMAND [flags] [--SETTING=VALUE...]

Looks into a running system, and mends it.

  verify --coupon N [--wait DURATION] [--journal FILE]... [--users-max N] [-o json]
      Holds rows, stock and gate against each other, with a journal also what clients were told and
      the events on coupon-issued, and names every user that differs: 20 of a kind, or N; with
      -o json all. While claims are on their way, what they may yet bring about is not judged;
      --wait waits until they have arrived, up to 1h.
  explain --coupon N --user U [-o json]
      Every step that is known of one user's claim, and what the user would be answered now.
  gate show [--coupon N] [-o json]
  gate rebuild --coupon N
      Has the running servers build the gate anew from the rows, and waits until it is open.
  reconcile [--dry-run]
      What a server does each second; with --dry-run only says what it would do.
  dlt list [--all] [-o json]
      Dead letters that nobody has dealt with; with --all the others, too.
  dlt show --offset O [--partition P]
  dlt replay|discard (--offset O [--partition P] | --all)
      replay appends the record to the log again; both note that the letter is dealt with.

  product show --id N [-o json]
  product set --id N [--price P] [--stock S] [--active true|false] [-o json]
      Changes a product, with a new version; every running server shows it within a second.
  product hot [--admin HOST:PORT,...] [-o json]
      What is viewed most in the last minute, of the servers at these admin addresses, or at
      ADMIN_ADDR.

Settings are those of ecom-server, which --help there lists, from the same flags, environment and
file: REDIS_URL, KAFKA_BROKERS, MYSQL_URL and so on. BACKEND is stack where nobody says otherwise.
With BACKEND=embedded verify, explain, dlt list and product work on the data file in DATA_DIR, beside
a server or without; what the gate holds is in that server's memory, and not looked at.

Limits: 10 million rows and participants of a coupon, 30 s for reading a topic, 10,000 letters.

Exits with 0: clean, done; 1: a promise is broken, something is to do or was not done; 2: it cannot
tell: claims are on their way, the arguments are wrong, or a dependency does not answer.
)";
}

Exit Run(std::span<const std::string> args, const app::Environment& environment, std::ostream& out,
         std::ostream& error) {
  const auto line = ParseCommandLine(args);
  if (!line.ok()) return Fail(line.status(), "", error);
  if (line->help) {
    out << HelpText();
    return Exit::kClean;
  }
  const auto settings = ReadSettings(*line, environment);
  if (!settings.ok()) return Fail(settings.status(), "", error);
  const auto exit = line->command == "product hot" ? ShowHotProducts(settings->config, *line, out)
                    : settings->config.app.backend == app::Backend::kStack
                        ? RunOnStack(*line, settings->config, out)
                        : RunOnFile(*line, settings->config, out);
  if (!exit.ok()) return Fail(exit.status(), AdviceOn(exit.status(), *settings), error);
  return *exit;
}

}  // namespace ecom::ctl
