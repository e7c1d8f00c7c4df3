#include <sysexits.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "app/app.h"
#include "app/build_info.h"
#include "app/config.h"
#include "base/log.h"

using ecom::base::Level;

int main(int argc, char** argv) {
  // Debian builds abseil and gRPC with it on, which costs a global lock at each mutex.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);

  // gRPC's own lines are no part of the log; what fails is reported by a status. A value that is
  // set already is a person's wish to see them.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);

  const std::vector<std::string> args(argv + 1, argv + argc);
  const auto parsed =
      ecom::app::ParseConfig(args, ecom::app::CopyEnvironment(environ), ecom::app::ReadConfigFile);
  if (!parsed.ok()) {
    std::fprintf(stderr, "%s\n", std::string(parsed.status().message()).c_str());
    return EX_CONFIG;
  }
  switch (parsed->action) {
    case ecom::app::Action::kHelp: std::fputs(ecom::app::HelpText().c_str(), stdout); return EX_OK;
    case ecom::app::Action::kVersion:
      std::printf("ecom-server %s (%s)\n", ecom::app::kVersion, ecom::app::kCommit);
      return EX_OK;
    case ecom::app::Action::kPrintConfig: std::fputs(parsed->Print().c_str(), stdout); return EX_OK;
    case ecom::app::Action::kRun: break;
  }
  ecom::base::SetLogFormat(parsed->config.log.format);
  ecom::base::SetLogLevel(parsed->config.log.level);

  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGINT);
  sigaddset(&stop_signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);  // before any thread, which inherits it

  const auto app = ecom::app::App::Create(*parsed);
  if (!app.ok()) {
    ecom::base::Log(Level::kError, "cannot start", {{"error", app.status()}});
    ecom::base::FlushLog(absl::Seconds(1));
    return absl::IsFailedPrecondition(app.status()) ? EX_CONFIG : EX_UNAVAILABLE;
  }
  const absl::Status ended = (*app)->Wait(stop_signals);
  if (!ended.ok()) ecom::base::Log(Level::kError, "cannot start", {{"error", ended}});
  pthread_sigmask(SIG_UNBLOCK, &stop_signals, nullptr);  // a second one ends the process at once
  (*app)->Stop();
  ecom::base::FlushLog(absl::Seconds(1));
  return ended.ok() ? EX_OK : EX_CONFIG;
}
