-- How the tables shrink: in batches, each a statement that locks what it removes and nothing else.
-- What somebody else has locked is left out: nobody waits, and nobody can wait in a circle.
-- $1 is a collection, or null for all.

-- name: pages
-- How many pages the table has, or its largest partition.
SELECT coalesce(max(pg_relation_size(oid)), 0) / current_setting('block_size')::bigint
FROM pg_class
WHERE oid = 'llmcache.entries'::regclass
   OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'llmcache.entries'::regclass);

-- name: totals
-- $2, $3: from this place in the table (or each partition) to before that one.
SELECT count(*) AS entries, coalesce(sum(octet_length(data)), 0)::bigint AS bytes
FROM llmcache.entries
WHERE ctid >= $2::tid AND ctid < $3::tid AND ($1::text IS NULL OR collection = $1);

-- name: expire
-- $2: how many at most; $3: none that was to be dropped earlier. The clock is the database's.
WITH gone AS (
    DELETE FROM llmcache.entries AS e
    USING (
        SELECT collection, key FROM llmcache.entries
        WHERE keep_until >= $3 AND keep_until <= extract(epoch FROM now())::float8
          AND ($1::text IS NULL OR collection = $1)
        ORDER BY keep_until
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ) AS late
    WHERE e.collection = late.collection AND e.key = late.key
    RETURNING e.collection, e.key, e.keep_until, octet_length(e.data) AS size
), forgotten AS (
    DELETE FROM llmcache.uses AS u USING (
        SELECT collection, key FROM llmcache.uses JOIN gone USING (collection, key)
        ORDER BY collection, key
        FOR UPDATE OF uses
    ) AS f
    WHERE u.collection = f.collection AND u.key = f.key
)
SELECT count(*) AS entries, coalesce(sum(size), 0)::bigint AS bytes, max(keep_until) AS reached
FROM gone;

-- name: stored_first
-- The entries in the order in which they were stored, and whether they were used since.
-- $2, $3, $4: after this moment, collection and key; $5: how many.
SELECT e.*, u.used IS NOT NULL AS used
FROM (
    SELECT collection, key, version, octet_length(data) AS size, stored_at AS at
    FROM llmcache.entries
    WHERE stored_at >= $2::timestamptz
      AND (stored_at, collection, key) > ($2::timestamptz, $3::text, $4::text)
      AND ($1::text IS NULL OR collection = $1)
    ORDER BY stored_at, collection, key
    LIMIT $5
) AS e LEFT JOIN LATERAL (
    -- With a limit, which has no other effect: all uses are never read for one batch.
    SELECT true AS used FROM llmcache.uses AS u
    WHERE u.collection = e.collection AND u.key = e.key
    LIMIT 1
) AS u ON true
ORDER BY at, collection, key;

-- name: used_first
-- Those that were used, the one whose last use is longest ago first. Parameters as above.
SELECT u.collection, u.key, e.version, octet_length(e.data) AS size, u.used_at AS at, false AS used
FROM (
    SELECT collection, key, used_at
    FROM llmcache.uses
    WHERE used_at >= $2::timestamptz
      AND (used_at, collection, key) > ($2::timestamptz, $3::text, $4::text)
      AND ($1::text IS NULL OR collection = $1)
    ORDER BY used_at, collection, key
    LIMIT $5
) AS u LEFT JOIN LATERAL (
    SELECT version, data FROM llmcache.entries AS e
    WHERE e.collection = u.collection AND e.key = u.key
    LIMIT 1
) AS e ON true
ORDER BY at, u.collection, u.key;

-- name: evict
-- $1: collections, $2: keys, $3: versions. What was written anew meanwhile stays.
WITH gone AS (
    DELETE FROM llmcache.entries AS e
    USING (
        SELECT e.collection, e.key FROM llmcache.entries AS e
        JOIN unnest($1::text[], $2::text[], $3::bigint[]) AS t (collection, key, version)
            USING (collection, key, version)
        ORDER BY e.collection, e.key
        FOR UPDATE OF e SKIP LOCKED
    ) AS old
    WHERE e.collection = old.collection AND e.key = old.key
    RETURNING e.collection, e.key, octet_length(e.data) AS size
), forgotten AS (
    DELETE FROM llmcache.uses AS u USING (
        SELECT collection, key FROM llmcache.uses JOIN gone USING (collection, key)
        ORDER BY collection, key
        FOR UPDATE OF uses
    ) AS f
    WHERE u.collection = f.collection AND u.key = f.key
)
SELECT count(*) AS entries, coalesce(sum(size), 0)::bigint AS bytes FROM gone;

-- name: sweep
-- Entries set aside more than a week ago. $2: how many at most.
WITH gone AS (
    DELETE FROM llmcache.quarantine AS q
    USING (
        SELECT number FROM llmcache.quarantine
        WHERE set_aside_at < now() - interval '7 days' AND ($1::text IS NULL OR collection = $1)
        ORDER BY number
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE q.number = old.number
    RETURNING octet_length(q.data) AS size
)
SELECT count(*) AS entries, coalesce(sum(size), 0)::bigint AS bytes FROM gone;
