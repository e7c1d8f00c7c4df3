-- Opens a gate that has been filled. Meta is written last.
--
-- KEYS  stock, participants, meta
-- ARGV  token, stock, number of participants
--
-- Returns 1. Or an error: FENCED when the gate is in other hands; MISFIT when it does not hold that
-- many participants.
--
-- Meta's `units` is the sum of stock and participants, which no claim changes. Not the coupon's
-- total: a person may have lowered that below what is issued, or taken units away.

local stock_key, participants_key, meta_key = unpack(KEYS)
local token, stock, participants = unpack(ARGV)

local meta = redis.pcall('HMGET', meta_key, 'token', 'expires_ms')
if meta.err or meta[1] ~= token then
  return redis.error_reply('FENCED another one arms the gate')
end
local members = redis.call('SCARD', participants_key)
if members ~= tonumber(participants) then
  return redis.error_reply('MISFIT ' .. members .. ' participants instead of ' .. participants)
end

redis.call('SET', stock_key, stock)
redis.call('PEXPIREAT', stock_key, meta[2])
if members > 0 then redis.call('PEXPIREAT', participants_key, meta[2]) end
redis.call('HSET', meta_key, 'units', string.format('%.0f', tonumber(stock) + members), 'open', '1')
redis.call('HDEL', meta_key, 'token')
return 1
