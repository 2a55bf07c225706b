-- Store entries where nothing newer is known of; return how many were stored, and then the
-- numbers, from 1, of those that the fence kept out.
--
-- KEYS: the revision and the clock of the collection; then, for each entry, its place and the
-- counter of its bucket.
-- ARGV: the channel of the news, the author, the revision to tell (empty: this store's own), the
-- fence (eight bytes, or empty: none); then four for each entry: its version (eight bytes,
-- big-endian; empty: above all there are), its milliseconds to live (0: for ever), its ticket,
-- its bytes.
--
-- A counter is the version of the last change in a bucket of keys. A writer's ticket is
-- 'w': the counter must not be above its version, and becomes it. A reader that fills in
-- what it found elsewhere has for its ticket the counter as it was before it looked there:
-- it must be the same still. So neither brings back what was replaced or removed
-- meanwhile, not even where that has been evicted.
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

local channel, author, revision, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local clock = redis.call('GET', KEYS[2]) or ''
local drawn = clock
local stored, changed, told, late = 0, 0, {}, {}
for i = 1, (#ARGV - 4) / 4 do
    local place, counter = KEYS[2 * i + 1], KEYS[2 * i + 2]
    local version, ttl = ARGV[4 * i + 1], tonumber(ARGV[4 * i + 2])
    local ticket, data = ARGV[4 * i + 3], ARGV[4 * i + 4]
    local last = redis.call('GET', counter) or ''
    -- What is no entry of ours is overwritten.
    local old = redis.pcall('GETRANGE', place, 0, 7)
    if type(old) ~= 'string' then old = '' end
    local known = sound(old)
    if known and #fence == 8 and number(old) > number(fence) then
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
            if fits then redis.call('SET', counter, version) end
            told[#told + 1] = string.sub(place, #KEYS[1] + 2)
        end
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
end
if drawn ~= clock then redis.call('SET', KEYS[2], drawn) end
if changed > 0 then
    -- One that was evicted begins anew at the time: it never comes to where it was before.
    redis.call('SET', KEYS[1], micros(), 'NX')
    local now = redis.call('INCR', KEYS[1])
    if revision == '' then revision = string.format('%.0f', now) end
end
if revision == '' then revision = '-' end
-- Who may not publish may still store: readers then have the revision to go by.
if #told > 0 then
    redis.pcall('PUBLISH', channel, 'c ' .. author .. ' ' .. revision .. ' ' .. table.concat(told, ' '))
end
return {stored, unpack(late)}
