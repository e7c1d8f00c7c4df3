-- A gate that takes a missing stock for a new coupon's: what many systems do when their cache is
-- empty. Runs before gate_admit.lua. A server with it must fail the ledger once somebody flushes Redis.
do
  local TOTAL = 6000 -- the stock of the test's coupon
  if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('DEL', unpack(KEYS))
    redis.call('SET', KEYS[1], TOTAL)
    redis.call('HSET', KEYS[4], 'generation', ARGV[1], 'open', '1', 'units', TOTAL, 'total', TOTAL,
      'reservations', '0', 'expires_ms', '4000000000000')
  end
end

