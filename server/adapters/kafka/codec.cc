#include "adapters/kafka/codec.h"

#include <algorithm>
#include <array>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "ecom/event/v1/claim.pb.h"

namespace ecom::adapters::kafka {
namespace {

using coupon::AdmittedClaim;
using coupon::Barrier;
using coupon::RequestId;
namespace pb = ecom::event::v1;

/// A traceparent has 55 characters; a later version of it may have more.
constexpr size_t kTraceParentCharsMax = 256;
/// How much of a foreign header is shown in a reason.
constexpr size_t kShownCharsMax = 64;

// What google.protobuf.Timestamp allows: the years 1 to 9999.
constexpr int64_t kSecondsMin = -62135596800;
constexpr int64_t kSecondsMax = 253402300799;
constexpr int32_t kNanosMax = 999999999;

void Write(absl::Time time, google::protobuf::Timestamp& timestamp) {
  const int64_t micros = absl::ToUnixMicros(time);  // rounds down
  const int64_t rest = ((micros % 1000000) + 1000000) % 1000000;
  timestamp.set_seconds((micros - rest) / 1000000);
  timestamp.set_nanos(static_cast<int32_t>(rest * 1000));
}

void Write(const RequestId& request, std::string& bytes) {
  bytes.assign(request.bytes().begin(), request.bytes().end());
}

std::vector<Header> HeadersOf(const char* content_type) {
  return {{kContentTypeHeader, content_type}, {kSchemaVersionHeader, kSchemaVersion}};
}

absl::Status CheckHeaders(HeaderLookup header) {
  const auto content_type = header(kContentTypeHeader);
  if (content_type && *content_type != kClaimContentType) {
    return absl::InvalidArgumentError(absl::StrCat(
        "of another content type: ", std::string(content_type->substr(0, kShownCharsMax))));
  }
  const auto version = header(kSchemaVersionHeader);
  if (!version) return absl::InvalidArgumentError("without a schema version");
  if (*version != kSchemaVersion) {
    return absl::InvalidArgumentError(absl::StrCat(
        "of another schema version: ", std::string(version->substr(0, kShownCharsMax))));
  }
  return absl::OkStatus();
}

std::optional<absl::Time> TimeOf(const google::protobuf::Timestamp& time) {
  if (time.seconds() < kSecondsMin || time.seconds() > kSecondsMax || time.nanos() < 0 ||
      time.nanos() > kNanosMax) {
    return std::nullopt;
  }
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

absl::StatusOr<AdmittedClaim> ClaimOf(const pb::CouponClaimed& claimed, HeaderLookup header) {
  std::array<uint8_t, 16> request{};
  if (claimed.request_id().size() != request.size()) {
    return absl::InvalidArgumentError("with a request id that has not 16 bytes");
  }
  std::copy(claimed.request_id().begin(), claimed.request_id().end(), request.begin());
  if (claimed.coupon_id() <= 0) return absl::InvalidArgumentError("without a coupon id");
  if (claimed.user_id() <= 0) return absl::InvalidArgumentError("without a user id");
  if (claimed.gate_generation() < 0) {
    return absl::InvalidArgumentError("with a negative generation");
  }
  const auto time = TimeOf(claimed.claimed_at());
  if (!claimed.has_claimed_at() || !time) return absl::InvalidArgumentError("without a time");
  const std::string_view trace = header(kTraceParentHeader).value_or("");
  return AdmittedClaim{
      .holder = {.coupon = {claimed.coupon_id()}, .user = {claimed.user_id()}},
      .request = RequestId(request),
      .incarnation = claimed.coupon_incarnation(),
      .generation = {claimed.gate_generation()},
      .claimed_at = *time,
      .trace_parent = std::string(trace.size() <= kTraceParentCharsMax ? trace : "")};
}

absl::StatusOr<Barrier> BarrierOf(const pb::GateBarrier& barrier) {
  if (barrier.coupon_id() <= 0) return absl::InvalidArgumentError("without a coupon id");
  if (barrier.gate_generation() < 0) {
    return absl::InvalidArgumentError("with a negative generation");
  }
  return Barrier{.coupon = {barrier.coupon_id()},
                 .generation = {barrier.gate_generation()},
                 .incarnation = barrier.coupon_incarnation()};
}

absl::StatusOr<RecordContent> Read(std::string_view payload, HeaderLookup header) {
  if (payload.size() > kPayloadBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("of ", payload.size(), " bytes; at most ", kPayloadBytesMax, " are ours"));
  }
  RETURN_IF_ERROR(CheckHeaders(header));
  pb::ClaimLogRecord record;
  if (!record.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    return absl::InvalidArgumentError("whose bytes are no ClaimLogRecord");
  }
  switch (record.record_case()) {
    case pb::ClaimLogRecord::kClaimed: return ClaimOf(record.claimed(), header);
    case pb::ClaimLogRecord::kBarrier: return BarrierOf(record.barrier());
    case pb::ClaimLogRecord::RECORD_NOT_SET: break;
  }
  return absl::InvalidArgumentError("that is neither a claim nor a barrier");
}

}  // namespace

WireRecord Encode(const AdmittedClaim& claim) {
  pb::ClaimLogRecord record;
  pb::CouponClaimed& claimed = *record.mutable_claimed();
  Write(claim.request, *claimed.mutable_request_id());
  claimed.set_coupon_id(claim.holder.coupon.value);
  claimed.set_coupon_incarnation(claim.incarnation);
  claimed.set_user_id(claim.holder.user.value);
  claimed.set_gate_generation(claim.generation.value);
  Write(claim.claimed_at, *claimed.mutable_claimed_at());
  WireRecord wire = {.key = absl::StrCat(claim.holder.user.value),
                     .payload = record.SerializeAsString(),
                     .headers = HeadersOf(kClaimContentType)};
  wire.headers.push_back({kRequestIdHeader, claim.request.ToString()});
  if (!claim.trace_parent.empty()) {
    wire.headers.push_back({kTraceParentHeader, claim.trace_parent});
  }
  return wire;
}

WireRecord Encode(const Barrier& barrier) {
  pb::ClaimLogRecord record;
  record.mutable_barrier()->set_coupon_id(barrier.coupon.value);
  record.mutable_barrier()->set_gate_generation(barrier.generation.value);
  record.mutable_barrier()->set_coupon_incarnation(barrier.incarnation);
  return {.payload = record.SerializeAsString(), .headers = HeadersOf(kClaimContentType)};
}

WireRecord Encode(const coupon::IssuedCoupon& issued) {
  const std::string request = issued.request.ToString();
  pb::CouponIssued event;
  event.set_request_id(request);
  event.set_coupon_id(issued.holder.coupon.value);
  event.set_user_id(issued.holder.user.value);
  Write(issued.issued_at, *event.mutable_issued_at());
  WireRecord wire = {.key = absl::StrCat(issued.holder.user.value),
                     .payload = event.SerializeAsString(),
                     .headers = HeadersOf(kIssuedContentType)};
  wire.headers.push_back({kEventIdHeader, request});
  wire.headers.push_back({kRequestIdHeader, request});
  return wire;
}

RecordContent Decode(std::string_view key, std::string_view payload, HeaderLookup header) {
  absl::StatusOr<RecordContent> content = Read(payload, header);
  if (content.ok()) return *std::move(content);
  return coupon::Malformed{.reason = absl::StrCat("a record ", content.status().message()),
                           .key = std::string(key),
                           .payload = std::string(payload)};
}

std::optional<coupon::IssuedCoupon> DecodeIssued(std::string_view payload) {
  pb::CouponIssued event;
  if (!event.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) return std::nullopt;
  const std::optional<RequestId> request = RequestId::Parse(event.request_id());
  const std::optional<absl::Time> issued_at = TimeOf(event.issued_at());
  if (!request || !issued_at || event.coupon_id() <= 0 || event.user_id() <= 0) return std::nullopt;
  return coupon::IssuedCoupon{.holder = {.coupon = {event.coupon_id()}, .user = {event.user_id()}},
                              .request = *request,
                              .issued_at = *issued_at};
}

}  // namespace ecom::adapters::kafka
