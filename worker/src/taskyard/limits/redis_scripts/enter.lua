-- Take one of the slots of a key, or join its waiting line.
--
-- KEYS  1 slots: zset holder -> end of its lease (ms)  2 line: zset waiter -> when it first came (ms)
--       3 the last fencing token  4 shares that wait: zset share -> until when that is known (ms)
-- ARGV  1 how many slots  2 holder  3 waiter ("" to stay out of the line)  4 lease in milliseconds
--       5 share ("" for none); a holder of one begins with the share and byte 31  6 its patience (ms)
-- Returns {token, 0} or {0, place in the line}. Tokens ascend: they are the server's microseconds, or one
-- more than the last token where the clock has not moved on.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local limit, lease, share = tonumber(ARGV[1]), tonumber(ARGV[4]), ARGV[5]

-- Whether the free slot belongs to another share: this one has its equal part, and one that waits has less.
local function is_anothers()
    local held, shares, count = {}, {[share] = true}, 1
    local function add(name)
        if not shares[name] then
            shares[name] = true
            count = count + 1
        end
    end
    for _, holder in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
        local name = string.match(holder, '^(.-)\31') or ''
        held[name] = (held[name] or 0) + 1
        add(name)
    end
    redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now)
    local waiting = redis.call('ZRANGE', KEYS[4], 0, -1)
    for _, name in ipairs(waiting) do
        add(name)
    end
    local part = math.max(1, math.floor(limit / count))
    if (held[share] or 0) < part then
        return false
    end
    for _, name in ipairs(waiting) do
        if name ~= share and (held[name] or 0) < part then
            return true
        end
    end
    return false
end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) < limit and (share == '' or not is_anothers()) then
    redis.call('ZADD', KEYS[1], now + lease, ARGV[2])
    -- The key outlives its longest lease by a minute, so that a late renewal still finds it.
    if redis.call('PTTL', KEYS[1]) < lease + 60000 then
        redis.call('PEXPIRE', KEYS[1], lease + 60000)
    end
    redis.call('ZREM', KEYS[2], ARGV[3])
    if share ~= '' and redis.call('ZCARD', KEYS[2]) == 0 then
        redis.call('ZREM', KEYS[4], share)
    end
    local micro = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local token = math.max(micro, tonumber(redis.call('GET', KEYS[3]) or '0') + 1)
    redis.call('SET', KEYS[3], string.format('%.0f', token), 'EX', 86400)
    return {token, 0}
end
if ARGV[3] == '' then
    return {0, 0}
end
if share ~= '' then
    redis.call('ZADD', KEYS[4], now + tonumber(ARGV[6]), share)
    redis.call('PEXPIRE', KEYS[4], 3600000)
end
-- Who has not come back for an hour was revoked or has expired.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 3600000)
redis.call('ZADD', KEYS[2], 'NX', now, ARGV[3])
redis.call('PEXPIRE', KEYS[2], 3600000)
return {0, redis.call('ZRANK', KEYS[2], ARGV[3])}
