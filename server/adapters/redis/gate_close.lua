-- Closes a gate, also one that is being armed.
--
-- KEYS  meta
--
-- Returns 1 when it was open, else 0. Only deletes, so that it works in a Redis that is full.

local open = redis.pcall('HGET', KEYS[1], 'open')
if type(open) == 'table' then return 0 end
redis.call('HDEL', KEYS[1], 'open', 'token')
return open == '1' and 1 or 0
