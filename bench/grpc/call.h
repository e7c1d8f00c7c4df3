#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace ecom::bench {

/// How a call ended. A refusal is a correct answer.
enum class Outcome { kAccepted, kSoldOut, kDuplicate, kError };
inline constexpr int kOutcomes = 4;

/// An outcome and what names it in a report.
struct Verdict {
  Outcome outcome;
  /// "OK", the contract's code such as "CP101", the gRPC code such as "GRPC14" where an answer has
  /// none, or "WRONG_ANSWER" for an OK that does not say what was asked.
  std::string code;
};

/// What one kind of call asks and which answers are right. One per caller. Not thread-safe.
class CallKind {
 public:
  virtual ~CallKind() = default;

  /// The full method name, "/package.Service/Method".
  virtual std::string Method() const = 0;

  /// The next request, serialized. Remembered until Judge.
  virtual grpc::ByteBuffer NextRequest() = 0;

  /// What the answer to the last request means.
  virtual Verdict Judge(const grpc::Status& status, const grpc::ByteBuffer& answer) = 0;
};

/// What the kinds of call need to know.
struct CallOptions {
  int64_t coupon_id = 1;
  /// The first user of this caller, and the distance to its next: callers never share a user.
  int64_t first_user = 1;
  int64_t user_stride = 1;
  /// Seeds the choice of products.
  uint64_t seed = 1;
};

/// The kind of call named `name` (get-product, list-popular, issue-coupon or health), or null:
/// there is none.
std::unique_ptr<CallKind> MakeCallKind(std::string_view name, const CallOptions& options);

}  // namespace ecom::bench
