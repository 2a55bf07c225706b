-- Remove entries; return how many there were.
--
-- KEYS: the revision and the clock; then, for each entry, its place and the counter of its bucket
-- (see put_newer.lua). ARGV: the channel of the news, the revision to tell (empty: this store's
-- own), the version of the removal, eight bytes, or empty: above all there are.
--
-- Every counter changes, so that no slow reader brings an entry back, and none goes down,
-- so that no slow writer does.
--
-- A server whose memory is full refuses every script that begins with a SET, and lets one that has
-- removed something go on: so that comes first.

local function packed(count)
    return struct.pack('>I4I4', math.floor(count / 4294967296), count % 4294967296)
end

local function number(version)
    local high, low = struct.unpack('>I4I4', version)
    return high * 4294967296 + low
end

-- Return the number of the version at a place; 0, where none of ours is.
local function at(place)
    local version = redis.pcall('GET', place)
    if type(version) ~= 'string' or #version ~= 8 then return 0 end
    return number(version) < 9007199254740992 and number(version) or 0
end

local channel, revision, drawn = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local removed, told = 0, {}
for i = 3, #KEYS, 2 do
    removed = removed + redis.call('UNLINK', KEYS[i])
    told[#told + 1] = string.sub(KEYS[i], #KEYS[1] + 2)
end
local version
if drawn == '' then
    version = math.max(micros, at(KEYS[2]) + 1)
    for i = 3, #KEYS, 2 do version = math.max(version, at(KEYS[i + 1]) + 1) end
    redis.call('SET', KEYS[2], packed(version))
else
    version = number(drawn)
end
for i = 3, #KEYS, 2 do
    redis.call('SET', KEYS[i + 1], packed(math.max(version, at(KEYS[i + 1]) + 1)))
end
if removed > 0 then
    redis.call('SET', KEYS[1], micros, 'NX')
    local now = redis.pcall('INCR', KEYS[1])
    if type(now) ~= 'number' then
        redis.call('SET', KEYS[1], micros)
        now = redis.call('INCR', KEYS[1])
    end
    if revision == '' then revision = string.format('%.0f', now) end
end
if #told > 0 and revision ~= '' then
    if #told > 100 then told = {'*'} end
    redis.pcall('PUBLISH', channel, 'c - ' .. revision .. ' ' .. table.concat(told, ' '))
end
return removed
