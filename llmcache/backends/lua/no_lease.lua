-- Return 1 if a lease is the caller's after all; remove what stands at its place and is none.
-- KEYS: the lease. ARGV: the caller's token.
-- A client whose reply was lost asks again, and then meets the token that it has set itself.
if redis.pcall('GET', KEYS[1]) == ARGV[1] then return 1 end
-- A lease always has an end; what has none would hold everybody up for ever.
if redis.call('PTTL', KEYS[1]) == -1 then redis.call('UNLINK', KEYS[1]) end
return 0
