#include "ctl/journal.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace ecom::ctl {
namespace {

void Note(const std::string& answer, const std::string& request_id, ToldUser& user, Told& told) {
  if (answer == "QUEUED") {
    if (std::find(user.queued.begin(), user.queued.end(), request_id) == user.queued.end()) {
      user.queued.push_back(request_id);
    }
  } else if (answer == "DUPLICATE") {
    user.duplicate = true;
  } else if (answer == "SOLD_OUT") {
    ++told.sold_out;
  } else if (answer == "UNKNOWN" || answer == "UNAVAILABLE") {
    user.indeterminate = true;
  }
}

}  // namespace

absl::Status ReadJournal(const std::string& path, coupon::CouponId coupon, Told& told) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    const nlohmann::json entry = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    const bool is_entry = entry.is_object() && entry.contains("user") &&
                          entry["user"].is_number_integer() && entry.contains("coupon") &&
                          entry["coupon"].is_number_integer() && entry.contains("answer") &&
                          entry["answer"].is_string();
    if (!is_entry) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": no entry of a journal"));
    }
    if (entry["coupon"].get<int64_t>() != coupon.value) continue;
    const bool has_id = entry.contains("request_id") && entry["request_id"].is_string();
    Note(entry["answer"].get<std::string>(),
         has_id ? entry["request_id"].get<std::string>() : std::string(),
         told.users[{entry["user"].get<int64_t>()}], told);
  }
  return absl::OkStatus();
}

}  // namespace ecom::ctl
