#include "app/backing.h"

#include "app/embedded_backing.h"
#include "app/stack_backing.h"

namespace ecom::app {

absl::StatusOr<std::unique_ptr<Backing>> Backing::Create(const Config& config,
                                                         const base::Clock& clock) {
  switch (config.app.backend) {
    case Backend::kEmbedded: return EmbeddedBacking::Create(config, clock);
    case Backend::kStack: return StackBacking::Create(config, clock);
  }
  return absl::InternalError("no such backend");
}

}  // namespace ecom::app
