-- Retention: the mirror of PostgreSQL's migration of the same number.

-- When the deletion of a batch began: from then on nothing of it runs again. NULL: it is kept.
ALTER TABLE batch ADD COLUMN deleting_at INTEGER;

-- Idempotency keys of rows that were deleted before the promise of their key was over.
CREATE TABLE idempotency (
    tenant TEXT    NOT NULL,
    scope  TEXT    NOT NULL CHECK (scope IN ('job', 'batch')),
    key    TEXT    NOT NULL,
    id     BLOB    NOT NULL CHECK (length(id) = 16),         -- of the job or batch that had it
    until  INTEGER NOT NULL,
    PRIMARY KEY (tenant, scope, key)
) STRICT;

-- How many rows were deleted, by noun.
CREATE TABLE pruned (
    noun    TEXT NOT NULL PRIMARY KEY,
    deleted INTEGER NOT NULL CHECK (deleted >= 0),
    since   INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    horizon BLOB                                             -- the greatest id that was deleted: an unknown id up to here is gone
) STRICT;
