-- Operations: the mirror of PostgreSQL's migration of the same number.

CREATE TABLE operation (
    id           BLOB        NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant       TEXT        NOT NULL,
    verb         TEXT        NOT NULL CHECK (verb IN ('cancel', 'redrive', 'discard')),
    query        TEXT        NOT NULL,
    snapshot     INTEGER     NOT NULL,                       -- what was created later is not selected
    state        TEXT        NOT NULL DEFAULT 'running'
                 CHECK (state IN ('running', 'finished', 'cancelled', 'undoing', 'undone')),
    ordered      TEXT        NOT NULL,                       -- JSON: who ordered it, for the audit of its steps
    actor        TEXT        NOT NULL,
    reason       TEXT        NOT NULL,
    rate         INTEGER     CHECK (rate > 0),               -- jobs a second; NULL is as fast as it goes
    preview      INTEGER     NOT NULL CHECK (preview >= 0),  -- how many matched when it was started
    preview_more INTEGER     NOT NULL CHECK (preview_more IN (0, 1)), -- whether there may have been more
    place        TEXT,                                       -- JSON: where its walk is; NULL at the beginning
    done         INTEGER     NOT NULL DEFAULT 0 CHECK (done >= 0),
    failed       INTEGER     NOT NULL DEFAULT 0 CHECK (failed >= 0),
    skipped      INTEGER     NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    undone       INTEGER     NOT NULL DEFAULT 0 CHECK (undone >= 0),
    undo_failed  INTEGER     NOT NULL DEFAULT 0 CHECK (undo_failed >= 0),
    error        TEXT,                                       -- why the last of them failed
    undo_ms      INTEGER     NOT NULL CHECK (undo_ms >= 0),  -- how long after its end it can be undone
    undo_until   INTEGER,
    kept         INTEGER     NOT NULL CHECK (kept IN (0, 1)), -- whether what it changes is kept in operation_job
    due_at       INTEGER     NOT NULL,                       -- of the next step
    created_at   INTEGER     NOT NULL,
    ended_at     INTEGER,
    CONSTRAINT operation_ended_when_over CHECK ((ended_at IS NULL) = (state IN ('running', 'undoing')))
) STRICT;
CREATE INDEX operation_by_tenant ON operation (tenant, id);
CREATE INDEX operation_due ON operation (due_at, id) WHERE state IN ('running', 'undoing') OR kept;
CREATE INDEX operation_ended ON operation (ended_at) WHERE ended_at IS NOT NULL AND NOT kept;

-- What an operation has changed, as it was before: for as long as it can be undone.
CREATE TABLE operation_job (
    operation_id BLOB        NOT NULL REFERENCES operation (id) ON DELETE CASCADE,
    job_id       BLOB        NOT NULL,
    was          TEXT        NOT NULL CHECK (was IN ('scheduled', 'queued', 'retry', 'dead')),
    run_at       INTEGER,
    finished_at  INTEGER,
    error        TEXT,
    at           INTEGER     NOT NULL,                       -- the end that the operation gave the job
    PRIMARY KEY (operation_id, job_id)
) STRICT;
