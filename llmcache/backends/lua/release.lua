-- Give a lease up if it is still ours, and say so. KEYS: the lease. ARGV: our token, the channel of
-- the news, the key.
if redis.call('GET', KEYS[1]) == ARGV[1] then
    local removed = redis.call('UNLINK', KEYS[1])
    redis.pcall('PUBLISH', ARGV[2], 'f ' .. ARGV[3])
    return removed
end
return 0
