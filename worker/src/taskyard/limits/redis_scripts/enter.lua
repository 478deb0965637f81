-- Take one of the slots of a key, or join its waiting line.
--
-- KEYS  1 slots: zset holder -> end of its lease (ms)  2 line: zset waiter -> when it first came (ms)
--       3 the last fencing token
-- ARGV  1 how many slots  2 holder  3 waiter ("" to stay out of the line)  4 lease in milliseconds
-- Returns {token, 0} or {0, place in the line}. Tokens ascend: they are the server's microseconds, or one
-- more than the last token where the clock has not moved on.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease = tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('ZADD', KEYS[1], now + lease, ARGV[2])
    -- The key outlives its longest lease by a minute, so that a late renewal still finds it.
    if redis.call('PTTL', KEYS[1]) < lease + 60000 then
        redis.call('PEXPIRE', KEYS[1], lease + 60000)
    end
    redis.call('ZREM', KEYS[2], ARGV[3])
    local micro = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local token = math.max(micro, tonumber(redis.call('GET', KEYS[3]) or '0') + 1)
    redis.call('SET', KEYS[3], string.format('%.0f', token), 'EX', 86400)
    return {token, 0}
end
if ARGV[3] == '' then
    return {0, 0}
end
-- Who has not come back for an hour was revoked or has expired.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 3600000)
redis.call('ZADD', KEYS[2], 'NX', now, ARGV[3])
redis.call('PEXPIRE', KEYS[2], 3600000)
return {0, redis.call('ZRANK', KEYS[2], ARGV[3])}
