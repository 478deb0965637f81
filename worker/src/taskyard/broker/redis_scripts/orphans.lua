-- Look for messages whose worker is lost. Changes nothing but the books of workers that hold nothing.
--
-- KEYS  1 taskyard:workers (zset)  2 unacked (hash)  3 unacked_index (zset)
-- ARGV  1 seconds of silence after which a worker is lost  2 visibility timeout of consumers without a lease
--       3 how many messages at most  4 what precedes a worker id in the name of its lease
-- Returns for each message: worker id ("" = none, the visibility timeout is over), tag, record of unacked.
-- The leases are found by name, not declared: Redis Cluster is not supported, as by kombu.
local workers, unacked, index = KEYS[1], KEYS[2], KEYS[3]
local limit, prefix = tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local out = {}
local count = 0

local function add(worker, tag)
    local record = redis.call('HGET', unacked, tag)
    if not record then return false end
    out[#out + 1], out[#out + 2], out[#out + 3] = worker, tag, record
    count = count + 1
    return true
end

-- The latest taken come first: each next one goes back before them.
local function latest(lease, n)
    if redis.call('SCARD', lease) > 1000 then return redis.call('SRANDMEMBER', lease, n) end
    local tags = redis.call('SMEMBERS', lease)
    if #tags < 2 then return tags end
    local scores = redis.call('ZMSCORE', index, unpack(tags))
    local rank = {}
    for i = 1, #tags do rank[tags[i]] = tonumber(scores[i] or 0) end
    table.sort(tags, function(a, b) return rank[a] > rank[b] end)
    local first = {}
    for i = 1, math.min(n, #tags) do first[i] = tags[i] end
    return first
end

for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', now - tonumber(ARGV[1]))) do
    local lease = prefix .. worker
    if count < limit then
        for _, tag in ipairs(latest(lease, limit - count)) do
            if not add(worker, tag) then redis.call('SREM', lease, tag) end
        end
    end
    if redis.call('EXISTS', lease) == 0 then redis.call('ZREM', workers, worker) end
end
if count < limit then
    local overdue = redis.call('ZRANGEBYSCORE', index, '-inf', now - tonumber(ARGV[2]), 'LIMIT', 0, limit - count)
    for _, tag in ipairs(overdue) do
        if not add('', tag) then redis.call('ZREM', index, tag) end
    end
end
return out
