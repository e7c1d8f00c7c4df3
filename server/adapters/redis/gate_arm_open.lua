-- Opens a gate that has been filled. Meta is written last.
--
-- KEYS  stock, participants, meta
-- ARGV  token, stock, number of participants
--
-- Returns 1. Or an error: FENCED when the gate is in other hands; MISFIT when the contents are not
-- what the total says, so that the gate would not be ready.

local stock_key, participants_key, meta_key = unpack(KEYS)
local token, stock, participants = unpack(ARGV)

local meta = redis.pcall('HMGET', meta_key, 'token', 'total', 'expires_ms')
if meta.err or meta[1] ~= token then
  return redis.error_reply('FENCED another one arms the gate')
end
local members = redis.call('SCARD', participants_key)
if members ~= tonumber(participants) then
  return redis.error_reply('MISFIT ' .. members .. ' participants instead of ' .. participants)
end
if tonumber(stock) ~= math.max(0, tonumber(meta[2]) - members) then
  return redis.error_reply('MISFIT stock ' .. stock .. ' and ' .. participants ..
    ' participants contradict the total ' .. meta[2])
end

redis.call('SET', stock_key, stock)
redis.call('PEXPIREAT', stock_key, meta[3])
if members > 0 then redis.call('PEXPIREAT', participants_key, meta[3]) end
redis.call('HSET', meta_key, 'open', '1')
redis.call('HDEL', meta_key, 'token')
return 1
