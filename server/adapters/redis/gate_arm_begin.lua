-- Begins to arm a gate: empties it, closed, and hands it to the caller with `token`.
--
-- KEYS  stock, participants, reservations, meta
-- ARGV  generation, incarnation, token, total, expires_ms
--
-- Returns 1, or 0 when the gate is open at this generation already. Or an error: FENCED when the
-- gate has been closed for a later generation; OVER when it would expire at once.
--
-- A caller that gave up may be run long after: it must not undo what others did since.

local stock_key, participants_key, reservations_key, meta_key = unpack(KEYS)
local generation, incarnation, token, total, expires_ms = unpack(ARGV)

local time = redis.call('TIME')
if tonumber(expires_ms) <= tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000 then
  return redis.error_reply('OVER the campaign ended too long ago')
end

local meta = redis.pcall('HMGET', meta_key, 'generation', 'incarnation', 'open')
if not meta.err and meta[1] and meta[2] == incarnation then
  local held, wanted = tonumber(meta[1]), tonumber(generation)
  if held and held > wanted then
    return redis.error_reply('FENCED the gate is at generation ' .. meta[1])
  end
  if held == wanted and meta[3] == '1' then return 0 end
end

redis.call('UNLINK', stock_key, participants_key, reservations_key, meta_key)
redis.call('HSET', meta_key, 'generation', generation, 'incarnation', incarnation, 'token', token,
  'total', total, 'reservations', '0', 'expires_ms', expires_ms)
redis.call('PEXPIREAT', meta_key, expires_ms)
return 1
