-- Take a token of a bucket, at once or by booking the moment when it will be there (GCRA).
--
-- KEYS  1 the bucket: the moment (us) when it will be full again  2 bookings: zset taker -> its moment (us)
-- ARGV  1 microseconds for one token  2 tokens that the full bucket holds  3 taker
--       4 longest wait in microseconds (-1: any); a longer one takes nothing
-- Returns the microseconds to wait; 0 means that the token is taken.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local booked = redis.call('ZSCORE', KEYS[2], ARGV[3])
if booked then
    if tonumber(booked) <= now then
        redis.call('ZREM', KEYS[2], ARGV[3])
        return 0
    end
    return tonumber(booked) - now
end
local interval = tonumber(ARGV[1])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local at = full - (tonumber(ARGV[2]) - 1) * interval
local longest = tonumber(ARGV[4])
if longest >= 0 and at - now > longest then
    return at - now
end
full = full + interval
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1000)
if at <= now then
    return 0
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - 3600000000))
redis.call('ZADD', KEYS[2], string.format('%.0f', at), ARGV[3])
redis.call('PEXPIRE', KEYS[2], math.ceil((at - now) / 1000) + 3600000)
return at - now
