#include "app/build_info.h"

#include "ecom_commit.h"

namespace ecom::app {

const char kVersion[] = ECOM_VERSION;
const char kCommit[] = ECOM_COMMIT;
const char kCompiler[] = "g++ " __VERSION__;

}  // namespace ecom::app
