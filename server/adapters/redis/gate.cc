#include "adapters/redis/gate.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace ecom::adapters::redis {

using coupon::Admission;
using coupon::Claim;
using coupon::CouponId;
using coupon::GateState;
using coupon::RequestId;
using coupon::Reservation;
using coupon::Verdict;

namespace {

constexpr size_t kClaimsMax = 512 * 1024 - 16;
/// Bounds how long one script call holds up everybody else: some 10 ms.
constexpr size_t kParticipantsPerCall = 10000;
constexpr absl::Duration kKeptAfterEnd = absl::Hours(24);
constexpr size_t kRequestChars = 36;

/// What the scripts can count with: a Lua number is a double. Until the year 2255.
constexpr int64_t kMicrosMax = (int64_t{1} << 53) - 1;

std::string MicrosOf(absl::Time time) {
  return absl::StrCat(std::clamp(absl::ToUnixMicros(time), int64_t{0}, kMicrosMax));
}

std::string ExpiryMillisOf(absl::Time ends_at) {
  return absl::StrCat(
      std::clamp(absl::ToUnixMillis(ends_at + kKeptAfterEnd), int64_t{0}, kMicrosMax / 1000));
}

absl::StatusOr<Admission> AdmissionOf(char letter) {
  switch (letter) {
    case 'A': return Admission{.verdict = Verdict::kAdmitted};
    case 'P': return Admission{.verdict = Verdict::kReplay};
    case 'D': return Admission{.verdict = Verdict::kDuplicate, .recorded = false};
    case 'R': return Admission{.verdict = Verdict::kDuplicate, .recorded = true};
    case 'N': return Admission{.verdict = Verdict::kNotOpen};
    case 'S': return Admission{.verdict = Verdict::kSoldOut};
    case 'B': return Admission{.verdict = Verdict::kBusy};
    default: return absl::InternalError("Redis: an unknown verdict");
  }
}

std::string_view TextOf(const redisReply& reply) {
  return reply.str == nullptr ? std::string_view() : std::string_view(reply.str, reply.len);
}

std::span<redisReply* const> ElementsOf(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_ARRAY) return {};
  return {reply.element, reply.elements};
}

absl::Status Unexpected(std::string_view what) {
  return absl::UnavailableError(absl::StrCat("Redis: an unexpected answer to ", std::string(what)));
}

/// For calls that may simply be made again: whether the first one was run makes no difference.
absl::Status Unavailable(const absl::Status& status) {
  if (status.ok()) return status;
  return absl::UnavailableError(status.message());
}

struct Held {
  RequestId request;
  absl::Time claimed_at;
};

/// Reads "request:microseconds".
absl::StatusOr<Held> HeldOf(std::string_view value) {
  const auto request = RequestId::Parse(value.substr(0, kRequestChars));
  int64_t micros = 0;
  if (!request || value.size() <= kRequestChars || value[kRequestChars] != ':' ||
      !absl::SimpleAtoi(std::string(value.substr(kRequestChars + 1)), &micros)) {
    return absl::UnavailableError("Redis: a reservation that is none; the gate was tampered with");
  }
  return Held{.request = *request, .claimed_at = absl::FromUnixMicros(micros)};
}

/// The indices of `items` by coupon, so that each coupon is one command of a round trip.
template <typename Item, typename HolderOf>
std::vector<std::pair<CouponId, std::vector<size_t>>> GroupByCoupon(std::span<const Item> items,
                                                                    HolderOf holder_of) {
  std::vector<std::pair<CouponId, std::vector<size_t>>> groups;
  absl::flat_hash_map<CouponId, size_t> group_of;
  for (size_t i = 0; i < items.size(); ++i) {
    const CouponId coupon = holder_of(items[i]).coupon;
    const auto [position, is_new] = group_of.try_emplace(coupon, groups.size());
    if (is_new) groups.push_back({coupon, {}});
    groups[position->second].second.push_back(i);
  }
  return groups;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RedisCouponGate>> RedisCouponGate::Create(Options options) {
  ASSIGN_OR_RETURN(const Address address, ParseUrl(options.url));
  return std::unique_ptr<RedisCouponGate>(new RedisCouponGate(std::move(options), address));
}

RedisCouponGate::RedisCouponGate(Options options, const Address& address)
    : options_(std::move(options)),
      requests_({.address = address,
                 .connect_timeout = options_.connect_timeout,
                 .command_timeout = options_.command_timeout}),
      control_({.address = address,
                .connect_timeout = options_.connect_timeout,
                .command_timeout = options_.command_timeout}) {}

absl::StatusOr<std::vector<Admission>> RedisCouponGate::Admit(const coupon::Coupon& coupon,
                                                              std::span<const Claim> claims) {
  if (claims.empty()) return std::vector<Admission>();
  if (claims.size() > kClaimsMax) return absl::InvalidArgumentError("too many claims in a batch");
  ScriptCall call = {.script = kGateAdmit, .keys = Keys(coupon.id), .arguments = {}};
  call.arguments.reserve(2 + 2 * claims.size());
  call.arguments.push_back(absl::StrCat(coupon.gate_generation.value));
  call.arguments.push_back(absl::StrCat(options_.reservations_max));
  for (const Claim& claim : claims) {
    call.arguments.push_back(absl::StrCat(claim.holder.user.value));
    call.arguments.push_back(claim.request.ToString());
  }
  ASSIGN_OR_RETURN(const std::vector<Reply> replies, requests_.RunScripts({&call, 1}));

  const std::string_view letters = TextOf(*replies[0]);
  if (letters.size() != claims.size()) {
    return absl::InternalError("Redis: not one verdict for each claim");
  }
  std::vector<Admission> admissions;
  admissions.reserve(claims.size());
  for (const char letter : letters) {
    ASSIGN_OR_RETURN(admissions.emplace_back(), AdmissionOf(letter));
  }
  return admissions;
}

absl::StatusOr<std::vector<std::optional<RequestId>>> RedisCouponGate::FindReservations(
    std::span<const coupon::Holder> holders) {
  std::vector<std::optional<RequestId>> found(holders.size());
  if (holders.empty()) return found;
  const auto groups = GroupByCoupon(holders, [](const coupon::Holder& holder) { return holder; });
  std::vector<Command> commands;
  commands.reserve(groups.size());
  for (const auto& [coupon, indices] : groups) {
    Command& command = commands.emplace_back(Command{"HMGET", Key("reservations", coupon)});
    for (const size_t i : indices) command.push_back(absl::StrCat(holders[i].user.value));
  }
  auto replies = requests_.Run(commands);
  if (!replies.ok()) return Unavailable(replies.status());

  for (size_t group = 0; group < groups.size(); ++group) {
    const auto& indices = groups[group].second;
    const auto values = ElementsOf(*(*replies)[group]);
    if (values.size() != indices.size()) return Unexpected("HMGET");
    for (size_t i = 0; i < indices.size(); ++i) {
      if (values[i]->type != REDIS_REPLY_STRING) continue;
      ASSIGN_OR_RETURN(const Held held, HeldOf(TextOf(*values[i])));
      found[indices[i]] = held.request;
    }
  }
  return found;
}

absl::Status RedisCouponGate::Recorded(std::span<const Claim> claims) {
  if (claims.empty()) return absl::OkStatus();
  std::vector<ScriptCall> calls;
  for (const auto& [coupon, indices] :
       GroupByCoupon(claims, [](const Claim& claim) { return claim.holder; })) {
    ScriptCall& call = calls.emplace_back(ScriptCall{
        .script = kGateRecorded, .keys = {Key("reservations", coupon), Key("meta", coupon)}});
    for (const size_t i : indices) {
      call.arguments.push_back(absl::StrCat(claims[i].holder.user.value));
      call.arguments.push_back(claims[i].request.ToString());
    }
  }
  return Unavailable(requests_.RunScripts(calls).status());
}

absl::Status RedisCouponGate::Arm(const coupon::Coupon& coupon, coupon::GateContents contents) {
  const std::vector<std::string> keys = Keys(coupon.id);
  const std::string token = RequestId::Random().ToString();
  ASSIGN_OR_RETURN(
      const Reply begun,
      Control({.script = kGateArmBegin,
               .keys = keys,
               .arguments = {absl::StrCat(coupon.gate_generation.value), coupon.incarnation, token,
                             absl::StrCat(coupon.total_quantity), MicrosOf(coupon.starts_at),
                             MicrosOf(coupon.ends_at), ExpiryMillisOf(coupon.ends_at)}}));
  if (begun->integer == 0) return absl::OkStatus();

  const std::vector<coupon::UserId>& users = contents.participants;
  for (size_t first = 0; first < users.size(); first += kParticipantsPerCall) {
    const size_t last = std::min(first + kParticipantsPerCall, users.size());
    ScriptCall add = {.script = kGateArmAdd, .keys = {keys[1], keys[3]}, .arguments = {token}};
    for (size_t i = first; i < last; ++i) add.arguments.push_back(absl::StrCat(users[i].value));
    RETURN_IF_ERROR(Control(add).status());
  }
  return Control({.script = kGateArmOpen,
                  .keys = {keys[0], keys[1], keys[3]},
                  .arguments = {token, absl::StrCat(contents.stock), absl::StrCat(users.size())}})
      .status();
}

absl::StatusOr<bool> RedisCouponGate::Close(CouponId coupon) {
  ASSIGN_OR_RETURN(const Reply reply,
                   Control({.script = kGateClose, .keys = {Key("meta", coupon)}, .arguments = {}}));
  return reply->integer == 1;
}

absl::Status RedisCouponGate::Disarm(CouponId coupon) {
  Command command = Keys(coupon);
  command.insert(command.begin(), "UNLINK");
  return Unavailable(control_.Run({&command, 1}).status());
}

absl::StatusOr<std::optional<GateState>> RedisCouponGate::Inspect(CouponId coupon) {
  ASSIGN_OR_RETURN(const Reply reply,
                   Control({.script = kGateInspect, .keys = Keys(coupon), .arguments = {}}));
  if (reply->type == REDIS_REPLY_NIL) return std::nullopt;
  std::array<int64_t, 6> numbers{};
  const auto texts = ElementsOf(*reply);
  if (texts.size() != numbers.size()) return Unexpected("inspect");
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (!absl::SimpleAtoi(std::string(TextOf(*texts[i])), &numbers[i])) {
      return Unexpected("inspect");
    }
  }
  return GateState{.generation = {numbers[0]},
                   .open = numbers[1] == 1,
                   .total = numbers[2],
                   .stock = numbers[3],
                   .participants = numbers[4],
                   .reservations = numbers[5]};
}

absl::StatusOr<std::vector<Reservation>> RedisCouponGate::FindReservationsBefore(
    CouponId coupon, absl::Time before, int reservations_max) {
  std::vector<Reservation> found;
  // A scan may name a field twice while the hash grows.
  absl::flat_hash_set<coupon::UserId> seen;
  std::string cursor = "0";
  do {
    const Command command = {"HSCAN", Key("reservations", coupon), cursor, "COUNT", "1000"};
    auto replies = control_.Run({&command, 1});
    if (!replies.ok()) return Unavailable(replies.status());
    const auto parts = ElementsOf(*(*replies)[0]);
    if (parts.size() != 2) return Unexpected("HSCAN");
    cursor = TextOf(*parts[0]);
    const auto pairs = ElementsOf(*parts[1]);
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      if (found.size() >= static_cast<size_t>(std::max(0, reservations_max))) return found;
      coupon::UserId user;
      if (!absl::SimpleAtoi(std::string(TextOf(*pairs[i])), &user.value)) {
        return Unexpected("HSCAN");
      }
      ASSIGN_OR_RETURN(const Held held, HeldOf(TextOf(*pairs[i + 1])));
      if (held.claimed_at >= before || !seen.insert(user).second) continue;
      found.push_back(
          {.claim = {.holder = {.coupon = coupon, .user = user}, .request = held.request},
           .claimed_at = held.claimed_at});
    }
  } while (cursor != "0");
  return found;
}

std::string RedisCouponGate::Key(const char* what, CouponId coupon) const {
  const char* const open = options_.cluster ? "{" : "";
  const char* const close = options_.cluster ? "}" : "";
  return absl::StrCat("coupon:issue:async:", what, ":", open, coupon.value, close);
}

std::vector<std::string> RedisCouponGate::Keys(CouponId coupon) const {
  return {Key("stock", coupon), Key("participants", coupon), Key("reservations", coupon),
          Key("meta", coupon)};
}

/// What the reconciler's side hears: FAILED_PRECONDITION from a script, else UNAVAILABLE.
absl::StatusOr<Reply> RedisCouponGate::Control(const ScriptCall& call) {
  auto replies = control_.RunScripts({&call, 1});
  if (replies.ok()) return std::move((*replies)[0]);
  if (absl::IsFailedPrecondition(replies.status())) return replies.status();
  return Unavailable(replies.status());
}

}  // namespace ecom::adapters::redis
