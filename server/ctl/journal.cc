#include "ctl/journal.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ecom::ctl {
namespace {

struct Entry {
  std::string answer, request_id, key;
  int64_t invoke_ns = 0, done_ns = 0;
};

void AddOnce(const std::string& id, std::vector<std::string>& ids) {
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
}

void Note(const Entry& entry, ToldUser& user, Told& told) {
  ToldKey* const key = entry.key.empty() ? nullptr : &user.keys[entry.key];
  if (entry.answer == "QUEUED") {
    AddOnce(entry.request_id, user.queued);
    if (key == nullptr) return;
    AddOnce(entry.request_id, key->queued);
    key->queued_by_ns = std::min(key->queued_by_ns, entry.done_ns);
    return;
  }
  const bool is_duplicate = entry.answer == "DUPLICATE";
  const bool is_sold_out = entry.answer == "SOLD_OUT";
  if (is_duplicate) user.duplicate = true;
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

}  // namespace

absl::Status ReadJournal(const std::string& path, coupon::CouponId coupon, Told& told) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    const nlohmann::json entry = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    bool is_entry = entry.is_object() && !TextOf(entry, "answer").empty();
    for (const char* const number_field : {"user", "coupon", "invoke_ns", "done_ns"}) {
      is_entry =
          is_entry && entry.contains(number_field) && entry[number_field].is_number_integer();
    }
    if (!is_entry) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": no entry of a journal"));
    }
    if (entry["coupon"].get<int64_t>() != coupon.value) continue;
    Note({.answer = TextOf(entry, "answer"),
          .request_id = TextOf(entry, "request_id"),
          .key = TextOf(entry, "key"),
          .invoke_ns = entry["invoke_ns"].get<int64_t>(),
          .done_ns = entry["done_ns"].get<int64_t>()},
         told.users[{entry["user"].get<int64_t>()}], told);
  }
  return absl::OkStatus();
}

}  // namespace ecom::ctl
