-- Logs of attempts: the mirror of PostgreSQL's migration of the same number.

-- What an attempt has said: its first and its last lines, written again as a whole while it runs. One that has said nothing
-- has no row.
CREATE TABLE attempt_log (
    job_id     BLOB    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    attempt    INTEGER NOT NULL CHECK (attempt >= 1),
    tenant     TEXT    NOT NULL,
    worker_id  BLOB    NOT NULL,
    revision   INTEGER NOT NULL,                             -- rises with each writing of that worker
    said       INTEGER NOT NULL CHECK (said >= 0),           -- how many lines, with those that were cut out
    lines      TEXT    NOT NULL,                             -- JSON: those that are kept
    written_at INTEGER NOT NULL,
    PRIMARY KEY (job_id, attempt)
) STRICT;
CREATE INDEX attempt_log_by_time ON attempt_log (written_at);
