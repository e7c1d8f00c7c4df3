-- Notes that the store has these totals. Those that have grown since wait on, behind all others.
--
-- KEYS  totals, unstored
-- ARGV  of each product: id, total
--
-- Returns how many wait no longer.

local totals_key, unstored_key = unpack(KEYS)

local time = redis.call('TIME')
local now_us = time[1] .. string.format('%06d', tonumber(time[2]))
local stored = 0
for i = 1, #ARGV, 2 do
  local id, total = ARGV[i], ARGV[i + 1]
  if redis.call('HGET', totals_key, id) == total then
    stored = stored + redis.call('ZREM', unstored_key, id)
  else
    redis.call('ZADD', unstored_key, 'XX', now_us, id)
  end
end
return stored
