-- Store entries where nothing newer is known of; return how many were stored.
--
-- KEYS: the revision; then, for each entry, its place and the counter of its bucket.
-- ARGV: four for each entry: its version (eight bytes, big-endian; empty: now), its
-- milliseconds to live (0: for ever), its ticket, its bytes.
--
-- A counter is the version of the last change in a bucket of keys. A writer's ticket is
-- 'w': the counter must not be above its version, and becomes it. A reader that fills in
-- what it found elsewhere has for its ticket the counter as it was before it looked there:
-- it must be the same still. So neither brings back what was replaced or removed
-- meanwhile, not even where that has been evicted.

local function number(version)
    local high, low = struct.unpack('>I4I4', version)
    return high * 4294967296 + low  -- exact: versions stay below 2^53
end

local function now()
    local time = redis.call('TIME')
    local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
    return struct.pack('>I4I4', math.floor(micros / 4294967296), micros % 4294967296)
end

local stored, changed = 0, 0
for i = 1, #ARGV / 4 do
    local place, counter = KEYS[2 * i], KEYS[2 * i + 1]
    local version, ttl = ARGV[4 * i - 3], tonumber(ARGV[4 * i - 2])
    local ticket, data = ARGV[4 * i - 1], ARGV[4 * i]
    if version == '' then version = now() end
    local last = redis.call('GET', counter) or ''
    local fits = last == ticket
    if ticket == 'w' then
        fits = #last ~= 8 or number(last) <= number(version)
        if fits then redis.call('SET', counter, version) end
    end
    -- What is no string is not ours: it is overwritten.
    local old = redis.pcall('GETRANGE', place, 0, 7)
    local known = type(old) == 'string' and #old == 8
    if known and number(old) > number(version) then
        fits = false
    elseif known and not fits and ticket == 'w' then
        changed = changed + redis.call('UNLINK', place)
    end
    if fits then
        if ttl > 0 then
            redis.call('SET', place, version .. data, 'PX', ttl)
        else
            redis.call('SET', place, version .. data)
        end
        stored = stored + 1
        if known then changed = changed + 1 end
    end
end
if changed > 0 then redis.call('INCR', KEYS[1]) end
return stored
