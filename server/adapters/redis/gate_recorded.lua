-- Drops the reservations of claims that the store has.
--
-- KEYS  reservations, meta
-- ARGV  of each claim: user, request
--
-- Returns how many it dropped. A gate that is not whole keeps what it has: it will be rebuilt
-- without reservations, and the recorder must not wait for that. Deletes first: a Redis that is
-- full then lets the rest pass.

local reservations_key, meta_key = unpack(KEYS)
local CHUNK = 4000 -- Lua's stack takes 8,000 arguments

local noted = redis.pcall('HGET', meta_key, 'reservations')
if type(noted) ~= 'string' or #noted > 15 or not noted:find('^%d+$') then return 0 end
if type(redis.pcall('HLEN', reservations_key)) ~= 'number' then return 0 end

local dropped = 0
for first = 1, #ARGV, 2 * CHUNK do
  local users, matching = {}, {}
  for i = first, math.min(first + 2 * CHUNK, #ARGV) - 1, 2 do users[#users + 1] = ARGV[i] end
  local held = redis.call('HMGET', reservations_key, unpack(users))
  for i, user in ipairs(users) do
    if held[i] and held[i]:sub(1, 36) == ARGV[first + 2 * i - 1] then
      matching[#matching + 1] = user
    end
  end
  if #matching > 0 then
    dropped = dropped + redis.call('HDEL', reservations_key, unpack(matching))
  end
end
if dropped > 0 then redis.call('HINCRBY', meta_key, 'reservations', -dropped) end
return dropped
