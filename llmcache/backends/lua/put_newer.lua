-- Store entries where nothing newer is known of; return how many were stored, and then the
-- numbers, from 1, of those that the fence kept out.
--
-- KEYS: the revision and the clock of the collection; then, for each entry, its place and the
-- counter of its bucket.
-- ARGV: the channel of the news, the author, the revision to tell (empty: this store's own, there
-- is no other one behind), the fence (eight bytes, or empty: none); then four for each entry: its
-- version (eight bytes, big-endian; empty: above all there are), its milliseconds to live (0: for
-- ever), its ticket, its bytes.
--
-- A counter is the version of the last change in a bucket of keys. A writer's ticket is
-- 'w': the counter must not be above its version, and becomes it; else the writer is
-- refused, and the counter goes up by one. A reader that fills in what it found elsewhere has
-- for its ticket the counter as it was before it looked there: it must be the same still. So
-- neither brings back what was replaced or removed meanwhile, not even where that has been evicted.
--
-- A writer who finds something newer leaves nothing at all: it may be slow, or the version
-- there may be damaged, or of a database that has been replaced since. Who is behind Redis
-- knows. Where nobody is, and the newer version was drawn here, it is right, and stays.
--
-- The clock is the last version that was drawn here. Versions are the server's microseconds,
-- and above that clock: they rise even where the time was set back, or another server took over.

local function number(version)
    local high, low = struct.unpack('>I4I4', version)
    return high * 4294967296 + low  -- exact: versions stay below 2^53
end

-- Whether these are a version that was ever drawn: what else is there is not ours.
local function sound(version)
    return #version == 8 and number(version) < 9007199254740992
end

-- Where something that is not ours stands in place of ours, it is overwritten.
local function text(value)
    return type(value) == 'string' and value or ''
end

local function packed(count)
    return struct.pack('>I4I4', math.floor(count / 4294967296), count % 4294967296)
end

local function micros()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function after(version, count)
    return sound(version) and math.max(count, number(version) + 1) or count
end

-- The next revision; one that was evicted begins anew at the time: it never comes to where it
-- was before.
local function raised(place)
    redis.call('SET', place, micros(), 'NX')
    local now = redis.pcall('INCR', place)
    if type(now) == 'number' then return now end
    redis.call('SET', place, micros())
    return redis.call('INCR', place)
end

local channel, author, revision, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local is_own = revision == ''
local clock = text(redis.pcall('GET', KEYS[2]))
local drawn = clock
local stored, changed, told, late = 0, 0, {}, {}
for i = 1, (#ARGV - 4) / 4 do
    local place, counter = KEYS[2 * i + 1], KEYS[2 * i + 2]
    local version, ttl = ARGV[4 * i + 1], tonumber(ARGV[4 * i + 2])
    local ticket, data = ARGV[4 * i + 3], ARGV[4 * i + 4]
    local last = text(redis.pcall('GET', counter))
    local old = text(redis.pcall('GETRANGE', place, 0, 7))
    if #fence == 8 and sound(old) and number(old) > number(fence) then
        -- The next fence is above what kept this one out, whatever became of the clock.
        drawn = packed(after(old, after(drawn, 0)))
        late[#late + 1] = i
    else
        if version == '' then
            version = packed(after(old, after(last, after(drawn, micros()))))
            drawn = version
        end
        local fits = last == ticket
        if ticket == 'w' then
            fits = not sound(last) or number(last) <= number(version)
            redis.call('SET', counter, fits and version or packed(number(last) + 1))
            told[#told + 1] = string.sub(place, #KEYS[1] + 2)
        end
        local known = #old == 8
        local newer = sound(old) and number(old) > number(version)
        local stays = newer and is_own and sound(drawn) and number(old) <= number(drawn)
        if known and ticket == 'w' and (newer or not fits) and not stays then
            changed = changed + redis.call('UNLINK', place)
        end
        if fits and not newer then
            if ttl > 0 then
                redis.call('SET', place, version .. data, 'PX', ttl)
            else
                redis.call('SET', place, version .. data)
            end
            stored = stored + 1
            if known then changed = changed + 1 end
        end
    end
end
if drawn ~= clock then redis.call('SET', KEYS[2], drawn) end
if changed > 0 then
    local now = raised(KEYS[1])
    if revision == '' then revision = string.format('%.0f', now) end
end
if revision == '' then revision = '-' end
-- Who may not publish may still store: readers then have the revision to go by.
if #told > 0 then
    redis.pcall('PUBLISH', channel, 'c ' .. author .. ' ' .. revision .. ' ' .. table.concat(told, ' '))
end
return {stored, unpack(late)}
