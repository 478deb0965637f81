-- Store results and announce them, unless a key holds a success already: a redelivered task must not undo it.
-- Nor does the state STARTED, which comes by way of the worker's parent, undo a state of the task's own, nor a
-- worker that was taken for lost what a later delivery of its message has stored: that says when it was taken.
--
-- KEYS  the results' keys, which are also the names of their channels
-- ARGV  1 life in seconds (0 = for ever)  2 life of failures
--       then for each result  its JSON, and its try (in 10^13) plus when its message was taken (in unix
--       milliseconds); negative if it may have been taken before: the result will say when it was this time;
--       0 for no fence. A lease lasts for seconds, so clocks may differ by one.
-- Returns how many were stored.
local stored = 0
local before_start = {PENDING = true, RECEIVED = true, STARTED = true, RETRY = true, FAILURE = true, REVOKED = true}
for i, key in ipairs(KEYS) do
    local meta, taken = ARGV[2 * i + 1], ARGV[2 * i + 2]
    local known = string.match(redis.call('GETRANGE', key, 0, 100), '^{"status": ?"([^"]*)"')
    local begins = known and known ~= 'SUCCESS' and string.find(meta, '^{"status": ?"STARTED"')
    local late = false
    if known and taken ~= '0' then
        local later = string.match(redis.call('GETRANGE', key, -40, -1), ',"taken":(%d+)}$')
        if later then
            local mine, theirs = math.abs(tonumber(taken)), tonumber(later)
            local no_later_try = math.floor(mine / 1e13) <= math.floor(theirs / 1e13)
            late = no_later_try and mine % 1e13 < theirs % 1e13 - 1000
        end
    end
    if known ~= 'SUCCESS' and not late and (not begins or before_start[known]) then
        local expires = tonumber(ARGV[1])
        if string.find(meta, '^{"status": ?"FAILURE"') then
            expires = tonumber(ARGV[2])
        end
        if string.sub(taken, 1, 1) == '-' then
            meta = string.sub(meta, 1, -2) .. ',"taken":' .. string.sub(taken, 2) .. '}'
        end
        if expires > 0 then
            redis.call('SETEX', key, expires, meta)
        else
            redis.call('SET', key, meta)
        end
        redis.call('PUBLISH', key, meta)
        stored = stored + 1
    end
end
return stored
