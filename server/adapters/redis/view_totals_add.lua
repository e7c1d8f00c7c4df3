-- Adds the views that one server has counted, unless this batch, or a later one of the same server,
-- was added before. Adds all of them or, where a product has no total, none.
--
-- KEYS  totals, unstored, sequence of the server
-- ARGV  sequence, then of each product: id, views
--
-- Returns the totals; nil where there is none.
--
-- Totals stay strings: as Lua numbers they would be rounded beyond 2^53. Whatever may fail is done
-- before the first total is changed: a script that fails half-way is not rolled back.

local totals_key, unstored_key, sequence_key = unpack(KEYS)
local COUNT_MAX = '9223372036854775807'
local SEQUENCE_KEPT_S = 86400

local function is_count(text)
  if not text or #text > #COUNT_MAX then return false end
  if text ~= '0' and not text:find('^[1-9]%d*$') then return false end
  return #text < #COUNT_MAX or text <= COUNT_MAX
end

local ids, views, unstored = {}, {}, {}
local time = redis.call('TIME')
local now_us = time[1] .. string.format('%06d', tonumber(time[2]))
for i = 2, #ARGV, 2 do
  ids[#ids + 1] = ARGV[i]
  views[#views + 1] = ARGV[i + 1]
  if ARGV[i + 1] ~= '0' then
    unstored[#unstored + 1] = now_us
    unstored[#unstored + 1] = ARGV[i]
  end
end

local function read_totals()
  local totals = redis.call('HMGET', totals_key, unpack(ids))
  local complete = true
  for i = 1, #ids do
    if not is_count(totals[i]) then
      totals[i] = false
      complete = false
    end
  end
  return totals, complete
end

local totals, complete = read_totals()
if #unstored == 0 or not complete then return totals end
local added = redis.call('GET', sequence_key)
if added and tonumber(added) >= tonumber(ARGV[1]) then return totals end

for first = 1, #unstored, 4000 do -- Lua's stack takes 8,000 arguments
  redis.call('ZADD', unstored_key, 'NX',
    unpack(unstored, first, math.min(first + 3999, #unstored)))
end
redis.call('SET', sequence_key, ARGV[1], 'EX', SEQUENCE_KEPT_S)
for i, id in ipairs(ids) do
  if views[i] ~= '0' and type(redis.pcall('HINCRBY', totals_key, id, views[i])) ~= 'number' then
    redis.call('HSET', totals_key, id, COUNT_MAX) -- it would be more than Redis counts
  end
end
return (read_totals())
