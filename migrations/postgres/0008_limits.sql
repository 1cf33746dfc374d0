-- Keys, limits and turns. How many run is counted from the rows that run: nothing here counts them.

ALTER TABLE job
    -- Whose turn and limit it falls under.
    ADD COLUMN key     TEXT CHECK (octet_length(key) BETWEEN 1 AND 200),
    ADD COLUMN aged_at TIMESTAMPTZ;                          -- when waiting moved it up a lane

-- From key to key in the lanes of managed queues. By bytes, as the program compares keys.
CREATE INDEX job_turn ON job (queue, lane, kind, tenant COLLATE "C", (COALESCE(key, '')) COLLATE "C", id) WHERE state = 'queued';

CREATE TABLE job_limit (
    name       TEXT PRIMARY KEY,
    origin     TEXT        NOT NULL CHECK (origin IN ('file', 'command')),
    spec       TEXT        NOT NULL,                         -- JSON: the limit as it is spelt
    updated_at TIMESTAMPTZ NOT NULL
);

-- What is said of queues, where anything is.
CREATE TABLE queue_spec (
    name TEXT PRIMARY KEY,
    spec TEXT NOT NULL                                       -- JSON: the queue as it is spelt
);

-- The queues, and the kinds on whatever queue, whose jobs are claimed by limits and turns: written with what says so.
CREATE TABLE managed (
    scope TEXT NOT NULL CHECK (scope IN ('queue', 'kind')),
    name  TEXT NOT NULL,
    PRIMARY KEY (scope, name)
);

-- Up to when each rate is used up. A row whose time is past says nothing any more.
CREATE TABLE limit_bucket (
    name    TEXT        NOT NULL,
    tenant  TEXT        NOT NULL,
    key     TEXT        NOT NULL,
    used_to TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (name, tenant, key)
);
CREATE INDEX limit_bucket_past ON limit_bucket (used_to);

-- Who came last in each lane of a managed queue.
CREATE TABLE queue_turn (
    queue     TEXT        NOT NULL,
    lane      SMALLINT    NOT NULL CHECK (lane BETWEEN 0 AND 2),
    tenant    TEXT        NOT NULL,
    key       TEXT        NOT NULL,
    served_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (queue, lane)
);
