"""One look at all queues of a Redis database, in one atomic script that only reads.

Atomic, so that a message on its way from a queue to a worker is counted once. kombu's keys: a list for each
queue and priority step, and the hash `unacked` of `[message, exchange, routing key]` in JSON. Taskyard's:
the sorted set `taskyard:schedule:<queue>` by due time.

Parsing whole messages would hold up the server, so the routing key is cut off the end of each entry, and
beyond a bound of entries or bytes the rest is estimated from what was seen.
"""

PRIORITY_SUFFIXES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
"""What kombu appends to a queue's name for the priority steps 0, 3, 6 and 9."""

UNACKED = "unacked"
SCHEDULE = "taskyard:schedule:"
BINDINGS = "_kombu.binding."
PERMANENT_BINDINGS = "_kombu.binding_permanent."
BINDING_SEPARATOR = "\x06\x16"

MOST_ENTRIES = 5_000
MOST_BYTES = 8_000_000

COUNT = """
local queues, entries, bytes, keys = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), {}
local now = redis.call('TIME')
now = tonumber(now[1]) + tonumber(now[2]) / 1000000

local function length(key)
  local n = redis.pcall('LLEN', key)
  if type(n) == 'table' then return nil end
  return n
end

local function lengths(at)
  local total = 0
  for i = at, at + 3 do
    local n = length(KEYS[i])
    if n == nil then return -1 end
    total = total + n
  end
  return total
end

-- KEYS[1] is the hash of unacknowledged messages; then for each queue four lists, four lists of its dead
-- letters and its schedule.
local answer = {}
for q = 0, queues - 1 do
  local at = 2 + q * 9
  local ready = lengths(at)
  if ready >= 0 then
    local due = redis.pcall('ZCOUNT', KEYS[at + 8], '-inf', now)
    if type(due) ~= 'table' then ready = ready + due end
  end
  answer[#answer + 1] = ready
  answer[#answer + 1] = lengths(at + 4)
end

-- ARGV[4...] are the routing keys to count.
local counts = {}
for i = 4, #ARGV do counts[ARGV[i]] = 0 end
local cursor, seen, size = '0', 0, 0
if #ARGV >= 4 then
  repeat
    local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 200)
    cursor = page[1]
    for i = 2, #page[2], 2 do
      local entry = page[2][i]
      seen, size = seen + 1, size + #entry
      local routing_key = string.match(string.sub(entry, -320), ',%s*"([^"\\\\]*)"%s*%]%s*$')
      if routing_key == nil then
        local ok, parsed = pcall(cjson.decode, entry)
        if ok and type(parsed) == 'table' then routing_key = parsed[3] end
      end
      if type(routing_key) == 'string' and counts[routing_key] then
        counts[routing_key] = counts[routing_key] + 1
      end
    end
  until cursor == '0' or seen >= entries or size >= bytes
end
local scale = 1
if cursor ~= '0' and seen > 0 then scale = math.max(1, redis.call('HLEN', KEYS[1]) / seen) end
for i = 4, #ARGV do
  local n = counts[ARGV[i]]
  answer[#answer + 1] = math.ceil(n * scale)
end
return answer
"""
"""KEYS and ARGV as its comments say; answers ready and dead for each queue (-1: not a list), then the
messages in flight for each routing key."""
