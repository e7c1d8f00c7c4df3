#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "adapters/redis/gate.h"
#include "support/coupon_backend.h"
#include "support/redis_server.h"

namespace ecom::tests {

/// The Redis gate on the test program's server, emptied.
class RedisGateBackend final : public GateBackend {
 public:
  explicit RedisGateBackend(adapters::redis::RedisCouponGate::Options options = {})
      : server_(EmptyRedisServer()), gate_(WithAddress(server_, std::move(options))) {}

  coupon::CouponGate& gate() override { return gate_; }
  coupon::GateControl& control() override { return gate_; }
  adapters::redis::RedisCouponGate& redis() { return gate_; }
  RedisServer& server() { return server_; }

  absl::Time Now() override { return server_.Now(); }

  /// Redis' clock cannot be set: what it holds gets older instead.
  void PassTime(absl::Duration duration) override {
    const std::string shifted =
        server_.Do({"EVAL", R"lua(
          local passed_us = tonumber(ARGV[1])
          local function earlier(time_us) return string.format('%.0f', time_us - passed_us) end
          for _, key in ipairs(redis.call('KEYS', 'coupon:issue:async:reservations:*')) do
            local fields = redis.call('HGETALL', key)
            for i = 1, #fields, 2 do
              local request, time_us = fields[i + 1]:match('^(.*):(%d+)$')
              redis.call('HSET', key, fields[i], request .. ':' .. earlier(time_us))
            end
          end
          return 'shifted')lua",
                    "0", std::to_string(absl::ToInt64Microseconds(duration))});
    if (shifted != "shifted") std::abort();
  }

  /// The clock runs on between two readings; a test takes far less.
  absl::Duration clock_tolerance() const override { return absl::Seconds(5); }

 private:
  static adapters::redis::RedisCouponGate::Options WithAddress(
      const RedisServer& server, adapters::redis::RedisCouponGate::Options options) {
    options.address.socket_path = server.socket_path();
    return options;
  }

  RedisServer& server_;
  adapters::redis::RedisCouponGate gate_;
};

/// What the gate's suite runs against: a new kind of gate is one more name.
inline const char* const kGateBackends[] = {"embedded", "redis"};

inline std::unique_ptr<GateBackend> MakeGateBackend(const std::string& name) {
  if (name == "redis") return std::make_unique<RedisGateBackend>();
  return std::make_unique<EmbeddedCouponBackend>(/*in_memory=*/true);
}

}  // namespace ecom::tests
