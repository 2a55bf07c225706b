-- Remove what stands at a lease's place and is none. KEYS: the lease.
-- A lease always has an end; what has none would hold everybody up for ever.
if redis.call('PTTL', KEYS[1]) == -1 then return redis.call('UNLINK', KEYS[1]) end
return 0
