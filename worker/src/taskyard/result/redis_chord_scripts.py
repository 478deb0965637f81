"""The steps of a chord's fan-in that must not be interleaved, in Lua.

The keys of one chord are those of Celery 5.7, so that its workers take part: results of the header (`.j`),
how many were added to the header while it ran (`.t`), its size (`.s`), which parts have come (`.d`), who
sends the body (`.c`, "done" afterwards).  Workers of Celery 5.6 and before know `.j`, `.t` and `.s` only.
Two keys more hold what a sweeper needs: when to look at which chord, and the bodies.
"""

from __future__ import annotations

#: KEYS j t s d group c due bodies; ARGV whether ordered, life of these keys, life of the group, life of a
#: claim, token, now, group id, body; then for each part task id, score, part, whether its message comes
#: again.  Returns {parts, added, size, claimed}; -1 parts if the chord is over.
PART = """
local ordered, over = ARGV[1] == '1', redis.call('GET', KEYS[6]) == 'done'
local brought = false
for at = 9, #ARGV, 4 do
    local id, score, part = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    -- A copy that comes late is of no use to a chord that is over.  A first delivery belongs to a frozen
    -- chord that is sent again, whose sender has not begun the new run in here.
    if not (over and ARGV[at + 3] == '1') then
        brought = true
        if redis.call('SADD', KEYS[4], id .. ':' .. score) == 1 then
            local known = false
            if ordered then
                -- A worker that keeps no list of parts may have had this task before it was delivered to us.
                for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], score, score)) do
                    known = known or string.find(string.sub(other, 1, #id + 16), id, 1, true) ~= nil
                end
            end
            if ordered and not known then
                redis.call('ZADD', KEYS[1], score, part)
            elseif not ordered then
                redis.call('RPUSH', KEYS[1], part)
            end
        end
    end
end
if not brought then
    return {-1, 0, 0, 0}
end
local parts
if ordered then
    parts = redis.call('ZCARD', KEYS[1])
else
    parts = redis.call('LLEN', KEYS[1])
end
local life, now = tonumber(ARGV[2]), tonumber(ARGV[6])
if life > 0 then
    for position = 1, 4 do
        redis.call('EXPIRE', KEYS[position], life)
    end
    if tonumber(ARGV[3]) > 0 then
        redis.call('EXPIRE', KEYS[5], ARGV[3])
    end
end
local added, size = redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3])
local claimed = 0
if size and parts >= tonumber(size) + tonumber(added or 0) then
    if redis.call('SET', KEYS[6], ARGV[5], 'NX', 'EX', ARGV[4]) or redis.call('GET', KEYS[6]) == ARGV[5] then
        claimed = 1
    end
    redis.call('HSET', KEYS[8], ARGV[7], ARGV[8])
    redis.call('ZADD', KEYS[7], now + ARGV[4] + 1, ARGV[7])
elseif life > 0 and redis.call('HSETNX', KEYS[8], ARGV[7], ARGV[8]) == 1 then
    redis.call('ZADD', KEYS[7], now + life / 2, ARGV[7])
end
return {parts, added or 0, size or 0, claimed}
"""

#: KEYS c s due; ARGV token, seconds, now, group id.  1 if the claim is (again) that of the token.
EXTEND = """
local owner = redis.call('GET', KEYS[1])
local ours = 0
if owner == ARGV[1] then
    ours = redis.call('EXPIRE', KEYS[1], ARGV[2])
elseif not owner and redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
    ours = 1
end
if ours == 1 then
    redis.call('ZADD', KEYS[3], 'XX', ARGV[3] + ARGV[2] + 1, ARGV[4])
end
return ours
"""

#: KEYS j t s d c due bodies; ARGV token, life of "done", group id.  The body is sent: nothing remains but
#: that fact.  1 if the claim was still that of the token.
DONE = """
if redis.call('GET', KEYS[5]) ~= ARGV[1] then
    return 0
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('SET', KEYS[5], 'done', 'EX', ARGV[2])
redis.call('ZREM', KEYS[6], ARGV[3])
redis.call('HDEL', KEYS[7], ARGV[3])
return 1
"""

#: KEYS s c due bodies; ARGV life of "done", group id.  The body will never be sent; the parts stay for those
#: who look.
FAILED = """
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], 'done', 'EX', ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('HDEL', KEYS[4], ARGV[2])
"""

#: KEYS j t s c due bodies; ARGV token, life of a claim, now, group id, margin.  What a sweeper shall do:
#: "gone", "wait", "complete" or "expires" (for both the claim is the token's), with parts and total.
SWEEP = """
local function forget()
    redis.call('ZREM', KEYS[5], ARGV[4])
    redis.call('HDEL', KEYS[6], ARGV[4])
    return {'gone', 0, 0}
end
local function look_again(seconds)
    redis.call('ZADD', KEYS[5], ARGV[3] + seconds, ARGV[4])
    return {'wait', 0, 0}
end
local claim = redis.call('GET', KEYS[4])
local kind = redis.call('TYPE', KEYS[1])['ok']
if claim == 'done' or kind == 'none' then
    return forget()
end
if claim then
    return look_again(math.max(redis.call('TTL', KEYS[4]), 0) + 1)
end
local parts
if kind == 'zset' then
    parts = redis.call('ZCARD', KEYS[1])
else
    parts = redis.call('LLEN', KEYS[1])
end
local size, life = redis.call('GET', KEYS[3]), redis.call('TTL', KEYS[1])
local total = tonumber(size or 0) + tonumber(redis.call('GET', KEYS[2]) or 0)
local verdict
if size and parts >= total then
    verdict = 'complete'
elseif life >= 0 and life <= tonumber(ARGV[5]) then
    verdict = 'expires'
elseif life < 0 then
    return look_again(3600)
else
    return look_again(math.max(life / 2, life - 3600, 1))
end
redis.call('SET', KEYS[4], ARGV[1], 'EX', ARGV[2])
redis.call('ZADD', KEYS[5], ARGV[3] + ARGV[2] + 1, ARGV[4])
return {verdict, parts, total}
"""
