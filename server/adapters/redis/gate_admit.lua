-- Decides a batch of claims on one coupon, in order, and writes what it decided.
--
-- KEYS  stock, participants, reservations, meta
-- ARGV  expected generation, cap on reservations, start and end of the window in microseconds, then of
--       each claim: user, request
--
-- The window is the definition's as the server knows it now: it may be moved while the gate is open.
--
-- Returns one letter for each claim: A admitted, P same request again, D duplicate with a
-- reservation, R duplicate that is recorded, N not open, S sold out, B too many reservations.
-- Or the error NOTREADY, when the gate is not what it was when it last was written.
--
-- A script that fails half-way is not rolled back, so nothing is written before all is checked.
-- Ids and times stay strings: as Lua numbers they would lose digits.

local stock_key, participants_key, reservations_key, meta_key = unpack(KEYS)
local CHUNK = 2000 -- Lua's stack takes 8,000 arguments; HSET needs two for each claim

local function not_ready(why)
  return redis.error_reply('NOTREADY ' .. why)
end

-- What redis.call can count with, and a double holds: else nil.
local function count(text)
  if type(text) ~= 'string' or #text > 16 then return nil end
  if text ~= '0' and not text:find('^[1-9]%d*$') then return nil end
  local number = tonumber(text)
  return number < 2 ^ 53 and number or nil
end

local meta = redis.pcall('HMGET', meta_key, 'generation', 'open', 'units', 'reservations',
  'expires_ms')
if meta.err then return not_ready('meta is no hash') end
local generation, open, expires_ms = meta[1], meta[2], meta[5]
local units, reservations = count(meta[3]), count(meta[4])
if generation ~= ARGV[1] then return not_ready('another generation') end
if open ~= '1' then return not_ready('closed') end
if not (units and reservations and count(expires_ms)) then
  return not_ready('meta is incomplete')
end

local stock = redis.pcall('GET', stock_key)
stock = count(stock)
if not stock then return not_ready('stock is no count') end
local participants = redis.pcall('SCARD', participants_key)
if type(participants) ~= 'number' then return not_ready('participants is no set') end
if stock + participants ~= units then
  return not_ready('stock and participants contradict their sum')
end
local held_count = redis.pcall('HLEN', reservations_key)
if held_count ~= reservations then return not_ready('reservations contradict their number') end

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local claimed_us = time[1] .. string.format('%06d', tonumber(time[2]))
local in_window = now_us >= tonumber(ARGV[3]) and now_us < tonumber(ARGV[4])
local cap = tonumber(ARGV[2])

local letters = {}
local admitted_users = {}
local admitted = {} -- user -> request

local function decide(user, request, is_participant, reservation)
  local holder = admitted[user] or (reservation and reservation:sub(1, 36))
  if holder then return holder == request and 'P' or 'D' end
  if is_participant then return 'R' end
  if not in_window then return 'N' end
  if stock - #admitted_users <= 0 then return 'S' end
  if reservations + #admitted_users >= cap then return 'B' end
  admitted[user] = request
  admitted_users[#admitted_users + 1] = user
  return 'A'
end

for first = 5, #ARGV, 2 * CHUNK do
  local users = {}
  for i = first, math.min(first + 2 * CHUNK, #ARGV) - 1, 2 do users[#users + 1] = ARGV[i] end
  local members = redis.call('SMISMEMBER', participants_key, unpack(users))
  local held = redis.call('HMGET', reservations_key, unpack(users))
  for i, user in ipairs(users) do
    letters[#letters + 1] = decide(user, ARGV[first + 2 * i - 1], members[i] == 1, held[i])
  end
end

local number = #admitted_users
if number > 0 then
  redis.call('DECRBY', stock_key, number)
  for first = 1, number, CHUNK do
    local fields = {}
    local last = math.min(first + CHUNK - 1, number)
    for i = first, last do
      local user = admitted_users[i]
      fields[#fields + 1] = user
      fields[#fields + 1] = admitted[user] .. ':' .. claimed_us
    end
    redis.call('SADD', participants_key, unpack(admitted_users, first, last))
    redis.call('HSET', reservations_key, unpack(fields))
  end
  redis.call('HINCRBY', meta_key, 'reservations', number)
  -- An empty set or hash is no key, and so has no expiry to keep.
  if participants == 0 then redis.call('PEXPIREAT', participants_key, expires_ms) end
  if reservations == 0 then redis.call('PEXPIREAT', reservations_key, expires_ms) end
end

return table.concat(letters)
