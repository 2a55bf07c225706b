-- How entries are counted, ranked and found, each a page at a time and in the order of an index.
-- $1 is the collection where nothing else is said.

-- name: names
-- Each the next one in the primary key: as many look-ups as there are names.
WITH RECURSIVE name AS (
    (SELECT collection FROM llmcache.entries ORDER BY collection LIMIT 1)
    UNION ALL
    SELECT (
        SELECT e.collection FROM llmcache.entries AS e
        WHERE e.collection > name.collection
        ORDER BY e.collection
        LIMIT 1
    )
    FROM name WHERE name.collection IS NOT NULL
)
SELECT collection FROM name WHERE collection IS NOT NULL;

-- name: pages
-- How large the table is, without what is kept aside for being long: in all, and its largest partition.
SELECT coalesce(sum(pages), 0)::bigint AS pages, coalesce(max(pages), 0)::bigint AS longest
FROM (
    SELECT pg_relation_size(relid) / current_setting('block_size')::bigint AS pages
    FROM (
        SELECT relid FROM pg_partition_tree('llmcache.entries') WHERE isleaf
        UNION
        SELECT 'llmcache.entries'
    ) AS part
) AS part;

-- name: count
-- $1: from this page on; $2: to this one. In the order of the file, which is read once.
SELECT collection, count(*) AS entries, sum(octet_length(data))::bigint AS bytes
FROM llmcache.entries WHERE ctid >= $1 AND ctid < $2
GROUP BY collection;

-- name: oldest
-- When what has waited longest was last used, or stored if it never was.
SELECT extract(epoch FROM least(
    (SELECT min(used_at) FROM llmcache.uses),
    (
        SELECT e.stored_at FROM llmcache.entries AS e
        WHERE NOT EXISTS (
            SELECT FROM llmcache.uses AS u WHERE u.collection = e.collection AND u.key = e.key
        )
        ORDER BY e.stored_at
        LIMIT 1
    )
))::float8;

-- name: newest
-- When something was last stored or used.
SELECT extract(epoch FROM greatest(
    (SELECT max(stored_at) FROM llmcache.entries), (SELECT max(used_at) FROM llmcache.uses)
))::float8;

-- name: sample
-- $1: how many of a hundred pages are looked at.
SELECT collection, count(*) AS entries, sum(octet_length(data))::bigint AS bytes
FROM llmcache.entries TABLESAMPLE SYSTEM ($1)
GROUP BY collection;

-- name: small
-- $1: collections; $2: up to how many entries of each are counted.
SELECT name.collection, few.entries, few.bytes
FROM unnest($1::text[]) AS name (collection)
CROSS JOIN LATERAL (
    SELECT count(*) AS entries, coalesce(sum(size), 0)::bigint AS bytes
    FROM (
        SELECT octet_length(e.data) AS size FROM llmcache.entries AS e
        WHERE e.collection = name.collection
        LIMIT $2
    ) AS entry
) AS few;

-- name: most_used
-- $2, $3, $4: after these uses, this time and key; $5: how many.
SELECT u.key, octet_length(e.data) AS size, u.used_at, u.uses
FROM llmcache.uses AS u JOIN llmcache.entries AS e USING (collection, key)
WHERE u.collection = $1 AND (u.uses, u.used_at, u.key) < ($2, $3, $4)
  AND (e.keep_until IS NULL OR e.keep_until > extract(epoch FROM now())::float8)
ORDER BY u.uses DESC, u.used_at DESC, u.key DESC
LIMIT $5;

-- name: last_used
-- $2, $3: after this time and key; $4: how many.
SELECT u.key, octet_length(e.data) AS size, u.used_at, u.uses
FROM llmcache.uses AS u JOIN llmcache.entries AS e USING (collection, key)
WHERE u.collection = $1 AND (u.used_at, u.key) < ($2, $3)
  AND (e.keep_until IS NULL OR e.keep_until > extract(epoch FROM now())::float8)
ORDER BY u.used_at DESC, u.key DESC
LIMIT $4;

-- name: last_made
-- $2, $3: after this time and key; $4: how many. `used`: who ranks by use has had it.
SELECT e.key, octet_length(e.data) AS size, e.created_at, u.uses IS NOT NULL AS used
FROM llmcache.entries AS e LEFT JOIN llmcache.uses AS u USING (collection, key)
WHERE e.collection = $1 AND (e.created_at, e.key) < ($2, $3)
  AND (e.keep_until IS NULL OR e.keep_until > extract(epoch FROM now())::float8)
ORDER BY e.created_at DESC, e.key DESC
LIMIT $4;

-- name: few_with_tag
-- $2: the tag as it may be written; $3: how many at most.
SELECT key, true AS certain FROM llmcache.entries
WHERE collection = $1 AND tags && $2::text[] AND tags <> '{}'
LIMIT $3;

-- name: few_of_model
-- $2: the model as it may be written; $3: how many at most. Where nobody said who answered, the
-- entry knows.
SELECT key, bool_or(certain) AS certain
FROM (
    (
        SELECT key, true AS certain FROM llmcache.entries
        WHERE collection = $1 AND model = ANY($2::text[])
        LIMIT $3
    )
    UNION ALL
    (
        SELECT key, true AS certain FROM llmcache.entries
        WHERE collection = $1 AND answered_by = ANY($2::text[])
        LIMIT $3
    )
    UNION ALL
    (
        SELECT key, false AS certain FROM llmcache.entries
        WHERE collection = $1 AND answered_by IS NULL
        LIMIT $3
    )
) AS found
GROUP BY key;

-- name: all_with_tag
-- $2: the tag as it may be written; $3, $4: from this page of the file to that one.
SELECT key, true AS certain FROM llmcache.entries
WHERE ctid >= $3 AND ctid < $4 AND collection = $1 AND tags && $2::text[] AND tags <> '{}';

-- name: all_of_model
-- As all_with_tag, of models.
SELECT key, coalesce(model = ANY($2::text[]) OR answered_by = ANY($2::text[]), false) AS certain
FROM llmcache.entries
WHERE ctid >= $3 AND ctid < $4 AND collection = $1
  AND (model = ANY($2::text[]) OR answered_by = ANY($2::text[]) OR answered_by IS NULL);

-- name: older
-- $2: made before this; $3, $4: after this time and key; $5: how many.
SELECT key, created_at
FROM llmcache.entries
WHERE collection = $1 AND created_at < $2 AND (created_at, key) > ($3, $4)
ORDER BY created_at, key
LIMIT $5;
