-- How the schema comes to be, and is brought up to date.

-- name: known
-- Whether there is a schema of ours at all.
SELECT to_regclass('llmcache.migrations') IS NOT NULL;

-- name: applied
SELECT number FROM llmcache.migrations ORDER BY number;

-- name: lock
-- Until the transaction's end: one process at a time upgrades.
SELECT pg_advisory_xact_lock(hashtextextended('llmcache.migrations', 0));

-- name: begin
CREATE SCHEMA IF NOT EXISTS llmcache;
CREATE TABLE IF NOT EXISTS llmcache.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: note
INSERT INTO llmcache.migrations (number, name) VALUES ($1, $2);
