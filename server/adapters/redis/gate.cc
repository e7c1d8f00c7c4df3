#include "adapters/redis/gate.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <array>
#include <cstdio>
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
/// How long the keys outlive coupon::kArmedPastEnd: a server's clock may be an hour behind Redis'.
constexpr absl::Duration kKeptAfterUse = absl::Hours(2);
constexpr size_t kRequestChars = 36;
constexpr std::pair kVersionMin = {6, 2};  // SMISMEMBER

/// What the scripts can count with: a Lua number is a double. Until the year 2255.
constexpr int64_t kMicrosMax = (int64_t{1} << 53) - 1;

std::string MicrosOf(absl::Time time) {
  return absl::StrCat(std::clamp(absl::ToUnixMicros(time), int64_t{0}, kMicrosMax));
}

std::string ExpiryMillisOf(absl::Time ends_at) {
  const absl::Time expiry = ends_at + coupon::kArmedPastEnd + kKeptAfterUse;
  return absl::StrCat(std::clamp(absl::ToUnixMillis(expiry), int64_t{0}, kMicrosMax / 1000));
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

absl::Status Unexpected(std::string_view what) {
  return absl::UnavailableError(absl::StrCat("Redis: an unexpected answer to ", std::string(what)));
}

/// A gate that was never built has no home: no Redis may stand in for it.
std::string_view HomeOf(const coupon::Coupon& coupon) {
  return coupon.gate_home.empty() ? "none" : std::string_view(coupon.gate_home);
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
    return absl::FailedPreconditionError(
        "Redis: a reservation that is none; the gate was tampered with");
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

/// Sorts, and leaves one of those that are alike.
template <typename Item>
void SortOnce(std::vector<Item>& items) {
  std::sort(items.begin(), items.end());
  items.erase(std::unique(items.begin(), items.end()), items.end());
}

}  // namespace

RedisCouponGate::RedisCouponGate(Options options)
    : options_(std::move(options)),
      requests_({.address = options_.address,
                 .connect_timeout = options_.connect_timeout,
                 .command_timeout = options_.command_timeout}),
      recorded_({.address = options_.address,
                 .connect_timeout = options_.connect_timeout,
                 .command_timeout = options_.command_timeout}),
      control_({.address = options_.address,
                .connect_timeout = options_.connect_timeout,
                .command_timeout = options_.command_timeout}) {}

absl::Status RedisCouponGate::CheckServer() {
  const std::array<Command, 2> commands = {Command{"INFO", "server"}, Command{"INFO", "memory"}};
  const auto replies = control_.Run(commands);
  if (!replies.ok()) return Unavailable(replies.status());
  const std::string version = InfoField(*(*replies)[0], "redis_version");
  int major = 0, minor = 0;
  if (std::sscanf(version.c_str(), "%d.%d", &major, &minor) != 2 ||
      std::pair(major, minor) < kVersionMin) {
    return absl::FailedPreconditionError(absl::StrCat("REDIS_URL: this Redis is version ", version,
                                                      "; the gate needs 6.2 or later"));
  }
  const std::string policy = InfoField(*(*replies)[1], "maxmemory_policy");
  if (policy != "noeviction") {
    return absl::FailedPreconditionError(absl::StrCat(
        "REDIS_URL: this Redis evicts keys (maxmemory-policy ", policy,
        "), and so would forget who has a coupon; set maxmemory-policy noeviction, and give the "
        "product cache a Redis of its own (CACHE_URL)"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Admission>> RedisCouponGate::Admit(const coupon::Coupon& coupon,
                                                              std::span<const Claim> claims) {
  if (claims.empty()) return std::vector<Admission>();
  if (claims.size() > kClaimsMax) return absl::InvalidArgumentError("too many claims in a batch");
  ScriptCall call = {.script = kGateAdmit, .keys = Keys(coupon.id), .arguments = {}};
  call.arguments.reserve(4 + 2 * claims.size());
  call.arguments.push_back(absl::StrCat(coupon.gate_generation.value));
  call.arguments.push_back(absl::StrCat(options_.reservations_max));
  call.arguments.push_back(MicrosOf(coupon.starts_at));
  call.arguments.push_back(MicrosOf(coupon.ends_at));
  for (const Claim& claim : claims) {
    call.arguments.push_back(absl::StrCat(claim.holder.user.value));
    call.arguments.push_back(claim.request.ToString());
  }
  ASSIGN_OR_RETURN(const std::vector<Reply> replies,
                   requests_.RunScripts({&call, 1}, HomeOf(coupon)));

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
    const coupon::Coupon& coupon, std::span<const coupon::UserId> users) {
  std::vector<std::optional<RequestId>> found(users.size());
  if (users.empty()) return found;
  ScriptCall call = {.script = kGateFind,
                     .keys = {Key("reservations", coupon.id), Key("meta", coupon.id)},
                     .arguments = {absl::StrCat(coupon.gate_generation.value)}};
  for (const coupon::UserId user : users) call.arguments.push_back(absl::StrCat(user.value));
  const auto replies = requests_.RunScripts({&call, 1}, HomeOf(coupon));
  if (absl::IsFailedPrecondition(replies.status())) return replies.status();
  if (!replies.ok()) return Unavailable(replies.status());
  const auto values = ElementsOf(*(*replies)[0]);
  if (values.size() != users.size()) return Unexpected("find");
  for (size_t i = 0; i < users.size(); ++i) {
    if (values[i]->type != REDIS_REPLY_STRING) continue;
    ASSIGN_OR_RETURN(const Held held, HeldOf(TextOf(*values[i])));
    found[i] = held.request;
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
  return Unavailable(recorded_.RunScripts(calls).status());
}

absl::Status RedisCouponGate::Arm(const coupon::Coupon& coupon, coupon::GateContents contents) {
  const std::vector<std::string> keys = Keys(coupon.id);
  const std::string token = RequestId::Random().ToString();
  ASSIGN_OR_RETURN(
      const Reply begun,
      Control({.script = kGateArmBegin,
               .keys = keys,
               .arguments = {absl::StrCat(coupon.gate_generation.value), coupon.incarnation, token,
                             absl::StrCat(coupon.total_quantity), ExpiryMillisOf(coupon.ends_at)}},
              HomeOf(coupon)));
  if (begun->integer == 0) return absl::OkStatus();

  const std::vector<coupon::UserId>& users = contents.participants;
  for (size_t first = 0; first < users.size(); first += kParticipantsPerCall) {
    const size_t last = std::min(first + kParticipantsPerCall, users.size());
    ScriptCall add = {.script = kGateArmAdd, .keys = {keys[1], keys[3]}, .arguments = {token}};
    for (size_t i = first; i < last; ++i) add.arguments.push_back(absl::StrCat(users[i].value));
    RETURN_IF_ERROR(Control(add, HomeOf(coupon)).status());
  }
  return Control({.script = kGateArmOpen,
                  .keys = {keys[0], keys[1], keys[3]},
                  .arguments = {token, absl::StrCat(contents.stock), absl::StrCat(users.size())}},
                 HomeOf(coupon))
      .status();
}

absl::StatusOr<coupon::ClosedGate> RedisCouponGate::Close(const coupon::Coupon& coupon) {
  ASSIGN_OR_RETURN(const std::string home, control_.Home());
  const auto closed = Control({.script = kGateClose,
                               .keys = {Key("meta", coupon.id)},
                               .arguments = {absl::StrCat(coupon.gate_generation.value),
                                             coupon.incarnation, ExpiryMillisOf(coupon.ends_at)}},
                              home);
  if (!closed.ok()) return Unavailable(closed.status());
  return coupon::ClosedGate{.may_have_admitted = true, .home = home};
}

absl::Status RedisCouponGate::Disarm(CouponId coupon) {
  Command command = Keys(coupon);
  command.insert(command.begin(), "UNLINK");
  return Unavailable(control_.Run({&command, 1}).status());
}

absl::StatusOr<std::optional<GateState>> RedisCouponGate::Inspect(const coupon::Coupon& coupon) {
  ASSIGN_OR_RETURN(const std::string home, control_.Home());
  const auto inspected =
      Control({.script = kGateInspect, .keys = Keys(coupon.id), .arguments = {}}, home);
  if (!inspected.ok()) return Unavailable(inspected.status());
  const Reply& reply = *inspected;
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
                   .open = numbers[1] == 1 && home == coupon.gate_home,
                   .total = numbers[2],
                   .stock = numbers[3],
                   .participants = numbers[4],
                   .reservations = numbers[5]};
}

absl::StatusOr<std::vector<Reservation>> RedisCouponGate::FindReservationsOlderThan(
    CouponId coupon, absl::Duration age, int reservations_max) {
  ASSIGN_OR_RETURN(const absl::Time now, Now());
  return FindReservationsBefore(coupon, now - age, reservations_max);
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
    if (absl::IsFailedPrecondition(replies.status())) return replies.status();
    if (!replies.ok()) return Unavailable(replies.status());
    const auto parts = ElementsOf(*(*replies)[0]);
    if (parts.size() != 2) return Unexpected("HSCAN");
    cursor = TextOf(*parts[0]);
    const auto pairs = ElementsOf(*parts[1]);
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      if (found.size() >= static_cast<size_t>(std::max(0, reservations_max))) return found;
      coupon::UserId user;
      if (!absl::SimpleAtoi(std::string(TextOf(*pairs[i])), &user.value)) {
        return absl::FailedPreconditionError(
            "Redis: a reservation of nobody; the gate was tampered with");
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

absl::StatusOr<GateParticipants> RedisCouponGate::ReadParticipants(CouponId coupon,
                                                                   size_t users_max) {
  GateParticipants found;
  std::vector<coupon::UserId>& users = found.users;
  std::string cursor = "0";
  do {
    const Command command = {"SSCAN", Key("participants", coupon), cursor, "COUNT", "1000"};
    const auto replies = control_.Run({&command, 1});
    if (absl::IsFailedPrecondition(replies.status())) return replies.status();
    if (!replies.ok()) return Unavailable(replies.status());
    const auto parts = ElementsOf(*(*replies)[0]);
    if (parts.size() != 2) return Unexpected("SSCAN");
    cursor = TextOf(*parts[0]);
    for (const redisReply* const member : ElementsOf(*parts[1])) {
      int64_t user = 0;
      if (absl::SimpleAtoi(std::string(TextOf(*member)), &user)) {
        users.push_back({user});
      } else {
        found.foreign.emplace_back(TextOf(*member));
      }
    }
    // A scan may name a member twice: so what is over may be less than it seems.
    if (users.size() > users_max) SortOnce(users);
    if (users.size() + found.foreign.size() > users_max) {
      return absl::ResourceExhaustedError(absl::StrCat("more than ", users_max, " participants"));
    }
  } while (cursor != "0");
  SortOnce(users);
  SortOnce(found.foreign);
  return found;
}

absl::StatusOr<GateHolder> RedisCouponGate::ReadHolder(const coupon::Holder& holder) {
  const std::string user = absl::StrCat(holder.user.value);
  const std::array<Command, 2> commands = {
      Command{"SISMEMBER", Key("participants", holder.coupon), user},
      Command{"HGET", Key("reservations", holder.coupon), user}};
  const auto replies = control_.Run(commands);
  if (absl::IsFailedPrecondition(replies.status())) return replies.status();
  if (!replies.ok()) return Unavailable(replies.status());
  GateHolder found = {.is_participant = (*replies)[0]->integer == 1};
  const redisReply& value = *(*replies)[1];
  if (value.type != REDIS_REPLY_STRING) return found;
  ASSIGN_OR_RETURN(const Held held, HeldOf(TextOf(value)));
  found.reservation = Reservation{.claim = {.holder = holder, .request = held.request},
                                  .claimed_at = held.claimed_at};
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

/// By the clock that dates the reservations.
absl::StatusOr<absl::Time> RedisCouponGate::Now() {
  const Command command = {"TIME"};
  const auto replies = control_.Run({&command, 1});
  if (!replies.ok()) return Unavailable(replies.status());
  const auto parts = ElementsOf(*(*replies)[0]);
  int64_t seconds = 0, micros = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(std::string(TextOf(*parts[0])), &seconds) ||
      !absl::SimpleAtoi(std::string(TextOf(*parts[1])), &micros)) {
    return Unexpected("TIME");
  }
  return absl::FromUnixSeconds(seconds) + absl::Microseconds(micros);
}

/// What the reconciler's side hears: FAILED_PRECONDITION from a script, else UNAVAILABLE.
absl::StatusOr<Reply> RedisCouponGate::Control(const ScriptCall& call, std::string_view home) {
  auto replies = control_.RunScripts({&call, 1}, home);
  if (replies.ok()) return std::move((*replies)[0]);
  if (absl::IsFailedPrecondition(replies.status())) return replies.status();
  return Unavailable(replies.status());
}

base::CallStats::Snapshot RedisCouponGate::calls() const {
  base::CallStats::Snapshot sum = requests_.calls();
  sum += recorded_.calls();
  sum += control_.calls();
  return sum;
}

}  // namespace ecom::adapters::redis
