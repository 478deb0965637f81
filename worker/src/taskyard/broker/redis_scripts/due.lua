-- Move messages whose time has come from the schedules to the tails of their queues, the earliest first.
--
-- KEYS  for each queue: taskyard:schedule:<queue> (zset, score = due unix seconds), then its list of each priority step
-- ARGV  1 how many messages of a queue at most  2.. the priority steps in ascending order
-- Returns how many were moved, milliseconds until the next is due (-1 = none is scheduled).
local limit, steps = tonumber(ARGV[1]), #ARGV - 1
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local moved, nearest = 0, -1

-- Reads only: what is pushed is the message's own text.
local function list_of(message, first)
    local ok, parsed = pcall(cjson.decode, message)
    local priority = ok and type(parsed) == 'table' and type(parsed.properties) == 'table'
        and tonumber(parsed.properties.priority) or 0
    local chosen = 1
    for i = 1, steps do
        if priority >= tonumber(ARGV[1 + i]) then chosen = i end
    end
    return KEYS[first + chosen]
end

for first = 1, #KEYS, steps + 1 do
    local schedule = KEYS[first]
    local messages = redis.call('ZRANGEBYSCORE', schedule, '-inf', now, 'LIMIT', 0, limit)
    for i = 1, #messages do
        redis.call('ZREM', schedule, messages[i])
        redis.call('LPUSH', list_of(messages[i], first), messages[i])
        moved = moved + 1
    end
    local next = redis.call('ZRANGE', schedule, 0, 0, 'WITHSCORES')
    if next[2] then
        local wait = math.max(0, math.ceil((tonumber(next[2]) - now) * 1000))
        if nearest < 0 or wait < nearest then nearest = wait end
    end
end
return {moved, nearest}
