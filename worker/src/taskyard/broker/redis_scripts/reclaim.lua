-- Put messages of lost workers back, each once, unless its worker has come back in the meantime.
--
-- KEYS  1 taskyard:workers (zset)  2 unacked (hash)  3 unacked_index (zset)  4.. destination lists
-- ARGV  1 seconds of silence after which a worker is lost  2 visibility timeout of consumers without a lease
--       3 what precedes a worker id in the name of its lease
--       then for each push five: worker id ("" = none), tag, "head" | "tail" | "more", number of the destination, message
--       ("more" = a further copy of the message before, pushed to the head if that one was)
-- Returns how many messages went back.
local workers, unacked, index = KEYS[1], KEYS[2], KEYS[3]
local silence, timeout, prefix = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local moved = 0
local last = false

local function release(worker, tag)
    if worker == '' then
        local score = redis.call('ZSCORE', index, tag)
        if not score or tonumber(score) > now - timeout then return false end
    else
        local beat = redis.call('ZSCORE', workers, worker)
        if beat and tonumber(beat) > now - silence then return false end
        if redis.call('SREM', prefix .. worker, tag) == 0 then return false end
    end
    redis.call('ZREM', index, tag)
    return redis.call('HDEL', unacked, tag) == 1
end

for i = 4, #ARGV, 5 do
    local kind, key, message = ARGV[i + 2], KEYS[3 + ARGV[i + 3]], ARGV[i + 4]
    if kind ~= 'more' then
        last = release(ARGV[i], ARGV[i + 1])
        if last then moved = moved + 1 end
    end
    if last then
        redis.call(kind == 'tail' and 'LPUSH' or 'RPUSH', key, message)
    end
end
return moved
