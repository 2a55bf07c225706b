-- Remove entries; return how many there were.
--
-- KEYS: the revision and the clock; then, for each entry, its place and the counter of its bucket
-- (see put_newer.lua). ARGV: the channel of the news, the revision to tell (empty: this store's
-- own), the version of the removal, eight bytes, or empty: above all there are.
local function number(version)
    local high, low = struct.unpack('>I4I4', version)
    return high * 4294967296 + low
end

local channel, revision, version = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
if version == '' then
    local clock = redis.call('GET', KEYS[2]) or ''
    local count = #clock == 8 and math.max(micros, number(clock) + 1) or micros
    for i = 3, #KEYS, 2 do
        local last = redis.call('GET', KEYS[i + 1]) or ''
        if #last == 8 then count = math.max(count, number(last) + 1) end
    end
    version = struct.pack('>I4I4', math.floor(count / 4294967296), count % 4294967296)
    redis.call('SET', KEYS[2], version)
end
local removed, told = 0, {}
for i = 3, #KEYS, 2 do
    removed = removed + redis.call('UNLINK', KEYS[i])
    redis.call('SET', KEYS[i + 1], version)
    told[#told + 1] = string.sub(KEYS[i], #KEYS[1] + 2)
end
if removed > 0 then
    redis.call('SET', KEYS[1], micros, 'NX')
    local now = redis.call('INCR', KEYS[1])
    if revision == '' then revision = string.format('%.0f', now) end
end
if #told > 0 and revision ~= '' then
    if #told > 100 then told = {'*'} end
    redis.pcall('PUBLISH', channel, 'c - ' .. revision .. ' ' .. table.concat(told, ' '))
end
return removed
