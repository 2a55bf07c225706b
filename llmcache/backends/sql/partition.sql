-- Divide the entries, and their uses, into partitions by the hash of collection and key.
--
-- For tables beyond some ten million entries: each partition has indexes that fit into memory, is
-- vacuumed by itself, and beside the others. Keys are digests, so all parts are of one size.
--
-- `llmcache db partition` runs this. By hand, with the number of partitions (default 16):
--
--     psql "$PG_DSN" -v ON_ERROR_STOP=1 --single-transaction \
--         -c "SET llmcache.partitions = 32" -f partition.sql
--
-- It is one transaction: all of it happens, or nothing. It needs as much disk as the tables take,
-- and the rights of their owner. While it copies, the cache's processes cannot use the tables, and
-- go on as without Postgres. It does nothing to tables that are divided already.

-- name: partition
-- Who cannot have the tables soon gives up, before others that come later wait behind it.
SET LOCAL lock_timeout = '10s';
SET LOCAL statement_timeout = 0;

-- As an upgrade: one at a time.
SELECT pg_advisory_xact_lock(hashtextextended('llmcache.migrations', 0));

DO $partition$
DECLARE
    parts constant integer := coalesce(nullif(current_setting('llmcache.partitions', true), ''), '16');
    plain regclass;
    owner name;
    remake text[];
    command text;
    place text;
BEGIN
    IF parts NOT BETWEEN 2 AND 1024 THEN
        RAISE EXCEPTION 'llmcache: from 2 to 1024 partitions, not %', parts;
    END IF;
    LOCK TABLE llmcache.entries, llmcache.uses IN ACCESS EXCLUSIVE MODE;
    FOREACH place IN ARRAY ARRAY['entries', 'uses'] LOOP
        plain := format('llmcache.%I', place)::regclass;
        CONTINUE WHEN (SELECT relkind = 'p' FROM pg_class WHERE oid = plain);

        -- Whatever belongs to the table, by its own definition: constraints, indexes, triggers,
        -- rights. It is made anew when the new table has the name.
        SELECT rolname INTO owner
        FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner WHERE pg_class.oid = plain;
        SELECT array_agg(definition ORDER BY step, name) INTO remake FROM (
            SELECT 1 AS step, conname AS name, format(
                'ALTER TABLE llmcache.%I ADD CONSTRAINT %I %s', place, conname,
                pg_get_constraintdef(oid)
            ) AS definition
            FROM pg_constraint WHERE conrelid = plain AND contype IN ('p', 'u')
            UNION ALL
            SELECT 2, indexrelid::regclass::text, pg_get_indexdef(indexrelid)
            FROM pg_index
            WHERE indrelid = plain
              AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
            UNION ALL
            SELECT 3, tgname, pg_get_triggerdef(oid)
            FROM pg_trigger WHERE tgrelid = plain AND NOT tgisinternal
            UNION ALL
            SELECT 4, right_.grantee::text || right_.privilege_type, format(
                'GRANT %s ON llmcache.%I TO %s', right_.privilege_type, place,
                CASE right_.grantee WHEN 0 THEN 'PUBLIC' ELSE right_.grantee::regrole::text END
            )
            FROM pg_class, aclexplode(relacl) AS right_
            WHERE pg_class.oid = plain AND right_.grantee <> relowner
        ) AS definitions;

        EXECUTE format(
            'CREATE TABLE llmcache.%I (LIKE llmcache.%I INCLUDING DEFAULTS INCLUDING STORAGE
             INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING COMMENTS)
             PARTITION BY HASH (collection, key)', place || '_divided', place
        );
        FOR part IN 0 .. parts - 1 LOOP
            EXECUTE format(
                'CREATE TABLE llmcache.%I PARTITION OF llmcache.%I
                 FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
                place || '_' || part, place || '_divided', parts, part
            );
            EXECUTE format('ALTER TABLE llmcache.%I OWNER TO %I', place || '_' || part, owner);
        END LOOP;
        EXECUTE format(
            'INSERT INTO llmcache.%I SELECT * FROM llmcache.%I', place || '_divided', place
        );
        EXECUTE format('DROP TABLE llmcache.%I', place);
        EXECUTE format('ALTER TABLE llmcache.%I RENAME TO %I', place || '_divided', place);
        EXECUTE format('ALTER TABLE llmcache.%I OWNER TO %I', place, owner);
        FOREACH command IN ARRAY remake LOOP
            EXECUTE command;
        END LOOP;
        EXECUTE format('ANALYZE llmcache.%I', place);
    END LOOP;
END
$partition$;

-- name: partitions
-- How many parts the entries have; none, where they are one table.
SELECT count(*) FROM pg_inherits WHERE inhparent = 'llmcache.entries'::regclass;
