-- How the schema comes to be, and is brought up to date.

-- name: known
-- Whether there is a schema of ours at all.
SELECT to_regclass('llmcache.migrations') IS NOT NULL;

-- name: applied
SELECT number FROM llmcache.migrations ORDER BY number;

-- name: lock
-- Until the transaction's end: one process at a time upgrades, and the others wait for it.
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = 0;
SELECT pg_advisory_xact_lock(hashtextextended('llmcache.migrations', 0));

-- name: begin
-- Who cannot have the tables soon gives up, before others that come later wait behind it.
SET LOCAL lock_timeout = '3s';
-- Who has the schema need not have the right to make one, which is asked for even if it exists.
DO $$ BEGIN
    IF to_regnamespace('llmcache') IS NULL THEN CREATE SCHEMA llmcache; END IF;
END $$;
CREATE TABLE IF NOT EXISTS llmcache.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: holders
-- Whose transactions hold our tables, one a row. Not what they ask: that may be anything.
SELECT format(
    'process %s (%s, %s for %s s)', pid, coalesce(nullif(application_name, ''), usename, 'unnamed'),
    coalesce(state, backend_type), coalesce(round(extract(epoch FROM now() - xact_start)), 0)
) AS who
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND pid IN (
    SELECT l.pid FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
    WHERE l.granted AND c.relnamespace = to_regnamespace('llmcache')
)
ORDER BY xact_start;

-- name: note
INSERT INTO llmcache.migrations (number, name) VALUES ($1, $2);

-- name: divided
-- Whether the entries are in partitions.
SELECT relkind = 'p' FROM pg_class WHERE oid = 'llmcache.entries'::regclass;

-- name: lacking
-- What this user may not do and calls will need; one row each.
SELECT lower(need) || ' on llmcache.' || name AS lacking
FROM (VALUES
    ('entries', ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('uses', ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('revisions', ARRAY['SELECT', 'INSERT', 'UPDATE']),
    ('dictionaries', ARRAY['SELECT', 'INSERT']),
    ('quarantine', ARRAY['SELECT', 'INSERT', 'DELETE'])
) AS relation (name, needs), unnest(needs) AS need
WHERE NOT has_table_privilege('llmcache.' || name, need)
UNION ALL
SELECT 'usage on llmcache.versions'
WHERE NOT has_sequence_privilege('llmcache.versions', 'USAGE')
UNION ALL
SELECT 'anything but reading: the server is a replica or set to read only'
WHERE current_setting('transaction_read_only')::boolean;
