-- Finds the reservations of users.
--
-- KEYS  reservations, meta
-- ARGV  expected generation, then users
--
-- Returns one value for each user, false where there is none. Or the error NOTREADY, when the gate
-- is not armed at that generation, or has lost reservations.

local reservations_key, meta_key = unpack(KEYS)
local CHUNK = 4000 -- Lua's stack takes 8,000 arguments

local meta = redis.pcall('HMGET', meta_key, 'generation', 'open', 'reservations')
if meta.err or meta[1] ~= ARGV[1] or meta[2] ~= '1' then
  return redis.error_reply('NOTREADY another generation, or closed')
end
local held_count = redis.pcall('HLEN', reservations_key)
if type(held_count) ~= 'number' or tostring(held_count) ~= meta[3] then
  return redis.error_reply('NOTREADY reservations contradict their number')
end

local found = {}
for first = 2, #ARGV, CHUNK do
  local last = math.min(first + CHUNK - 1, #ARGV)
  for _, value in ipairs(redis.call('HMGET', reservations_key, unpack(ARGV, first, last))) do
    found[#found + 1] = value
  end
end
return found
