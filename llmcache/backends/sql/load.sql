-- Many entries at once, through a table that one transaction has for itself.

-- name: stage
CREATE TEMPORARY TABLE llmcache_loaded (
    key text COLLATE "C" NOT NULL,
    data bytea NOT NULL,
    model text,
    tags text[] NOT NULL,
    created_at double precision NOT NULL,
    seconds_left double precision,
    answered_by text
) ON COMMIT DROP;
ALTER TABLE llmcache_loaded ALTER COLUMN data SET STORAGE EXTERNAL;

-- name: load
-- As `put` does it. $1: the collection, $2: what happens to a key that is there.
WITH put AS (
    INSERT INTO llmcache.entries AS e
        (collection, key, data, model, tags, created_at, keep_until, answered_by)
    SELECT $1, key, data, model, tags, created_at,
           seconds_left + extract(epoch FROM now())::float8, answered_by
    FROM pg_temp.llmcache_loaded
    ORDER BY key
    ON CONFLICT (collection, key) DO UPDATE SET
        data = excluded.data,
        model = excluded.model,
        tags = excluded.tags,
        created_at = excluded.created_at,
        keep_until = excluded.keep_until,
        answered_by = excluded.answered_by,
        stored_at = now() - interval '1 microsecond',
        version = nextval('llmcache.versions')
    WHERE $2::text = 'replace' OR ($2::text = 'newer' AND e.created_at < excluded.created_at)
    RETURNING key, stored_at < now() AS replaced
), forgotten AS (
    DELETE FROM llmcache.uses AS u USING (
        SELECT key FROM llmcache.uses JOIN put USING (key)
        WHERE collection = $1 AND put.replaced
        ORDER BY key
        FOR UPDATE OF uses
    ) AS f
    WHERE u.collection = $1 AND u.key = f.key
), changed AS (
    INSERT INTO llmcache.revisions AS r (collection, revision)
    SELECT $1, 1 WHERE (SELECT bool_or(replaced) FROM put)
    ON CONFLICT (collection) DO UPDATE SET revision = r.revision + 1
    RETURNING revision
)
-- The version is drawn when the rows are ours: it is above all that they have.
SELECT count(*) AS stored, count(*) FILTER (WHERE replaced) AS replaced,
       nextval('llmcache.versions') AS version, (SELECT revision FROM changed) AS revision
FROM put;
