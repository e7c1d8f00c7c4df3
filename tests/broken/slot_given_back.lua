-- A gate that gives a unit back when its claim was not recorded within a second: the natural repair, and
-- wrong, for its owner has been told QUEUED. Runs before gate_admit.lua. A server with it must fail the
-- ledger once the store is away for longer.
do
  local time = redis.call('TIME')
  local before_us = (tonumber(time[1]) - 1) * 1000000 + tonumber(time[2])
  local held = redis.call('HGETALL', KEYS[3])
  local given_back = 0
  for i = 1, #held, 2 do
    if tonumber(held[i + 1]:sub(38)) < before_us then
      redis.call('HDEL', KEYS[3], held[i])
      redis.call('SREM', KEYS[2], held[i])
      given_back = given_back + 1
    end
  end
  if given_back > 0 then
    redis.call('INCRBY', KEYS[1], given_back)
    redis.call('HINCRBY', KEYS[4], 'reservations', -given_back)
  end
end

