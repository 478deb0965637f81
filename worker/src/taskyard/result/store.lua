-- Store results and announce them, unless a key holds a success already: a redelivered task must not undo it.
--
-- KEYS  the results' keys, which are also the names of their channels
-- ARGV  1 life in seconds (0 = for ever)  2 life of failures  3.. the JSON of each result
-- Returns how many were stored.
local stored = 0
for i, key in ipairs(KEYS) do
    local meta = ARGV[i + 2]
    local known = redis.call('GETRANGE', key, 0, 20)
    if not string.find(known, '^{"status": ?"SUCCESS"') then
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
