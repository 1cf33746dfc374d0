-- Retention: what is being deleted, what was deleted, and what outlives a row that was deleted.

-- When the deletion of a batch began: from then on nothing of it runs again. NULL: it is kept.
ALTER TABLE batch ADD COLUMN deleting_at TIMESTAMPTZ;

-- Idempotency keys of rows that were deleted before the promise of their key was over.
CREATE TABLE idempotency (
    tenant TEXT        NOT NULL,
    scope  TEXT        NOT NULL CHECK (scope IN ('job', 'batch')),
    key    TEXT        NOT NULL,
    id     UUID        NOT NULL,                             -- of the job or batch that had it
    until  TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, scope, key)
);

-- How many rows were deleted, by noun.
CREATE TABLE pruned (
    noun    TEXT PRIMARY KEY,
    deleted BIGINT      NOT NULL CHECK (deleted >= 0),
    since   TIMESTAMPTZ NOT NULL,
    last_at TIMESTAMPTZ NOT NULL,
    horizon UUID                                             -- the greatest id that was deleted: an unknown id up to here is gone
);
