-- A sign of life; with renewal no kombu restores what this worker holds, however short its visibility timeout.
--
-- KEYS  1 taskyard:workers (zset)  2 taskyard:lease:<worker> (set)  3 unacked_index (zset)
-- ARGV  1 worker id  2 "1" = renew the scores of all tags of the lease  3 seconds of silence that are noticed
-- Returns 1, or 0 when the worker was not known (it is new, or others have taken it for dead); how many are known;
--         some of those that have been silent for so long.
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
if ARGV[2] == '1' then
    local tags = redis.call('SMEMBERS', KEYS[2])
    for first = 1, #tags, 1000 do
        local scores = {}
        for i = first, math.min(first + 999, #tags) do
            scores[#scores + 1] = now
            scores[#scores + 1] = tags[i]
        end
        redis.call('ZADD', KEYS[3], 'XX', unpack(scores))
    end
end
local before = string.format('(%.6f', now - tonumber(ARGV[3]))
return {known and 1 or 0, redis.call('ZCARD', KEYS[1]), redis.call('ZRANGEBYSCORE', KEYS[1], 1, before, 'LIMIT', 0, 100)}
