-- Names the totals that may not be in the store yet, those that wait longest first.
--
-- KEYS  totals, unstored
-- ARGV  how many at most
--
-- Returns of each: id, total. Forgets those that have no total.

local totals_key, unstored_key = unpack(KEYS)
local COUNT_MAX = '9223372036854775807'

local function is_count(text)
  if not text or #text > #COUNT_MAX then return false end
  if text ~= '0' and not text:find('^[1-9]%d*$') then return false end
  return #text < #COUNT_MAX or text <= COUNT_MAX
end

local ids = redis.call('ZRANGE', unstored_key, 0, tonumber(ARGV[1]) - 1)
if #ids == 0 then return {} end
local totals = redis.call('HMGET', totals_key, unpack(ids))
local found = {}
for i, id in ipairs(ids) do
  if is_count(id) and is_count(totals[i]) then
    found[#found + 1] = id
    found[#found + 1] = totals[i]
  else
    redis.call('ZREM', unstored_key, id)
  end
end
return found
