-- Give up a claim of one's own.
--
-- KEYS  1 the claim
-- ARGV  1 owner
local known = redis.call('GET', KEYS[1])
if known and string.sub(known, 3) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
