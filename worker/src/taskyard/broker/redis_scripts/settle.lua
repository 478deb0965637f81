-- Settle messages that a worker took: acknowledge them, or move each to another place.
--
-- KEYS  1 unacked (hash)  2 unacked_index (zset)  3 taskyard:lease:<worker> (set)  4.. destinations
-- ARGV  1 number of acknowledged tags, then these tags
--       then for each move five: tag, "head" | "tail" | "due", number of the destination key, score, message
--       ("head" and "tail" of a list: kombu pushes left and pops right; "due" = zset with the score)
-- Returns how many tags were no longer the worker's: nothing was done for these.
local unacked, index, lease = KEYS[1], KEYS[2], KEYS[3]
local acks = tonumber(ARGV[1])
local lost = 0

if acks > 0 then
    local owned = redis.call('SMISMEMBER', lease, unpack(ARGV, 2, 1 + acks))
    local mine, count = {}, 0
    for i = 1, acks do
        if owned[i] == 1 then
            count = count + 1
            mine[count] = ARGV[1 + i]
        end
    end
    lost = acks
    if count > 0 then
        redis.call('SREM', lease, unpack(mine))
        redis.call('ZREM', index, unpack(mine))
        lost = acks - redis.call('HDEL', unacked, unpack(mine))
    end
end

for i = 2 + acks, #ARGV, 5 do
    local tag, kind, key, score, message = ARGV[i], ARGV[i + 1], KEYS[3 + ARGV[i + 2]], ARGV[i + 3], ARGV[i + 4]
    if redis.call('SREM', lease, tag) == 1 and redis.call('HDEL', unacked, tag) == 1 then
        redis.call('ZREM', index, tag)
        if kind == 'due' then
            redis.call('ZADD', key, score, message)
        elseif kind == 'head' then
            redis.call('RPUSH', key, message)
        else
            redis.call('LPUSH', key, message)
        end
    else
        lost = lost + 1
    end
end
return lost
