-- Keeps products, each unless what is there is newer.
--
-- KEYS  one for each product
-- ARGV  of each product: version, milliseconds to live, value
--
-- Returns how many it has taken. What is no value of ours gives way to one.
--
-- A value begins with its version and a colon; a tombstone has nothing behind it. Versions are below
-- 2^53: a Lua number holds them.

local VERSION_CHARS = 16

local function version_of(key)
  local head = redis.pcall('GETRANGE', key, 0, VERSION_CHARS)
  local version = type(head) == 'string' and tonumber(head:match('^(%d+):') or '')
  return version and version < 2 ^ 53 and version or -1
end

local taken = 0
for i, key in ipairs(KEYS) do
  local version, ttl_ms, value = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  if tonumber(version) >= version_of(key) then
    redis.call('SET', key, value, 'PX', ttl_ms)
    taken = taken + 1
  end
end
return taken
