-- Do the work, and if it succeeds acknowledge.  Before this stand two functions, each of KEYS and ARGV: work,
-- and settle as in settle.lua.
--
-- KEYS  1 to 3 as in settle.lua, then those of the work
-- ARGV  1 the database of the work  2 that of the messages (both empty if it is the same)
--       3 number of acknowledged tags, then these tags, then the arguments of the work
-- Returns what settle returns.
local acks = tonumber(ARGV[3])
if ARGV[1] ~= '' then
    redis.call('SELECT', ARGV[1])
end
work({unpack(KEYS, 4)}, {unpack(ARGV, 4 + acks)})
if ARGV[2] ~= '' then
    redis.call('SELECT', ARGV[2])
end
return settle(KEYS, {unpack(ARGV, 3, 3 + acks)})
