-- Remove entries; return how many there were.
--
-- KEYS: the revision; then, for each entry, its place and the counter of its bucket (see
-- put_newer.lua). ARGV: the version of the removal, eight bytes, or empty: now.
--
-- Every counter changes, so that no slow reader brings an entry back, and none goes down,
-- so that no slow writer does.

local function packed(number)
    return struct.pack('>I4I4', math.floor(number / 4294967296), number % 4294967296)
end

local function number(version)
    local high, low = struct.unpack('>I4I4', version)
    return high * 4294967296 + low
end

local version = ARGV[1]
if version == '' then
    local time = redis.call('TIME')
    version = packed(tonumber(time[1]) * 1000000 + tonumber(time[2]))
end
local removed = 0
for i = 2, #KEYS, 2 do
    removed = removed + redis.call('UNLINK', KEYS[i])
    local last = redis.pcall('GET', KEYS[i + 1])
    local known = type(last) == 'string' and #last == 8 and number(last) < 2^53
    if known and number(last) >= number(version) then
        redis.call('SET', KEYS[i + 1], packed(number(last) + 1))
    else
        redis.call('SET', KEYS[i + 1], version)
    end
end
if removed > 0 and type(redis.pcall('INCR', KEYS[1])) ~= 'number' then
    redis.call('SET', KEYS[1], redis.call('TIME')[1])
end
return removed
