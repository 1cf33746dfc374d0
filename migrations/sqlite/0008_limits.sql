-- Keys, limits and turns: the mirror of PostgreSQL's migration of the same number.

-- Whose turn and limit it falls under.
ALTER TABLE job ADD COLUMN key TEXT CHECK (length(CAST(key AS BLOB)) BETWEEN 1 AND 200);
ALTER TABLE job ADD COLUMN aged_at INTEGER;                  -- when waiting moved it up a lane

-- From key to key in the lanes of managed queues.
CREATE INDEX job_turn ON job (queue, lane, kind, tenant, coalesce(key, ''), id) WHERE state = 'queued';

CREATE TABLE job_limit (
    name       TEXT PRIMARY KEY,
    origin     TEXT    NOT NULL CHECK (origin IN ('file', 'command')),
    spec       TEXT    NOT NULL,                             -- JSON: the limit as it is spelt
    updated_at INTEGER NOT NULL
) STRICT;

-- What is said of queues, where anything is.
CREATE TABLE queue_spec (
    name TEXT PRIMARY KEY,
    spec TEXT NOT NULL                                       -- JSON: the queue as it is spelt
) STRICT;

-- The queues, and the kinds on whatever queue, whose jobs are claimed by limits and turns: written with what says so.
CREATE TABLE managed (
    scope TEXT NOT NULL CHECK (scope IN ('queue', 'kind')),
    name  TEXT NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT;

-- Up to when each rate is used up. A row whose time is past says nothing any more.
CREATE TABLE limit_bucket (
    name    TEXT    NOT NULL,
    tenant  TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    used_to INTEGER NOT NULL,
    PRIMARY KEY (name, tenant, key)
) STRICT;
CREATE INDEX limit_bucket_past ON limit_bucket (used_to);

-- Who came last in each lane of a managed queue.
CREATE TABLE queue_turn (
    queue     TEXT    NOT NULL,
    lane      INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 2),
    tenant    TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    served_at INTEGER NOT NULL,
    PRIMARY KEY (queue, lane)
) STRICT;
