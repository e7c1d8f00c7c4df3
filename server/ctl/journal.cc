#include "ctl/journal.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ecom::ctl {
namespace {

/// What a request was answered that somebody may have acted on.
constexpr std::string_view kAnswers[] = {"QUEUED",   "DUPLICATE", "SOLD_OUT",
                                         "NOT_OPEN", "UNKNOWN",   "UNAVAILABLE"};
/// Refused before anybody looked at the claim, or never sent.
constexpr std::string_view kNoAnswers[] = {"NOT_FOUND", "INVALID", "RATE_LIMITED", "NOT_SENT"};

bool IsOneOf(std::string_view answer, std::span<const std::string_view> answers) {
  return std::ranges::find(answers, answer) != answers.end();
}

struct Entry {
  coupon::UserId user;
  coupon::CouponId coupon;
  std::string answer, request_id, key;
  int64_t invoke_ns = 0, done_ns = 0;
};

void AddOnce(const std::string& id, std::vector<std::string>& ids) {
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
}

void Note(const Entry& entry, ToldUser& user, Told& told) {
  ToldKey* const key = entry.key.empty() ? nullptr : &user.keys[entry.key];
  if (key == nullptr) user.asked_without_key = true;
  if (entry.answer == "QUEUED") {
    AddOnce(entry.request_id, user.queued);
    if (key == nullptr) {
      ++user.queued_without_key;
      return;
    }
    AddOnce(entry.request_id, key->queued);
    key->queued_by_ns = std::min(key->queued_by_ns, entry.done_ns);
    return;
  }
  const bool is_duplicate = entry.answer == "DUPLICATE";
  const bool is_sold_out = entry.answer == "SOLD_OUT";
  if (is_duplicate) user.duplicate = true;
  if (is_duplicate && key != nullptr) key->duplicate = true;
  if (is_sold_out) ++told.sold_out;
  if (entry.answer == "UNKNOWN" || entry.answer == "UNAVAILABLE") user.indeterminate = true;
  if (key != nullptr && (is_duplicate || is_sold_out || entry.answer == "NOT_OPEN")) {
    key->refused_after_ns = std::max(key->refused_after_ns, entry.invoke_ns);
  }
}

std::string TextOf(const nlohmann::json& entry, const char* name) {
  const auto field = entry.find(name);
  return field != entry.end() && field->is_string() ? field->get<std::string>() : std::string();
}

bool IsEntry(const nlohmann::json& json) {
  if (!json.is_object()) return false;
  for (const char* const name : {"user", "coupon", "invoke_ns", "done_ns"}) {
    if (!json.contains(name) || !json[name].is_number_integer()) return false;
  }
  const std::string answer = TextOf(json, "answer");
  return (IsOneOf(answer, kAnswers) || IsOneOf(answer, kNoAnswers)) &&
         json["user"].get<int64_t>() > 0 && json["coupon"].get<int64_t>() > 0 &&
         json["done_ns"].get<int64_t>() >= json["invoke_ns"].get<int64_t>();
}

Entry EntryOf(const nlohmann::json& json) {
  return {.user = {json["user"].get<int64_t>()},
          .coupon = {json["coupon"].get<int64_t>()},
          .answer = TextOf(json, "answer"),
          .request_id = TextOf(json, "request_id"),
          .key = TextOf(json, "key"),
          .invoke_ns = json["invoke_ns"].get<int64_t>(),
          .done_ns = json["done_ns"].get<int64_t>()};
}

}  // namespace

absl::Status ReadJournal(const std::string& path, coupon::CouponId coupon, Told& told) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!IsEntry(json)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": no entry of a journal"));
    }
    const Entry entry = EntryOf(json);
    if (entry.answer == "QUEUED") ++told.queued;
    if (entry.coupon != coupon || IsOneOf(entry.answer, kNoAnswers)) continue;
    Note(entry, told.users[entry.user], told);
  }
  return absl::OkStatus();
}

}  // namespace ecom::ctl
