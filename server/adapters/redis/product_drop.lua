-- Drops the versions of a product that are older than a change, keeps them out, and tells of it.
--
-- KEYS  product
-- ARGV  version, milliseconds for which older ones are kept out, channel, message
--
-- Returns how many servers were told. Deletes first: even a Redis that is full drops what is old,
-- and lets a script that has written go on.

local VERSION_CHARS = 16 -- of what is below 2^53

local key = KEYS[1]
local version, ttl_ms, channel, message = unpack(ARGV)

local head = redis.pcall('GETRANGE', key, 0, VERSION_CHARS)
local held = type(head) == 'string' and tonumber(head:match('^(%d+):') or '')
if not held or held >= 2 ^ 53 or held < tonumber(version) then
  redis.call('DEL', key)
  redis.call('SET', key, version .. ':', 'PX', ttl_ms)
end
return redis.call('PUBLISH', channel, message)
