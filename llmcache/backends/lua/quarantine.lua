-- Move an entry aside if it still holds these bytes. KEYS: the revision, the entry, the place aside.
-- ARGV: the bytes, milliseconds to keep them, the channel of the news.
local value = redis.pcall('GET', KEYS[2])
if type(value) == 'string' and string.sub(value, 9) == ARGV[1] then
    redis.call('UNLINK', KEYS[2])
    redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
    local time = redis.call('TIME')
    local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
    redis.call('SET', KEYS[1], micros, 'NX')
    if type(redis.pcall('INCR', KEYS[1])) ~= 'number' then redis.call('SET', KEYS[1], micros) end
    redis.pcall('PUBLISH', ARGV[3], 'c - - ' .. string.sub(KEYS[2], #KEYS[1] + 2))
    return 1
end
return 0
