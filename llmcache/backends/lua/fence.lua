-- Draw a version above all that were drawn here (see put_newer.lua); return its eight bytes.
-- KEYS: the clock.
local time = redis.call('TIME')
local count = tonumber(time[1]) * 1000000 + tonumber(time[2])
local clock = redis.call('GET', KEYS[1]) or ''
if #clock == 8 then
    local high, low = struct.unpack('>I4I4', clock)
    count = math.max(count, high * 4294967296 + low + 1)
end
local version = struct.pack('>I4I4', math.floor(count / 4294967296), count % 4294967296)
redis.call('SET', KEYS[1], version)
return version
