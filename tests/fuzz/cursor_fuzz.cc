// libFuzzer's entry for page cursors, the one text of a client that the product room parses.
#include "support/cursor_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ecom::tests::CheckCursorBytes(data, size);
  return 0;
}
