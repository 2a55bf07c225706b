-- Remove entries; return how many there were.
--
-- KEYS: the revision; then, for each entry, its place and the counter of its bucket (see
-- put_newer.lua). ARGV: the version of the removal, eight bytes, or empty: now.
local version = ARGV[1]
if version == '' then
    local time = redis.call('TIME')
    local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
    version = struct.pack('>I4I4', math.floor(micros / 4294967296), micros % 4294967296)
end
local removed = 0
for i = 2, #KEYS, 2 do
    removed = removed + redis.call('UNLINK', KEYS[i])
    redis.call('SET', KEYS[i + 1], version)
end
if removed > 0 then redis.call('INCR', KEYS[1]) end
return removed
