-- Take up to n messages over several queues, atomically with the record that they are being worked on.
--
-- KEYS  1 unacked (hash)  2 unacked_index (zset)  3 taskyard:workers (zset)  4 taskyard:lease:<worker> (set)
--       5.. the lists: queue 1 with all priority steps, queue 2 with all priority steps, ...
-- ARGV  1 n  2 worker id  3 number of priority steps  4 "1" = share n among the queues, "0" = in strict order
--       5.. for each queue: its name as JSON
-- Returns for each queue that gave something: its number, a JSON array of [tag, message].
--
-- unacked holds [message, exchange, routing key] as kombu.transport.redis writes it; exchange "" and the queue's
-- name make any kombu restore the message to the queue it came from.
local unacked, index, workers, lease = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local left, worker, steps, shared = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local queues = (#KEYS - 4) / steps
local got = {}
local total = 0

local function pop(queue, step, n)
    local messages = redis.call('RPOP', KEYS[4 + (queue - 1) * steps + step], n)
    if not messages then return end
    local mine = got[queue]
    if not mine then
        mine = {}
        got[queue] = mine
    end
    for i = 1, #messages do mine[#mine + 1] = messages[i] end
    left = left - #messages
    total = total + #messages
end

for step = 1, steps do
    if shared and queues > 1 then
        for queue = 1, queues do
            if left > 0 then pop(queue, step, math.ceil(left / (queues - queue + 1))) end
        end
    end
    for queue = 1, queues do
        if left > 0 then pop(queue, step, left) end
    end
end
if total == 0 then return {} end

local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])

-- The delivery tag: the only one in the text (no JSON to parse), else the one that a parser finds.
local function tag_of(message)
    local first, last = string.find(message, '"delivery_tag"', 1, true)
    if first and not string.find(message, '"delivery_tag"', last, true) then
        local tag = string.match(message, '^"delivery_tag" ?: ?"([^"\\]+)"', first)
        if tag then return tag end
    end
    local ok, parsed = pcall(cjson.decode, message)
    if ok and type(parsed) == 'table' and type(parsed.properties) == 'table' then
        local tag = parsed.properties.delivery_tag
        if type(tag) == 'string' and not string.find(tag, '["\\%c]') then return tag end
    end
end

local serial = 0
local function fresh(stem)
    serial = serial + 1
    return stem .. '~' .. now .. '-' .. serial
end

local all, names, seen = {}, {}, {}
for queue = 1, queues do
    for _, text in ipairs(got[queue] or {}) do
        local tag = tag_of(text)
        if not tag then
            -- No message of kombu's: as a JSON string it harms nobody who reads unacked.
            tag = fresh('taskyard')
            text = cjson.encode(text)
        end
        if seen[tag] then tag = fresh(tag) end
        seen[tag] = true
        all[#all + 1] = {queue = queue, tag = tag, text = text}
        names[#names + 1] = tag
    end
end

-- One publication that was routed to several queues has one tag for all its copies; unacked needs one each.
local held = redis.call('ZMSCORE', index, unpack(names))
local scores, records, reply = {}, {}, {}
local current, parts
for i = 1, #all do
    local one = all[i]
    if held[i] then
        one.tag = fresh(one.tag)
        names[i] = one.tag
    end
    -- A microsecond apart, so that whoever gives them back knows their order.
    scores[2 * i - 1], scores[2 * i] = string.format('%.6f', now + i / 1000000), one.tag
    records[2 * i - 1] = one.tag
    records[2 * i] = '[' .. one.text .. ', "", ' .. ARGV[4 + one.queue] .. ']'
    if one.queue ~= current then
        if current then reply[#reply + 1] = '[' .. table.concat(parts, ',') .. ']' end
        current, parts = one.queue, {}
        reply[#reply + 1] = current
    end
    parts[#parts + 1] = '["' .. one.tag .. '",' .. one.text .. ']'
end
reply[#reply + 1] = '[' .. table.concat(parts, ',') .. ']'
redis.call('ZADD', index, unpack(scores))
redis.call('HSET', unacked, unpack(records))
redis.call('SADD', lease, unpack(names))
redis.call('ZADD', workers, now, worker)
return reply
