-- Prolong a lease. One that has run out and is still there was given to nobody else, so it may go on.
--
-- KEYS  1 slots: zset holder -> end of its lease (ms)
-- ARGV  1 holder  2 lease in milliseconds
-- Returns 1, or 0 if the lease is lost.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
    return 0
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease = tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], now + lease, ARGV[1])
if redis.call('PTTL', KEYS[1]) < lease + 60000 then
    redis.call('PEXPIRE', KEYS[1], lease + 60000)
end
return 1
