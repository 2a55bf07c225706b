-- Move an entry aside if it still holds these bytes. KEYS: the revision, the entry, the place aside.
-- ARGV: the bytes, milliseconds to keep them.
local value = redis.call('GET', KEYS[2])
if value and string.sub(value, 9) == ARGV[1] then
    redis.call('UNLINK', KEYS[2])
    redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
    if type(redis.pcall('INCR', KEYS[1])) ~= 'number' then
        redis.call('SET', KEYS[1], redis.call('TIME')[1])
    end
    return 1
end
return 0
