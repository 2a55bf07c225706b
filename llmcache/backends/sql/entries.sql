-- What the Postgres backend asks, by name. $1 is the collection where nothing else is said.
-- Whatever locks several rows locks them in the order of their keys: nobody waits in a circle.

-- name: get
-- How long an entry may still stay is told in seconds: the reader's clock may be another.
SELECT key, data, version, keep_until - extract(epoch FROM now())::float8 AS seconds_left
FROM llmcache.entries WHERE collection = $1 AND key = ANY($2::text[]);

-- name: get_divided
-- Key by key: of a table in partitions each asks the one that has it, where an array asks them all.
SELECT e.* FROM unnest($2::text[]) AS t (key) CROSS JOIN LATERAL (
    SELECT key, data, version, keep_until - extract(epoch FROM now())::float8 AS seconds_left
    FROM llmcache.entries WHERE collection = $1 AND key = t.key LIMIT 1
) AS e;

-- name: get_one
SELECT key, data, version, keep_until - extract(epoch FROM now())::float8 AS seconds_left
FROM llmcache.entries WHERE collection = $1 AND key = $2;

-- name: put
-- $7: seconds from now on, which is the database's; $9: the fence: what has a version above it
-- stays, and is not among the rows returned; null: everything is replaced.
WITH put AS (
    INSERT INTO llmcache.entries AS e (
        collection, key, data, model, tags, created_at, keep_until, answered_by
    )
    SELECT $1, t.key, t.data, t.model, ARRAY(SELECT jsonb_array_elements_text(t.tags::jsonb)),
           t.created_at, t.seconds_left + extract(epoch FROM now())::float8, t.answered_by
    FROM unnest(
        $2::text[], $3::bytea[], $4::text[], $5::text[], $6::float8[], $7::float8[], $8::text[]
    ) AS t (key, data, model, tags, created_at, seconds_left, answered_by)
    ORDER BY t.key COLLATE "C"
    ON CONFLICT (collection, key) DO UPDATE SET
        data = excluded.data,
        model = excluded.model,
        tags = excluded.tags,
        created_at = excluded.created_at,
        keep_until = excluded.keep_until,
        answered_by = excluded.answered_by,
        -- What tells it from a row that is new: partitions have no `xmax` to return.
        stored_at = now() - interval '1 microsecond',
        -- Drawn once the row is ours: the last writer has the highest.
        version = nextval('llmcache.versions')
    -- The same bytes: this very write, made again because the connection was lost after it. Of a
    -- fence of 0, which replaces nothing at all, that may go unnoticed.
    WHERE $9::bigint IS NULL OR e.version <= $9 OR ($9 > 0 AND e.data = excluded.data)
    RETURNING e.key, e.version, e.stored_at < now() AS replaced
), forgotten AS (
    DELETE FROM llmcache.uses AS u USING (
        SELECT key FROM llmcache.uses JOIN put USING (key)
        WHERE collection = $1 AND put.replaced
        ORDER BY key
        FOR UPDATE OF uses
    ) AS f
    WHERE u.collection = $1 AND u.key = f.key
), changed AS (
    -- Reads all of `put` first: who holds the revision waits for nobody's entries.
    INSERT INTO llmcache.revisions AS r (collection, revision)
    SELECT $1, 1 WHERE (SELECT bool_or(replaced) FROM put)
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
    DELETE FROM llmcache.entries AS e USING (
        SELECT key FROM llmcache.entries WHERE collection = $1 AND key = ANY($2::text[])
        ORDER BY key
        FOR UPDATE
    ) AS f
    WHERE e.collection = $1 AND e.key = f.key
    RETURNING e.key
), forgotten AS (
    DELETE FROM llmcache.uses AS u USING (
        SELECT key FROM llmcache.uses JOIN gone USING (key)
        WHERE collection = $1
        ORDER BY key
        FOR UPDATE OF uses
    ) AS f
    WHERE u.collection = $1 AND u.key = f.key
), changed AS (
    INSERT INTO llmcache.revisions AS r (collection, revision)
    SELECT $1, 1 WHERE (SELECT count(*) FROM gone) > 0
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

-- name: quarantined
SELECT count(*) FROM llmcache.quarantine;

-- name: lock
SELECT pg_try_advisory_lock(hashtextextended($1, 0));

-- name: unlock
SELECT pg_advisory_unlock(hashtextextended($1, 0));

-- name: watch
-- Of the session that holds locks: a machine that is gone says nothing, and the server should
-- find that out in some fifteen seconds, not in two hours.
SELECT set_config('tcp_keepalives_idle', '5', false),
       set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '2', false);
