-- Reads the state of one gate at one moment.
--
-- KEYS  stock, participants, reservations, meta
--
-- Returns nil when there is no gate, else: generation, 1 when Admit would find it ready (else 0),
-- total, stock, participants, reservations; all as strings, '-1' for what is not a count.

local stock_key, participants_key, reservations_key, meta_key = unpack(KEYS)

local function count(text)
  if type(text) ~= 'string' or #text > 16 then return nil end
  if text ~= '0' and not text:find('^[1-9]%d*$') then return nil end
  local number = tonumber(text)
  return number < 2 ^ 53 and number or nil
end

local function size(command, key)
  local found = redis.pcall(command, key)
  return type(found) == 'number' and found or -1
end

local meta = redis.pcall('HMGET', meta_key, 'generation', 'open', 'total', 'reservations',
  'expires_ms', 'units')
if meta.err then meta = {} end
local stock = redis.pcall('GET', stock_key)
local participants = size('SCARD', participants_key)
local reservations = size('HLEN', reservations_key)
if not meta[1] and not stock and participants == 0 and reservations == 0 then return false end

local generation, total = count(meta[1]), count(meta[3])
local noted, units = count(meta[4]), count(meta[6])
stock = count(stock)
local ready = meta[2] == '1' and generation and noted and units and stock and participants >= 0
  and count(meta[5])
  and stock + participants == units and reservations == noted
local function text(number)
  return string.format('%.0f', number or -1)
end
return {text(generation), ready and '1' or '0', text(total), text(stock), text(participants),
  text(reservations)}
