-- Logs of attempts: what a handler and its programs said.

-- What an attempt has said: its first and its last lines, written again as a whole while it runs. One that has said nothing
-- has no row.
CREATE TABLE attempt_log (
    job_id     UUID        NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    attempt    BIGINT      NOT NULL CHECK (attempt >= 1),
    tenant     TEXT        NOT NULL,
    worker_id  UUID        NOT NULL,
    revision   BIGINT      NOT NULL,                         -- rises with each writing of that worker
    said       BIGINT      NOT NULL CHECK (said >= 0),       -- how many lines, with those that were cut out
    lines      TEXT        NOT NULL,                         -- JSON: those that are kept
    written_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (job_id, attempt)
);
CREATE INDEX attempt_log_by_time ON attempt_log (written_at);

SELECT confine_tenants();
