-- Raises totals to what somebody knows, and lowers none.
--
-- KEYS  totals, unstored
-- ARGV  of each product: id, total
--
-- Returns how many it raised. Totals stay strings: as Lua numbers they would be rounded beyond 2^53.

local totals_key, unstored_key = unpack(KEYS)
local COUNT_MAX = '9223372036854775807'

local function is_count(text)
  if not text or #text > #COUNT_MAX then return false end
  if text ~= '0' and not text:find('^[1-9]%d*$') then return false end
  return #text < #COUNT_MAX or text <= COUNT_MAX
end

local function less(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

local time = redis.call('TIME')
local now_us = time[1] .. string.format('%06d', tonumber(time[2]))
local raised = 0
for i = 1, #ARGV, 2 do
  local id, total = ARGV[i], ARGV[i + 1]
  local known = redis.call('HGET', totals_key, id)
  if not is_count(known) or less(known, total) then
    redis.call('ZADD', unstored_key, 'NX', now_us, id)
    redis.call('HSET', totals_key, id, total)
    raised = raised + 1
  end
end
return raised
