#include "rpc/coupon_service.h"

#include <algorithm>
#include <utility>

#include "rpc/encode.h"

namespace ecom::rpc {
namespace {

coupon::Holder HolderOf(int64_t coupon_id, int64_t user_id) {
  return {.coupon = {coupon_id}, .user = {user_id}};
}

coupon::v1::CouponIssueStatus ToProto(coupon::IssueState state) {
  switch (state) {
    case coupon::IssueState::kQueued: return coupon::v1::COUPON_ISSUE_STATUS_QUEUED;
    case coupon::IssueState::kIssued: return coupon::v1::COUPON_ISSUE_STATUS_ISSUED;
    case coupon::IssueState::kRejected: return coupon::v1::COUPON_ISSUE_STATUS_REJECTED;
  }
  return coupon::v1::COUPON_ISSUE_STATUS_UNSPECIFIED;
}

/// A trace context that is none is left out: it would go on to every consumer of the log.
/// https://www.w3.org/TR/trace-context/, section 3.2: version 00 has 55 characters.
std::string TraceParentOf(std::string text) {
  constexpr size_t kChars = 55;
  const bool is_one = text.size() == kChars && std::all_of(text.begin(), text.end(), [](char c) {
                        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
                      });
  return is_one ? text : std::string();
}

}  // namespace

CouponService::CouponService(coupon::Issuer& issuer, const base::Clock& clock, InFlight& in_flight)
    : issuer_(issuer), clock_(clock) {
  using coupon::v1::GetCouponIssueRequest, coupon::v1::GetCouponIssueResponse;
  using coupon::v1::IssueCouponRequest, coupon::v1::IssueCouponResponse;
  methods_.push_back(std::make_unique<TypedMethod<IssueCouponRequest, IssueCouponResponse>>(
      "/ecom.coupon.v1.CouponService/IssueCoupon",
      [this](auto* context, auto* request, auto* responder, auto& queue, Event* event) {
        service_.RequestIssueCoupon(context, request, responder, &queue, &queue, event);
      },
      [this](Issue& call) { HandleIssue(call); }, in_flight));
  methods_.push_back(std::make_unique<TypedMethod<GetCouponIssueRequest, GetCouponIssueResponse>>(
      "/ecom.coupon.v1.CouponService/GetCouponIssue",
      [this](auto* context, auto* request, auto* responder, auto& queue, Event* event) {
        service_.RequestGetCouponIssue(context, request, responder, &queue, &queue, event);
      },
      [this](Find& call) { HandleFind(call); }, in_flight));
}

void CouponService::HandleIssue(Issue& call) {
  const coupon::v1::IssueCouponRequest& request = call.request();
  coupon::IssueRequest issue{.holder = HolderOf(request.coupon_id(), request.user_id()),
                             .idempotency_key = {},
                             .trace_parent = TraceParentOf(call.TraceParent()),
                             .deadline = call.Deadline(clock_)};
  if (request.has_idempotency_key()) issue.idempotency_key = request.idempotency_key();
  issuer_.Issue(std::move(issue), [&call](absl::StatusOr<coupon::IssueAnswer> answer) {
    if (!answer.ok()) return FinishWithError(call, answer.status());
    if (answer->outcome != coupon::IssueOutcome::kQueued)
      return call.Finish(ToError(answer->outcome));
    coupon::v1::IssueCouponResponse& response = call.response();
    response.set_user_id(call.request().user_id());
    response.set_coupon_id(call.request().coupon_id());
    response.set_request_id(answer->request.ToString());
    response.set_status(coupon::v1::COUPON_ISSUE_STATUS_QUEUED);
    call.Finish();
  });
}

void CouponService::HandleFind(Find& call) {
  const coupon::Holder holder = HolderOf(call.request().coupon_id(), call.request().user_id());
  issuer_.Find(holder, [&call](absl::StatusOr<std::optional<coupon::Issue>> issue) {
    if (!issue.ok()) return FinishWithError(call, issue.status());
    if (!*issue) return call.Finish(Error::kIssueNotFound);
    coupon::v1::GetCouponIssueResponse& response = call.response();
    response.set_user_id(call.request().user_id());
    response.set_coupon_id(call.request().coupon_id());
    response.set_request_id((*issue)->request.ToString());
    response.set_status(ToProto((*issue)->state));
    if ((*issue)->state == coupon::IssueState::kIssued) {
      Encode((*issue)->issued_at, *response.mutable_issued_at());
    }
    call.Finish();
  });
}

}  // namespace ecom::rpc
