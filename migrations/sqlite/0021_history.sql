-- History: the mirror of PostgreSQL's migration of the same number.

-- What has passed and is not in the history yet. A transaction that creates jobs or ends attempts writes one row for each
-- queue, kind and bucket of times, and the duty `history` moves the rows into the history. Each row has the instant of its
-- transaction, so that one which is committed late counts in its own minute all the same. The table has no key, no index
-- and no check, because every completion writes to it.
CREATE TABLE flow (
    at     INTEGER     NOT NULL,
    tenant TEXT        NOT NULL,
    queue  TEXT        NOT NULL,
    kind   TEXT        NOT NULL,
    what   TEXT        NOT NULL,                             -- enqueued, done, failed or dead
    wait   INTEGER,                                          -- the bucket of the time that they waited
    run    INTEGER,                                          -- the bucket of the time that they ran
    jobs   INTEGER     NOT NULL
);

CREATE TABLE history (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT        NOT NULL,
    step     TEXT        NOT NULL CHECK (step IN ('minute', 'hour')),
    at       INTEGER     NOT NULL,                           -- the beginning of the minute or hour
    queue    TEXT        NOT NULL,
    kind     TEXT        NOT NULL,
    enqueued INTEGER     NOT NULL DEFAULT 0 CHECK (enqueued >= 0),
    done     INTEGER     NOT NULL DEFAULT 0 CHECK (done >= 0),
    failed   INTEGER     NOT NULL DEFAULT 0 CHECK (failed >= 0), -- attempts, with those of jobs that died
    dead     INTEGER     NOT NULL DEFAULT 0 CHECK (dead >= 0),
    waits    TEXT        NOT NULL DEFAULT '{}',              -- JSON: how many lie in which bucket
    runs     TEXT        NOT NULL DEFAULT '{}',              -- JSON: the same
    CONSTRAINT history_once UNIQUE (tenant, step, at, queue, kind)
);
CREATE INDEX history_by_time ON history (step, at);
