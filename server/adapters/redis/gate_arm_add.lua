-- Adds participants to a gate that is being armed.
--
-- KEYS  participants, meta
-- ARGV  token, then users
--
-- Returns 1, or the error FENCED when the gate is in other hands.

local participants_key, meta_key = unpack(KEYS)
local CHUNK = 4000 -- Lua's stack takes 8,000 arguments

if redis.pcall('HGET', meta_key, 'token') ~= ARGV[1] then
  return redis.error_reply('FENCED another one arms the gate')
end
for first = 2, #ARGV, CHUNK do
  redis.call('SADD', participants_key, unpack(ARGV, first, math.min(first + CHUNK - 1, #ARGV)))
end
return 1
