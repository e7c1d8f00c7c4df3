#include "adapters/redis/product_changes.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/time/clock.h"
#include "adapters/redis/product_cache.h"
#include "adapters/redis/product_codec.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace ecom::adapters::redis {

using product::ProductVersion;

namespace {

/// Whether a subscriber's array is of this kind.
bool IsPush(const redisReply& reply, std::string_view kind, size_t elements) {
  const auto parts = ElementsOf(reply);
  return parts.size() == elements && TextOf(*parts[0]) == kind;
}

}  // namespace

RedisProductChanges::RedisProductChanges(Options options)
    : options_(std::move(options)), connect_after_(absl::InfinitePast()) {}

absl::StatusOr<std::vector<ProductVersion>> RedisProductChanges::Next(absl::Duration timeout) {
  const absl::Time deadline = MonotonicNow() + timeout;
  for (;;) {
    if (link_ == nullptr) {
      if (!Connect(deadline)) return std::vector<ProductVersion>();
      return absl::UnavailableError("Redis: changes before this connection may have been missed");
    }
    auto changes = Listen(deadline);
    if (changes.ok()) return changes;
    CutOff(changes.status());
  }
}

RedisProductChanges::Stats RedisProductChanges::stats() const {
  return {.connected = connected_, .connects = connects_, .malformed = malformed_};
}

void RedisProductChanges::CutOff(const absl::Status& status) {
  link_.reset();
  connected_ = false;
  connect_after_ = MonotonicNow() + options_.reconnect_pause;
  if (!cut_off_) {
    base::Log(base::Level::kWarn, "changes of products can't be heard", {{"error", status}});
  }
  cut_off_ = true;
}

/// Tries to connect until the deadline; true when it is subscribed.
bool RedisProductChanges::Connect(absl::Time deadline) {
  for (;;) {
    absl::SleepFor(std::min(connect_after_, deadline) - MonotonicNow());
    if (connect_after_ > deadline) return false;
    const absl::Status subscribed = Subscribe(MonotonicNow() + options_.connect_timeout);
    if (subscribed.ok()) break;
    CutOff(subscribed);
  }
  if (cut_off_) base::Log(base::Level::kInfo, "changes of products are heard again");
  cut_off_ = false;
  connected_ = true;
  ++connects_;
  return true;
}

absl::Status RedisProductChanges::Subscribe(absl::Time deadline) {
  ASSIGN_OR_RETURN(link_, Link::Connect(options_.address, deadline));
  std::vector<Command> commands = Greeting(options_.address);
  commands.push_back({"SUBSCRIBE", kProductChannel});
  RETURN_IF_ERROR(link_->Send(commands, deadline));
  for (size_t i = 0; i < commands.size(); ++i) {
    ASSIGN_OR_RETURN(const Reply reply, link_->Receive(deadline));
    if (reply->type == REDIS_REPLY_ERROR) return RedisStatus(TextOf(*reply));
    if (i + 1 == commands.size() && !IsPush(*reply, "subscribe", 3)) {
      return absl::UnavailableError("Redis: an unexpected answer to SUBSCRIBE");
    }
  }
  heard_at_ = asked_at_ = MonotonicNow();
  return absl::OkStatus();
}

/// Waits for the first change, and takes with it what has come besides. An error: it is cut off.
absl::StatusOr<std::vector<ProductVersion>> RedisProductChanges::Listen(absl::Time deadline) {
  std::vector<ProductVersion> changes;
  while (changes.size() < kChangesMax) {
    auto push = changes.empty() ? Await(deadline) : link_->Await(absl::InfinitePast());
    if (!push.ok() && changes.empty()) return push.status();
    if (!push.ok() || *push == nullptr) break;  // an error comes again
    Take(**push, changes);
  }
  return changes;
}

/// Waits for what comes next, null when nothing does; and asks meanwhile whether anybody is there.
absl::StatusOr<Reply> RedisProductChanges::Await(absl::Time deadline) {
  for (;;) {
    const bool asked = asked_at_ > heard_at_;
    const absl::Time patience = (asked ? asked_at_ : heard_at_) + options_.silence_max;
    ASSIGN_OR_RETURN(Reply push, link_->Await(std::min(deadline, patience)));
    const absl::Time now = MonotonicNow();
    if (push != nullptr) {
      heard_at_ = now;
      return push;
    }
    if (now >= patience) {
      if (asked) return absl::UnavailableError("Redis: no answer to PING");
      const Command ping = {"PING"};
      RETURN_IF_ERROR(link_->Send({&ping, 1}, now + options_.silence_max));
      asked_at_ = now;
    }
    if (now >= deadline) return push;
  }
}

void RedisProductChanges::Take(const redisReply& push, std::vector<ProductVersion>& changes) {
  if (IsPush(push, "pong", 2)) return;
  std::optional<ProductVersion> change;
  if (IsPush(push, "message", 3)) change = DecodeChange(TextOf(*ElementsOf(push)[2]));
  if (change) {
    changes.push_back(*change);
    return;
  }
  if (malformed_++ == 0) {
    base::Log(base::Level::kWarn, "a message that is no change of a product was passed over",
              {{"channel", kProductChannel}});
  }
}

}  // namespace ecom::adapters::redis
