-- A worker leaves: its beat goes, and its lease if it holds nothing.
--
-- KEYS  1 taskyard:workers (zset)  2 taskyard:lease:<worker> (set)
-- ARGV  1 worker id
-- Returns how many tags it still holds; then it stays known with a beat of long ago, so that anybody reclaims them.
local held = redis.call('SCARD', KEYS[2])
if held == 0 then
    redis.call('ZREM', KEYS[1], ARGV[1])
else
    redis.call('ZADD', KEYS[1], 0, ARGV[1])
end
return held
