-- Store entries where nothing newer is known of; return how many were stored.
--
-- KEYS: the revision; then, for each entry, its place and the counter of its bucket.
-- ARGV: four for each entry: its version (eight bytes, big-endian; empty: now), its
-- milliseconds to live (0: for ever), its ticket, its bytes.
--
-- A counter is the version of the last change in a bucket of keys. A writer's ticket is
-- 'w': the counter must not be above its version, and becomes it; else the writer is
-- refused, and the counter goes up by one. A reader that fills in
-- what it found elsewhere has for its ticket the counter as it was before it looked there:
-- it must be the same still. So neither brings back what was replaced or removed
-- meanwhile, not even where that has been evicted.
--
-- A writer who finds something newer leaves nothing at all: it may be slow, or the version
-- there may be damaged, or of a database that has been replaced since. Who is behind Redis
-- knows.

local function number(version)
    local high, low = struct.unpack('>I4I4', version)
    return high * 4294967296 + low  -- exact: versions stay below 2^53
end

-- Where something that is not ours stands in place of ours, it is overwritten.
local function text(value)
    return type(value) == 'string' and value or ''
end

local function packed(number)
    return struct.pack('>I4I4', math.floor(number / 4294967296), number % 4294967296)
end

local function now()
    local time = redis.call('TIME')
    return packed(tonumber(time[1]) * 1000000 + tonumber(time[2]))
end

local stored, changed = 0, 0
for i = 1, #ARGV / 4 do
    local place, counter = KEYS[2 * i], KEYS[2 * i + 1]
    local version, ttl = ARGV[4 * i - 3], tonumber(ARGV[4 * i - 2])
    local ticket, data = ARGV[4 * i - 1], ARGV[4 * i]
    if version == '' then version = now() end
    local last = text(redis.pcall('GET', counter))
    local fits = last == ticket
    if ticket == 'w' then
        fits = #last ~= 8 or number(last) <= number(version) or number(last) >= 2^53
        redis.call('SET', counter, fits and version or packed(number(last) + 1))
    end
    local old = text(redis.pcall('GETRANGE', place, 0, 7))
    local known = #old == 8
    local newer = known and number(old) > number(version)
    if known and ticket == 'w' and (newer or not fits) then
        changed = changed + redis.call('UNLINK', place)
    end
    fits = fits and not newer
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
if changed > 0 and type(redis.pcall('INCR', KEYS[1])) ~= 'number' then
    redis.call('SET', KEYS[1], redis.call('TIME')[1])
end
return stored
