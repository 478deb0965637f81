-- Prolong a claim of one's own, or mark it as done; a claim that ran out is made again.
--
-- KEYS  1 the claim
-- ARGV  1 owner  2 life in milliseconds  3 "1" if done
-- Returns 1, or 0 if another owner has the key.
local known = redis.call('GET', KEYS[1])
if known and string.sub(known, 3) ~= ARGV[1] then
    return 0
end
if known and ARGV[3] ~= '1' then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
    redis.call('SET', KEYS[1], (ARGV[3] == '1' and 'd:' or 'w:') .. ARGV[1], 'PX', ARGV[2])
end
return 1
