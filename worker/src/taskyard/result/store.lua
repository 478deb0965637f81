-- Store results and announce them, unless a key holds a success already: a redelivered task must not undo it.
-- Nor does the state STARTED, which comes by way of the worker's parent, undo a state of the task's own.
--
-- KEYS  the results' keys, which are also the names of their channels
-- ARGV  1 life in seconds (0 = for ever)  2 life of failures  3.. the JSON of each result
-- Returns how many were stored.
local stored = 0
local before_start = {PENDING = true, RECEIVED = true, STARTED = true, RETRY = true, FAILURE = true, REVOKED = true}
for i, key in ipairs(KEYS) do
    local meta = ARGV[i + 2]
    local known = string.match(redis.call('GETRANGE', key, 0, 100), '^{"status": ?"([^"]*)"')
    local begins = known and known ~= 'SUCCESS' and string.find(meta, '^{"status": ?"STARTED"')
    if known ~= 'SUCCESS' and (not begins or before_start[known]) then
        local expires = tonumber(ARGV[1])
        if string.find(meta, '^{"status": ?"FAILURE"') then
            expires = tonumber(ARGV[2])
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
