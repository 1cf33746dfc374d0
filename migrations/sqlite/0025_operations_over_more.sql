-- Operations over quarantined items and over batches: the mirror of PostgreSQL's migration of the same number. A table's
-- conditions cannot be changed here, so that it is made anew, and before it the one that refers to it is set aside.

CREATE TABLE operation_kept AS SELECT operation_id, job_id, was, run_at, finished_at, error, at FROM operation_job;
DROP TABLE operation_job;
ALTER TABLE operation RENAME TO operation_before;

CREATE TABLE operation (
    id           BLOB        NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant       TEXT        NOT NULL,
    verb         TEXT        NOT NULL CHECK (verb IN (
                     'cancel', 'redrive', 'discard', 'redrive-items', 'discard-items', 'cancel-batches',
                     'pause-batches', 'resume-batches', 'restart-batches', 'delete-batches')),
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

INSERT INTO operation (
    id, tenant, verb, query, snapshot, state, ordered, actor, reason, rate, preview, preview_more, place, done,
    failed, skipped, undone, undo_failed, error, undo_ms, undo_until, kept, due_at, created_at, ended_at)
SELECT
    id, tenant, verb, query, snapshot, state, ordered, actor, reason, rate, preview, preview_more, place, done,
    failed, skipped, undone, undo_failed, error, undo_ms, undo_until, kept, due_at, created_at, ended_at
FROM operation_before;
DROP TABLE operation_before;
CREATE INDEX operation_by_tenant ON operation (tenant, id);
CREATE INDEX operation_due ON operation (due_at, id) WHERE state IN ('running', 'undoing') OR kept;
CREATE INDEX operation_ended ON operation (ended_at) WHERE ended_at IS NOT NULL AND NOT kept;

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

INSERT INTO operation_job (operation_id, job_id, was, run_at, finished_at, error, at)
SELECT operation_id, job_id, was, run_at, finished_at, error, at FROM operation_kept;
DROP TABLE operation_kept;

-- Items that an operation has taken out of the quarantine, whole: for as long as it can be undone.
CREATE TABLE operation_item (
    operation_id BLOB        NOT NULL REFERENCES operation (id) ON DELETE CASCADE,
    item_id      INTEGER     NOT NULL,
    tenant       TEXT        NOT NULL,
    batch_id     BLOB        NOT NULL,
    seq          INTEGER     NOT NULL,
    generation   INTEGER     NOT NULL,
    position     INTEGER     NOT NULL,
    line         INTEGER,
    stage        TEXT        NOT NULL,
    reason       TEXT        NOT NULL,
    item         TEXT        NOT NULL,                       -- JSON
    created_at   INTEGER     NOT NULL,
    PRIMARY KEY (operation_id, item_id)
) STRICT;

-- Batches that an operation has cancelled: for as long as it can be undone.
CREATE TABLE operation_batch (
    operation_id  BLOB        NOT NULL REFERENCES operation (id) ON DELETE CASCADE,
    batch_id      BLOB        NOT NULL,
    tenant        TEXT        NOT NULL,
    paused        INTEGER     NOT NULL CHECK (paused IN (0, 1)), -- whether it was paused, by whom and why
    paused_by     TEXT,
    paused_reason TEXT,
    at            INTEGER     NOT NULL,                      -- the end that the operation gave the batch
    PRIMARY KEY (operation_id, batch_id)
) STRICT;
