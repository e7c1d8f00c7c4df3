#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "base/log.h"
#include "ctl/commands.h"

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  ecom::base::SetLogLevel(ecom::base::Level::kError);  // the answer is what counts here
  const std::vector<std::string> args(argv + 1, argv + argc);
  return static_cast<int>(
      ecom::ctl::Run(args, ecom::app::CopyEnvironment(environ), std::cout, std::cerr));
}
