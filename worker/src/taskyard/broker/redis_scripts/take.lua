-- Take up to n messages over several queues, atomically with the record that they are being worked on.
--
-- KEYS  1 unacked (hash)  2 unacked_index (zset)  3 taskyard:workers (zset)  4 taskyard:lease:<worker> (set)
--       5.. the lists: queue 1 with all priority steps, queue 2 with all priority steps, ...
-- ARGV  1 n  2 worker id  3 number of priority steps  4 "1" = share n among the queues, "0" = in strict order
--       5 enough bytes of long messages  6.. for each queue: its name as JSON
-- Returns for each queue that gave something: its number, the tags with "\n" between them, the messages.
--
-- unacked holds [message, exchange, routing key] as kombu.transport.redis writes it; exchange "" and the queue's
-- name make any kombu restore the message to the queue it came from.
local unacked, index, workers, lease = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local left, worker, steps, shared = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local queues = (#KEYS - 4) / steps
local got = {}
local total, bytes, most = 0, 0, tonumber(ARGV[5])

-- Long messages one by one, since a long reply within a script costs more than its share, and no more of them
-- than `most` bytes.
local function pop(queue, step, n)
    local list, mine = KEYS[4 + (queue - 1) * steps + step], got[queue]
    local wanted = 1
    while n > 0 do
        local messages = redis.call('RPOP', list, math.min(wanted, n))
        if not messages then return end
        if not mine then
            mine = {}
            got[queue] = mine
        end
        local before, count = #mine, #messages
        for i = 1, count do mine[before + i] = messages[i] end
        n, left, total = n - count, left - count, total + count
        local size = #messages[count]
        if size > 10000 then
            bytes = bytes + count * size
            if bytes >= most then
                left = 0
                return
            end
            wanted = 1
        else
            wanted = n
        end
    end
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
local seconds = tonumber(now)
local find, sub, match = string.find, string.sub, string.match

local serial = 0
local function fresh(stem)
    serial = serial + 1
    return stem .. '~' .. now .. '-' .. serial
end

-- Where the next "delivery_tag" is: by a part of it that begins with what is rare in messages.
local function mark(message, from)
    while true do
        local first, last = find(message, '_tag"', from, true)
        if not first or sub(message, first - 9, first - 1) == '"delivery' then return last end
        from = last
    end
end

-- The delivery tag: the only one in the text (no JSON to parse), else the one that a parser finds.
local function tag_of(message)
    local last = mark(message, 1)
    if last and not mark(message, last) then
        local tag = match(message, '^ ?: ?"([^"\\%c\128-\255]+)"', last + 1)
        if tag then return tag end
    end
    local ok, parsed = pcall(cjson.decode, message)
    if ok and type(parsed) == 'table' and type(parsed.properties) == 'table' then
        local tag = parsed.properties.delivery_tag
        if type(tag) == 'string' then
            if find(tag, '^[^"\\%c\128-\255]+$') then return tag end
            return fresh('taskyard')
        end
    end
end

local names, seen = {}, {}
local count = 0
for queue = 1, queues do
    local mine = got[queue]
    for i = 1, mine and #mine or 0 do
        local tag = tag_of(mine[i])
        if not tag then
            -- No message of kombu's: as a JSON string it harms nobody who reads unacked.
            tag = fresh('taskyard')
            mine[i] = cjson.encode(mine[i])
        end
        if seen[tag] then tag = fresh(tag) end
        seen[tag] = true
        count = count + 1
        names[count] = tag
    end
end

-- One publication that was routed to several queues has one tag for all its copies; unacked needs one each.
local held = redis.call('ZMSCORE', index, unpack(names))
local scores, records, reply = {}, {}, {}
local at, parts = 0, 0
for queue = 1, queues do
    local mine = got[queue]
    if mine then
        local before, ending = at, ', "", ' .. ARGV[5 + queue] .. ']'
        for i = 1, #mine do
            at = at + 1
            local tag = names[at]
            if held[at] then
                tag = fresh(tag)
                names[at] = tag
            end
            -- A microsecond apart, so that whoever gives them back knows their order.
            scores[2 * at - 1], scores[2 * at] = string.format('%.6f', seconds + at / 1000000), tag
            records[2 * at - 1], records[2 * at] = tag, '[' .. mine[i] .. ending
        end
        reply[parts + 1], reply[parts + 2], reply[parts + 3] = queue, table.concat(names, '\n', before + 1, at), mine
        parts = parts + 3
    end
end
redis.call('ZADD', index, unpack(scores))
redis.call('HSET', unacked, unpack(records))
redis.call('SADD', lease, unpack(names))
redis.call('ZADD', workers, now, worker)
return reply
