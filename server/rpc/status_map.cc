#include "rpc/status_map.h"

#include <algorithm>
#include <array>
#include <string>

#include "google/rpc/error_details.pb.h"

namespace ecom::rpc {
namespace {

struct Row {
  Error error;
  grpc::StatusCode status;
  const char* reason;
  const char* code;
  const char* message;
};

// The order is that of Error.
constexpr std::array kRows = {
    Row{Error::kSoldOut, grpc::StatusCode::FAILED_PRECONDITION, "COUPON_SOLD_OUT", "CP101",
        "쿠폰 수량이 소진되었습니다."},
    Row{Error::kDuplicate, grpc::StatusCode::ALREADY_EXISTS, "COUPON_ALREADY_ISSUED", "CP102",
        "이미 발급된 쿠폰입니다."},
    Row{Error::kUnknownCoupon, grpc::StatusCode::NOT_FOUND, "COUPON_NOT_FOUND", "CP103",
        "존재하지 않는 쿠폰입니다."},
    Row{Error::kIssueNotFound, grpc::StatusCode::NOT_FOUND, "COUPON_ISSUE_NOT_FOUND", "CP104",
        "쿠폰 발급 요청을 찾을 수 없습니다."},
    Row{Error::kNotOpen, grpc::StatusCode::FAILED_PRECONDITION, "COUPON_NOT_OPEN", "CP105",
        "쿠폰 발급 기간이 아닙니다."},
    Row{Error::kProductNotFound, grpc::StatusCode::NOT_FOUND, "PRODUCT_NOT_FOUND", "PD101",
        "상품을 찾을 수 없습니다."},
    Row{Error::kInvalid, grpc::StatusCode::INVALID_ARGUMENT, "INVALID_REQUEST", "CM400",
        "잘못된 요청입니다."},
    Row{Error::kUnavailable, grpc::StatusCode::UNAVAILABLE, "UNAVAILABLE", "CM503",
        "일시적으로 서비스를 이용할 수 없습니다."},
    Row{Error::kDeadlineExceeded, grpc::StatusCode::DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "CM504",
        "요청 시간이 초과되었습니다."},
    Row{Error::kInternal, grpc::StatusCode::INTERNAL, "INTERNAL", "CM500",
        "서버 오류가 발생했습니다."},
};

google::rpc::Status Build(const Row& row) {
  google::rpc::ErrorInfo info;
  info.set_reason(row.reason);
  info.set_domain("ecom");
  (*info.mutable_metadata())["code"] = row.code;
  google::rpc::Status status;
  status.set_code(row.status);
  status.set_message(row.message);
  status.add_details()->PackFrom(info);
  return status;
}

using Statuses = std::array<google::rpc::Status, kRows.size()>;

Statuses BuildAll() {
  Statuses all;
  for (const Row& row : kRows) all[static_cast<size_t>(row.error)] = Build(row);
  return all;
}

const Row& RowOf(Error error) { return kRows[static_cast<size_t>(error)]; }

/// A direct caller chooses the id, and what is no UTF-8 would make the whole answer unreadable.
bool CanBeShown(std::string_view request_id) {
  constexpr size_t kCharsMax = 128;
  return !request_id.empty() && request_id.size() <= kCharsMax &&
         std::all_of(request_id.begin(), request_id.end(),
                     [](char c) { return c >= 0x21 && c <= 0x7e; });
}

}  // namespace

grpc::StatusCode CodeOf(Error error) { return RowOf(error).status; }

grpc::Status ToGrpc(Error error, std::string_view request_id) {
  const Row& row = RowOf(error);
  return {row.status, row.message, ToRpcStatus(error, request_id).SerializeAsString()};
}

google::rpc::Status ToRpcStatus(Error error, std::string_view request_id) {
  static const auto& all = *new Statuses(BuildAll());
  google::rpc::Status status = all[static_cast<size_t>(error)];
  if (!CanBeShown(request_id)) return status;
  google::rpc::ErrorInfo more;
  (*more.mutable_metadata())["request_id"] = std::string(request_id);
  // Encoded messages that follow one another are one message with the fields of both.
  more.AppendToString(status.mutable_details(0)->mutable_value());
  return status;
}

Error ToError(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument: return Error::kInvalid;
    case absl::StatusCode::kUnavailable: return Error::kUnavailable;
    case absl::StatusCode::kDeadlineExceeded: return Error::kDeadlineExceeded;
    case absl::StatusCode::kNotFound: return Error::kProductNotFound;
    default: return Error::kInternal;
  }
}

Error ToError(coupon::IssueOutcome outcome) {
  switch (outcome) {
    case coupon::IssueOutcome::kDuplicate: return Error::kDuplicate;
    case coupon::IssueOutcome::kUnknownCoupon: return Error::kUnknownCoupon;
    case coupon::IssueOutcome::kNotOpen: return Error::kNotOpen;
    case coupon::IssueOutcome::kSoldOut: return Error::kSoldOut;
    case coupon::IssueOutcome::kQueued: break;
  }
  return Error::kInternal;
}

}  // namespace ecom::rpc
