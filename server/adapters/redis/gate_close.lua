-- Closes a gate, also one that is being armed, and keeps it closed against whoever would arm it at
-- an earlier generation.
--
-- KEYS  meta
-- ARGV  generation that may open it again, incarnation, expires_ms
--
-- Returns 1. Deletes first, so that a gate is closed in a Redis that is full, too; the mark fails
-- there, as arming would.

local meta_key = KEYS[1]
local generation, incarnation, expires_ms = unpack(ARGV)

local meta = redis.pcall('HMGET', meta_key, 'generation', 'incarnation')
if meta.err then
  redis.call('UNLINK', meta_key)
  meta = {}
end
redis.call('HDEL', meta_key, 'open', 'token')
local held = meta[2] == incarnation and tonumber(meta[1] or '')
if held and held >= tonumber(generation) then return 1 end
redis.call('HSET', meta_key, 'generation', generation, 'incarnation', incarnation)
redis.call('PEXPIREAT', meta_key, expires_ms)
return 1
