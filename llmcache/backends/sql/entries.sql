-- What the Postgres backend asks, by name. $1 is the collection where nothing else is said.

-- name: get
SELECT key, data FROM llmcache.entries WHERE collection = $1 AND key = ANY($2::text[]);

-- name: get_versions
-- How long an entry may still stay is told in seconds: the reader's clock may be another.
SELECT key, data, version, keep_until - extract(epoch FROM now())::float8 AS seconds_left
FROM llmcache.entries WHERE collection = $1 AND key = ANY($2::text[]);

-- name: put
-- $7: seconds from now on, which is the database's; $8: the fence: what has a version above it
-- stays, and is not among the rows returned; null: everything is replaced.
-- Sorted, so that two batches lock the rows they share in the same order.
WITH put AS (
    INSERT INTO llmcache.entries AS e
        (collection, key, data, model, tags, created_at, keep_until)
    SELECT $1, t.key, t.data, t.model,
           ARRAY(SELECT jsonb_array_elements_text(t.tags::jsonb)), t.created_at,
           t.seconds_left + extract(epoch FROM now())::float8
    FROM unnest($2::text[], $3::bytea[], $4::text[], $5::text[], $6::float8[], $7::float8[])
        AS t (key, data, model, tags, created_at, seconds_left)
    ORDER BY t.key
    ON CONFLICT (collection, key) DO UPDATE SET
        data = excluded.data,
        model = excluded.model,
        tags = excluded.tags,
        created_at = excluded.created_at,
        keep_until = excluded.keep_until,
        stored_at = now(),
        -- Drawn once the row is ours: the last writer has the highest.
        version = nextval('llmcache.versions')
    WHERE $8::bigint IS NULL OR e.version <= $8
    RETURNING e.key, e.version, e.xmax <> 0 AS replaced
), forgotten AS (
    DELETE FROM llmcache.uses AS u USING put
    WHERE put.replaced AND u.collection = $1 AND u.key = put.key
), changed AS (
    INSERT INTO llmcache.revisions AS r (collection, revision)
    SELECT $1, 1 FROM put WHERE put.replaced LIMIT 1
    ON CONFLICT (collection) DO UPDATE SET revision = r.revision + 1
    RETURNING revision
)
SELECT key, version, (SELECT revision FROM changed) AS revision FROM put;

-- name: clock
SELECT extract(epoch FROM clock_timestamp())::float8;

-- name: fence
SELECT nextval('llmcache.versions');

-- name: delete
WITH gone AS (
    DELETE FROM llmcache.entries WHERE collection = $1 AND key = ANY($2::text[]) RETURNING key
), forgotten AS (
    DELETE FROM llmcache.uses AS u USING gone WHERE u.collection = $1 AND u.key = gone.key
), changed AS (
    INSERT INTO llmcache.revisions AS r (collection, revision)
    SELECT $1, 1 FROM gone LIMIT 1
    ON CONFLICT (collection) DO UPDATE SET revision = r.revision + 1
    RETURNING revision
)
-- The version is drawn when the rows are ours: it is above all that they had.
SELECT count(*) AS removed, nextval('llmcache.versions') AS version,
       (SELECT revision FROM changed) AS revision
FROM gone;

-- name: scan
-- $1, $2: after this collection and key; $3: how many.
SELECT e.collection, e.key, octet_length(e.data) AS size,
       extract(epoch FROM coalesce(u.used_at, e.stored_at))::float8 AS used_at,
       coalesce(u.uses, 0) AS uses
FROM llmcache.entries AS e LEFT JOIN llmcache.uses AS u USING (collection, key)
WHERE (e.collection, e.key) > ($1, $2)
ORDER BY e.collection, e.key
LIMIT $3;

-- name: scan_collection
-- $2: after this key; $3: how many.
SELECT e.collection, e.key, octet_length(e.data) AS size,
       extract(epoch FROM coalesce(u.used_at, e.stored_at))::float8 AS used_at,
       coalesce(u.uses, 0) AS uses
FROM llmcache.entries AS e LEFT JOIN llmcache.uses AS u USING (collection, key)
WHERE e.collection = $1 AND e.key > $2
ORDER BY e.key
LIMIT $3;

-- name: touch
INSERT INTO llmcache.uses AS u (collection, key, used_at, uses)
SELECT $1, e.key, now(), t.uses
FROM unnest($2::text[], $3::bigint[]) AS t (key, uses)
JOIN llmcache.entries AS e ON e.collection = $1 AND e.key = t.key
ORDER BY e.key
ON CONFLICT (collection, key) DO UPDATE SET
    used_at = greatest(u.used_at, excluded.used_at),
    uses = u.uses + excluded.uses;

-- name: revision
SELECT revision FROM llmcache.revisions WHERE collection = $1;

-- name: quarantine
WITH gone AS (
    DELETE FROM llmcache.entries
    WHERE collection = $1 AND key = $2 AND data = $3
    RETURNING collection, key, data
), changed AS (
    INSERT INTO llmcache.revisions AS r (collection, revision)
    SELECT collection, 1 FROM gone
    ON CONFLICT (collection) DO UPDATE SET revision = r.revision + 1
)
INSERT INTO llmcache.quarantine (collection, key, data) SELECT collection, key, data FROM gone;

-- name: dictionaries
SELECT data FROM llmcache.dictionaries WHERE collection = $1 ORDER BY number;

-- name: put_dictionary
INSERT INTO llmcache.dictionaries (collection, data) VALUES ($1, $2);

-- name: stats
SELECT e.collection, count(*) AS entries, sum(octet_length(e.data))::bigint AS bytes,
       extract(epoch FROM min(coalesce(u.used_at, e.stored_at)))::float8 AS oldest,
       extract(epoch FROM max(coalesce(u.used_at, e.stored_at)))::float8 AS newest
FROM llmcache.entries AS e LEFT JOIN llmcache.uses AS u USING (collection, key)
GROUP BY e.collection;

-- name: quarantined
SELECT count(*) FROM llmcache.quarantine;

-- name: totals
-- $1: a collection, or null for all.
SELECT count(*) AS entries, coalesce(sum(octet_length(data)), 0)::bigint AS bytes
FROM llmcache.entries WHERE $1::text IS NULL OR collection = $1;

-- name: expire
-- $1: a collection, or null for all; $2: how many at most. The clock is the database's.
WITH gone AS (
    DELETE FROM llmcache.entries AS e
    USING (
        SELECT collection, key FROM llmcache.entries
        WHERE keep_until <= extract(epoch FROM now())::float8 AND ($1::text IS NULL OR collection = $1)
        ORDER BY keep_until
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ) AS late
    WHERE e.collection = late.collection AND e.key = late.key
    RETURNING e.collection, e.key, octet_length(e.data) AS size
), forgotten AS (
    DELETE FROM llmcache.uses AS u USING gone
    WHERE u.collection = gone.collection AND u.key = gone.key
)
SELECT count(*) AS entries, coalesce(sum(size), 0)::bigint AS bytes FROM gone;

-- name: least_used
-- $1: a collection, or null for all; $2: how many.
SELECT e.collection, e.key, octet_length(e.data) AS size
FROM llmcache.entries AS e LEFT JOIN llmcache.uses AS u USING (collection, key)
WHERE $1::text IS NULL OR e.collection = $1
ORDER BY coalesce(u.used_at, e.stored_at)
LIMIT $2;

-- name: evict
-- $1: collections, $2: keys.
WITH gone AS (
    DELETE FROM llmcache.entries AS e
    USING unnest($1::text[], $2::text[]) AS t (collection, key)
    WHERE e.collection = t.collection AND e.key = t.key
    RETURNING e.collection, e.key, octet_length(e.data) AS size
), forgotten AS (
    DELETE FROM llmcache.uses AS u USING gone
    WHERE u.collection = gone.collection AND u.key = gone.key
)
SELECT count(*) AS entries, coalesce(sum(size), 0)::bigint AS bytes FROM gone;

-- name: sweep
-- Entries set aside more than a week ago.
WITH gone AS (
    DELETE FROM llmcache.quarantine
    WHERE set_aside_at < now() - interval '7 days' AND ($1::text IS NULL OR collection = $1)
    RETURNING octet_length(data) AS size
)
SELECT count(*) AS entries, coalesce(sum(size), 0)::bigint AS bytes FROM gone;

-- name: lock
SELECT pg_try_advisory_lock(hashtextextended($1, 0));

-- name: unlock
SELECT pg_advisory_unlock(hashtextextended($1, 0));
