#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "coupon/claim_log.h"

namespace ecom::adapters::kafka {

/// What the headers `schema-version` and `content-type` of a record in the claim log say.
inline constexpr char kSchemaVersion[] = "1";
inline constexpr char kClaimContentType[] =
    "application/x-protobuf; proto=ecom.event.v1.ClaimLogRecord";
inline constexpr char kIssuedContentType[] =
    "application/x-protobuf; proto=ecom.event.v1.CouponIssued";

inline constexpr char kContentTypeHeader[] = "content-type";
inline constexpr char kSchemaVersionHeader[] = "schema-version";
inline constexpr char kRequestIdHeader[] = "request-id";
inline constexpr char kTraceParentHeader[] = "traceparent";
inline constexpr char kEventIdHeader[] = "id";

/// Payload bytes of one record in the claim log. Ours have some hundred; more is not ours.
inline constexpr size_t kPayloadBytesMax = 4096;

struct Header {
  std::string name;
  std::string value;
};

/// A record as Kafka takes it.
struct WireRecord {
  /// Decides the partition when `partition` does not; empty: any partition.
  std::string key;
  std::string payload;
  std::vector<Header> headers;
  std::optional<int32_t> partition;
};

/// A claim, by its user: those of one user stay in order.
WireRecord Encode(const coupon::AdmittedClaim& claim);

/// A barrier; whoever appends it names the partition.
WireRecord Encode(const coupon::Barrier& barrier);

/// An event of the feed, by its user.
WireRecord Encode(const coupon::IssuedCoupon& issued);

using RecordContent = std::variant<coupon::AdmittedClaim, coupon::Barrier, coupon::Malformed>;

/// Finds a header's value by its name; nullopt: there is none. Called during Decode only.
using HeaderLookup = absl::FunctionRef<std::optional<std::string_view>(const char* name)>;

/// Reads a record of the claim log. Any bytes are allowed: what is not a whole record of ours comes
/// back as Malformed, with the reason, and with key and payload as they were.
RecordContent Decode(std::string_view key, std::string_view payload, HeaderLookup header);

/// Reads the payload of an event of the feed; nullopt: it is none.
std::optional<coupon::IssuedCoupon> DecodeIssued(std::string_view payload);

}  // namespace ecom::adapters::kafka
