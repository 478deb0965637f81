-- Claim a key for an owner unless another one has it, or its own run is done.
--
-- KEYS  1 the claim: "w:<owner>" while it waits or runs, "d:<owner>" when it is done
-- ARGV  1 owner  2 life of the claim in milliseconds
-- Returns what the claim is now.
local known = redis.call('GET', KEYS[1])
if known and (string.sub(known, 3) ~= ARGV[1] or string.sub(known, 1, 1) == 'd') then
    return known
end
local mine = 'w:' .. ARGV[1]
redis.call('SET', KEYS[1], mine, 'PX', ARGV[2])
return mine
