-- Operations: a verb over everything that a query selects, carried out in steps.

CREATE TABLE operation (
    id           UUID PRIMARY KEY,
    tenant       TEXT        NOT NULL,
    verb         TEXT        NOT NULL CHECK (verb IN ('cancel', 'redrive', 'discard')),
    query        TEXT        NOT NULL,
    snapshot     TIMESTAMPTZ NOT NULL,                       -- what was created later is not selected
    state        TEXT        NOT NULL DEFAULT 'running'
                 CHECK (state IN ('running', 'finished', 'cancelled', 'undoing', 'undone')),
    ordered      TEXT        NOT NULL,                       -- JSON: who ordered it, for the audit of its steps
    actor        TEXT        NOT NULL,
    reason       TEXT        NOT NULL,
    rate         INTEGER     CHECK (rate > 0),               -- jobs a second; NULL is as fast as it goes
    preview      BIGINT      NOT NULL CHECK (preview >= 0),  -- how many matched when it was started
    preview_more BOOLEAN     NOT NULL,                       -- whether there may have been more
    place        TEXT,                                       -- JSON: where its walk is; NULL at the beginning
    done         BIGINT      NOT NULL DEFAULT 0 CHECK (done >= 0),
    failed       BIGINT      NOT NULL DEFAULT 0 CHECK (failed >= 0),
    skipped      BIGINT      NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    undone       BIGINT      NOT NULL DEFAULT 0 CHECK (undone >= 0),
    undo_failed  BIGINT      NOT NULL DEFAULT 0 CHECK (undo_failed >= 0),
    error        TEXT,                                       -- why the last of them failed
    undo_ms      BIGINT      NOT NULL CHECK (undo_ms >= 0),  -- how long after its end it can be undone
    undo_until   TIMESTAMPTZ,
    kept         BOOLEAN     NOT NULL,                       -- whether what it changes is kept in operation_job
    due_at       TIMESTAMPTZ NOT NULL,                       -- of the next step
    created_at   TIMESTAMPTZ NOT NULL,
    ended_at     TIMESTAMPTZ,
    CONSTRAINT operation_ended_when_over CHECK ((ended_at IS NULL) = (state IN ('running', 'undoing')))
);
CREATE INDEX operation_by_tenant ON operation (tenant, id);
CREATE INDEX operation_due ON operation (due_at, id) WHERE state IN ('running', 'undoing') OR kept;
CREATE INDEX operation_ended ON operation (ended_at) WHERE ended_at IS NOT NULL AND NOT kept;

-- What an operation has changed, as it was before: for as long as it can be undone.
CREATE TABLE operation_job (
    operation_id UUID        NOT NULL REFERENCES operation (id) ON DELETE CASCADE,
    job_id       UUID        NOT NULL,
    was          TEXT        NOT NULL CHECK (was IN ('scheduled', 'queued', 'retry', 'dead')),
    run_at       TIMESTAMPTZ,
    finished_at  TIMESTAMPTZ,
    error        TEXT,
    at           TIMESTAMPTZ NOT NULL,                       -- the end that the operation gave the job
    PRIMARY KEY (operation_id, job_id)
);
