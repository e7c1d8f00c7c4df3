#include "adapters/redis/view_totals.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace ecom::adapters::redis {

using product::ProductId;
using product::ViewBatch;
using product::ViewDelta;
using product::ViewTotal;

namespace {

absl::Status CheckNumber(size_t products) {
  if (products <= RedisViewTotals::kProductsMax) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "views of more than ", RedisViewTotals::kProductsMax, " products in one call: ", products));
}

absl::Status Unexpected() {
  return absl::UnavailableError("Redis: an unexpected answer about views");
}

/// What a reply holds where that is a count; nullopt for nil, and for what is none.
std::optional<int64_t> CountOf(const redisReply& reply) {
  int64_t count = 0;
  if (reply.type != REDIS_REPLY_STRING) return std::nullopt;
  if (!absl::SimpleAtoi(absl::string_view(reply.str, reply.len), &count)) return std::nullopt;
  return count < 0 ? std::nullopt : std::optional(count);
}

absl::StatusOr<std::vector<std::optional<int64_t>>> CountsOf(const redisReply& reply,
                                                             size_t products) {
  if (reply.type != REDIS_REPLY_ARRAY || reply.elements != products) return Unexpected();
  std::vector<std::optional<int64_t>> counts;
  counts.reserve(products);
  for (size_t i = 0; i < products; ++i) counts.push_back(CountOf(*reply.element[i]));
  return counts;
}

}  // namespace

RedisViewTotals::RedisViewTotals(Options options)
    : options_(std::move(options)),
      counting_({.address = options_.address,
                 .connect_timeout = options_.connect_timeout,
                 .command_timeout = options_.command_timeout}),
      finding_({.address = options_.address,
                .connect_timeout = std::min(options_.connect_timeout, options_.find_timeout),
                .command_timeout = options_.find_timeout}) {}

absl::StatusOr<std::vector<std::optional<int64_t>>> RedisViewTotals::Add(const ViewBatch& batch) {
  RETURN_IF_ERROR(CheckNumber(batch.deltas.size()));
  if (batch.deltas.empty()) return std::vector<std::optional<int64_t>>{};
  std::vector<std::string> arguments = {absl::StrCat(batch.sequence)};
  for (const ViewDelta& delta : batch.deltas) {
    arguments.push_back(absl::StrCat(delta.id.value));
    arguments.push_back(absl::StrCat(std::max(delta.views, int64_t{0})));
  }
  ASSIGN_OR_RETURN(const Reply reply, RunScript(kViewTotalsAdd,
                                                {Key("totals"), Key("unstored"),
                                                 Key(absl::StrCat("sequence:", batch.server))},
                                                std::move(arguments)));
  return CountsOf(*reply, batch.deltas.size());
}

absl::StatusOr<std::vector<std::optional<int64_t>>> RedisViewTotals::Find(
    std::span<const ProductId> ids) {
  RETURN_IF_ERROR(CheckNumber(ids.size()));
  if (ids.empty()) return std::vector<std::optional<int64_t>>{};
  Command command = {"HMGET", Key("totals")};
  for (const ProductId id : ids) command.push_back(absl::StrCat(id.value));
  const auto replies = finding_.Run({&command, 1});
  if (!replies.ok()) return Unavailable(replies.status());
  return CountsOf(*(*replies)[0], ids.size());
}

absl::Status RedisViewTotals::Seed(std::span<const ViewTotal> totals) {
  return RunForEach(kViewTotalsSeed, totals);
}

absl::StatusOr<std::vector<ViewTotal>> RedisViewTotals::Unstored(int limit) {
  limit = std::min(limit, static_cast<int>(kProductsMax));
  std::vector<ViewTotal> totals;
  if (limit < 1) return totals;
  ASSIGN_OR_RETURN(
      const Reply reply,
      RunScript(kViewTotalsUnstored, {Key("totals"), Key("unstored")}, {absl::StrCat(limit)}));
  if (reply->type != REDIS_REPLY_ARRAY) return Unexpected();
  for (size_t i = 0; i + 1 < reply->elements; i += 2) {
    const std::optional<int64_t> id = CountOf(*reply->element[i]);
    const std::optional<int64_t> views = CountOf(*reply->element[i + 1]);
    if (!id || !views) return Unexpected();
    totals.push_back({.id = {*id}, .views = *views});
  }
  return totals;
}

absl::Status RedisViewTotals::NoteStored(std::span<const ViewTotal> totals) {
  return RunForEach(kViewTotalsNoteStored, totals);
}

/// In braces: the part of a name by which Redis Cluster chooses a place.
std::string RedisViewTotals::Key(std::string_view what) const {
  return absl::StrCat(options_.cluster ? "{product:views}:" : "product:views:", std::string(what));
}

absl::StatusOr<Reply> RedisViewTotals::RunScript(const Script& script,
                                                 std::vector<std::string> keys,
                                                 std::vector<std::string> arguments) {
  const ScriptCall call = {
      .script = script, .keys = std::move(keys), .arguments = std::move(arguments)};
  auto replies = counting_.RunScripts({&call, 1});
  if (!replies.ok()) return Unavailable(replies.status());
  return std::move((*replies)[0]);
}

absl::Status RedisViewTotals::RunForEach(const Script& script, std::span<const ViewTotal> totals) {
  RETURN_IF_ERROR(CheckNumber(totals.size()));
  if (totals.empty()) return absl::OkStatus();
  std::vector<std::string> arguments;
  for (const ViewTotal& total : totals) {
    arguments.push_back(absl::StrCat(total.id.value));
    arguments.push_back(absl::StrCat(std::max(total.views, int64_t{0})));
  }
  return RunScript(script, {Key("totals"), Key("unstored")}, std::move(arguments)).status();
}

base::CallStats::Snapshot RedisViewTotals::calls() const {
  base::CallStats::Snapshot sum = counting_.calls();
  sum += finding_.calls();
  return sum;
}

}  // namespace ecom::adapters::redis
