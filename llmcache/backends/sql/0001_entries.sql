-- Entries, their uses, and what is kept beside them.

CREATE SEQUENCE llmcache.versions;

CREATE TABLE llmcache.entries (
    collection text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    data bytea NOT NULL,
    model text,
    tags text[] NOT NULL,
    created_at double precision NOT NULL,
    keep_until double precision,
    stored_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT nextval('llmcache.versions'),
    PRIMARY KEY (collection, key)
);

-- The codec has compressed the bytes: a second attempt costs time and gains nothing.
ALTER TABLE llmcache.entries ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE INDEX entries_keep_until ON llmcache.entries (keep_until) WHERE keep_until IS NOT NULL;
CREATE INDEX entries_model ON llmcache.entries (collection, model);
CREATE INDEX entries_tags ON llmcache.entries USING gin (tags) WHERE tags <> '{}';
CREATE INDEX entries_stored_at ON llmcache.entries (stored_at);

-- Apart from the entries: noting a use would write the whole row anew, bytes and indexes included.
CREATE TABLE llmcache.uses (
    collection text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    used_at timestamptz NOT NULL,
    uses bigint NOT NULL,
    PRIMARY KEY (collection, key)
);

CREATE INDEX uses_used_at ON llmcache.uses (used_at);

CREATE TABLE llmcache.revisions (
    collection text COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL
);

CREATE TABLE llmcache.dictionaries (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection text COLLATE "C" NOT NULL,
    data bytea NOT NULL
);

CREATE INDEX dictionaries_collection ON llmcache.dictionaries (collection);

CREATE TABLE llmcache.quarantine (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    data bytea NOT NULL,
    set_aside_at timestamptz NOT NULL DEFAULT now()
);
