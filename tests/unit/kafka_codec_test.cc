#include "adapters/kafka/codec.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "ecom/event/v1/claim.pb.h"

namespace ecom::adapters::kafka {
namespace {

using coupon::AdmittedClaim;
using coupon::Barrier;
using coupon::Malformed;
using event::v1::ClaimLogRecord;

constexpr char kTraceParent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

AdmittedClaim SomeClaim() {
  return {.holder = {.coupon = {7}, .user = {std::numeric_limits<int64_t>::max()}},
          .request = coupon::RequestId::Random(),
          .incarnation = "쿠폰-1",
          .generation = {3},
          .claimed_at = absl::FromUnixMicros(1766653343123456),
          .trace_parent = kTraceParent};
}

std::optional<std::string_view> Find(const WireRecord& record, std::string_view name) {
  for (const Header& header : record.headers) {
    if (header.name == name) return header.value;
  }
  return std::nullopt;
}

RecordContent Decode(const WireRecord& record) {
  return kafka::Decode(record.key, record.payload,
                       [&](const char* name) { return Find(record, name); });
}

/// What became of a claim's record after `change`: why it is not one any more.
std::string ReasonAfter(const std::function<void(WireRecord&)>& change) {
  WireRecord record = Encode(SomeClaim());
  change(record);
  const RecordContent content = Decode(record);
  const auto* malformed = std::get_if<Malformed>(&content);
  if (malformed == nullptr) return "it is one";
  EXPECT_EQ(malformed->key, record.key);
  EXPECT_EQ(malformed->payload, record.payload);
  return malformed->reason;
}

std::string ReasonOfMessage(const std::function<void(ClaimLogRecord&)>& change) {
  return ReasonAfter([&](WireRecord& record) {
    ClaimLogRecord message;
    ASSERT_TRUE(message.ParseFromString(record.payload));
    change(message);
    record.payload = message.SerializeAsString();
  });
}

void SetHeader(WireRecord& record, std::string_view name, std::string value) {
  for (Header& header : record.headers) {
    if (header.name == name) header.value = std::move(value);
  }
}

TEST(KafkaCodec, GivesBackAClaimWhole) {
  const AdmittedClaim claim = SomeClaim();
  const RecordContent content = Decode(Encode(claim));
  const auto& decoded = std::get<AdmittedClaim>(content);
  EXPECT_EQ(decoded.holder, claim.holder);
  EXPECT_EQ(decoded.request, claim.request);
  EXPECT_EQ(decoded.incarnation, claim.incarnation);
  EXPECT_EQ(decoded.generation, claim.generation);
  EXPECT_EQ(decoded.claimed_at, claim.claimed_at);
  EXPECT_EQ(decoded.trace_parent, claim.trace_parent);
}

TEST(KafkaCodec, NamesAClaimInItsHeadersAndKeysItByItsUser) {
  AdmittedClaim claim = SomeClaim();
  WireRecord record = Encode(claim);
  EXPECT_EQ(record.key, "9223372036854775807");
  EXPECT_FALSE(record.partition);
  EXPECT_EQ(Find(record, "content-type"),
            "application/x-protobuf; proto=ecom.event.v1.ClaimLogRecord");
  EXPECT_EQ(Find(record, "schema-version"), "1");
  EXPECT_EQ(Find(record, "request-id"), claim.request.ToString());
  EXPECT_EQ(Find(record, "traceparent"), kTraceParent);
  claim.trace_parent.clear();
  record = Encode(claim);
  EXPECT_FALSE(Find(record, "traceparent"));
  EXPECT_TRUE(std::get<AdmittedClaim>(Decode(record)).trace_parent.empty());
}

TEST(KafkaCodec, KeepsMicrosecondsBefore1970) {
  AdmittedClaim claim = SomeClaim();
  claim.claimed_at = absl::FromUnixMicros(-1);
  EXPECT_EQ(std::get<AdmittedClaim>(Decode(Encode(claim))).claimed_at, claim.claimed_at);
}

TEST(KafkaCodec, DropsATraceParentThatIsNone) {
  AdmittedClaim claim = SomeClaim();
  claim.trace_parent = std::string(1000, 'x');
  EXPECT_TRUE(std::get<AdmittedClaim>(Decode(Encode(claim))).trace_parent.empty());
}

TEST(KafkaCodec, GivesBackABarrier) {
  const WireRecord record =
      Encode(Barrier{.coupon = {7}, .generation = {4}, .incarnation = "first"});
  EXPECT_EQ(Find(record, "schema-version"), "1");
  const RecordContent content = Decode(record);
  EXPECT_EQ(std::get<Barrier>(content).coupon, coupon::CouponId{7});
  EXPECT_EQ(std::get<Barrier>(content).generation, coupon::Generation{4});
  EXPECT_EQ(std::get<Barrier>(content).incarnation, "first");
}

TEST(KafkaCodec, PublishesWhoGotACoupon) {
  const coupon::IssuedCoupon issued = {.holder = {.coupon = {7}, .user = {12345}},
                                       .request = coupon::RequestId::Random(),
                                       .issued_at = absl::FromUnixMicros(1766653343123456)};
  const WireRecord record = Encode(issued);
  EXPECT_EQ(record.key, "12345");
  EXPECT_EQ(Find(record, "content-type"),
            "application/x-protobuf; proto=ecom.event.v1.CouponIssued");
  EXPECT_EQ(Find(record, "schema-version"), "1");
  EXPECT_EQ(Find(record, "id"), issued.request.ToString());
  EXPECT_EQ(Find(record, "request-id"), issued.request.ToString());
  event::v1::CouponIssued event;
  ASSERT_TRUE(event.ParseFromString(record.payload));
  EXPECT_EQ(event.request_id(), issued.request.ToString());
  EXPECT_EQ(event.coupon_id(), 7);
  EXPECT_EQ(event.user_id(), 12345);
  EXPECT_EQ(event.issued_at().seconds(), 1766653343);
  EXPECT_EQ(event.issued_at().nanos(), 123456000);
}

TEST(KafkaCodec, ReadsARecordOfALaterMinorVersion) {
  EXPECT_EQ(ReasonAfter([](WireRecord& record) {
              record.payload += std::string("\xf8\x7f\x01", 3);  // an unknown field
            }),
            "it is one");
  EXPECT_EQ(ReasonAfter([](WireRecord& record) {
              std::erase_if(record.headers,
                            [](auto& header) { return header.name == kContentTypeHeader; });
            }),
            "it is one");
}

TEST(KafkaCodec, SaysWhyARecordIsNotOurs) {
  EXPECT_EQ(ReasonAfter([](WireRecord& record) { record.payload = "{\"userId\":1}"; }),
            "a record whose bytes are no ClaimLogRecord");
  EXPECT_EQ(ReasonAfter([](WireRecord& record) { record.payload.resize(10); }),
            "a record whose bytes are no ClaimLogRecord");
  EXPECT_EQ(ReasonAfter([](WireRecord& record) { record.payload.clear(); }),
            "a record that is neither a claim nor a barrier");
  EXPECT_EQ(ReasonAfter([](WireRecord& record) { record.payload.resize(4097); }),
            "a record of 4097 bytes; at most 4096 are ours");
  EXPECT_EQ(ReasonAfter([](WireRecord& record) { record.headers.clear(); }),
            "a record without a schema version");
  EXPECT_EQ(ReasonAfter([](WireRecord& record) { SetHeader(record, kSchemaVersionHeader, "2"); }),
            "a record of another schema version: 2");
  EXPECT_EQ(ReasonAfter([](WireRecord& record) {
              SetHeader(record, kContentTypeHeader, kIssuedContentType);
            }),
            "a record of another content type: application/x-protobuf; "
            "proto=ecom.event.v1.CouponIssued");
}

TEST(KafkaCodec, SaysWhatAClaimLacks) {
  EXPECT_EQ(ReasonOfMessage([](ClaimLogRecord& message) {
              message.mutable_claimed()->mutable_request_id()->resize(15);
            }),
            "a record with a request id that has not 16 bytes");
  for (const int64_t id : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::min()}) {
    EXPECT_EQ(ReasonOfMessage(
                  [&](ClaimLogRecord& message) { message.mutable_claimed()->set_coupon_id(id); }),
              "a record without a coupon id");
    EXPECT_EQ(ReasonOfMessage(
                  [&](ClaimLogRecord& message) { message.mutable_claimed()->set_user_id(id); }),
              "a record without a user id");
  }
  EXPECT_EQ(ReasonOfMessage([](ClaimLogRecord& message) {
              message.mutable_claimed()->set_gate_generation(-1);
            }),
            "a record with a negative generation");
  EXPECT_EQ(ReasonOfMessage(
                [](ClaimLogRecord& message) { message.mutable_claimed()->clear_claimed_at(); }),
            "a record without a time");
  EXPECT_EQ(ReasonOfMessage([](ClaimLogRecord& message) {
              message.mutable_claimed()->mutable_claimed_at()->set_nanos(1000000000);
            }),
            "a record without a time");
  EXPECT_EQ(ReasonOfMessage([](ClaimLogRecord& message) {
              message.mutable_claimed()->mutable_claimed_at()->set_seconds(
                  std::numeric_limits<int64_t>::max());
            }),
            "a record without a time");
}

TEST(KafkaCodec, SaysWhatABarrierLacks) {
  EXPECT_EQ(ReasonOfMessage(
                [](ClaimLogRecord& message) { message.mutable_barrier()->set_gate_generation(1); }),
            "a record without a coupon id");
  EXPECT_EQ(ReasonOfMessage([](ClaimLogRecord& message) {
              message.mutable_barrier()->set_coupon_id(1);
              message.mutable_barrier()->set_gate_generation(-1);
            }),
            "a record with a negative generation");
}

}  // namespace
}  // namespace ecom::adapters::kafka
