-- Draw a version above all that were drawn here (see put_newer.lua); return its eight bytes.
-- KEYS: the clock.
local time = redis.call('TIME')
local count = tonumber(time[1]) * 1000000 + tonumber(time[2])
local clock = redis.pcall('GET', KEYS[1])
if type(clock) == 'string' and #clock == 8 then
    local high, low = struct.unpack('>I4I4', clock)
    local last = high * 4294967296 + low
    -- What is no version that was ever drawn is not ours.
    if last < 9007199254740992 then count = math.max(count, last + 1) end
end
local version = struct.pack('>I4I4', math.floor(count / 4294967296), count % 4294967296)
redis.call('SET', KEYS[1], version)
return version
