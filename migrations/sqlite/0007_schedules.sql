-- Schedules, the ledger of their ticks, and backfills: the mirror of PostgreSQL's migration of the same number.

CREATE TABLE schedule (
    tenant     TEXT        NOT NULL,
    name       TEXT        NOT NULL,
    origin     TEXT        NOT NULL CHECK (origin IN ('file', 'command')),
    spec       TEXT        NOT NULL,                         -- JSON: the schedule as it is spelt
    enabled    INTEGER     NOT NULL,
    version    INTEGER     NOT NULL DEFAULT 1,               -- rises with each edit
    decided_at INTEGER     NOT NULL,                         -- ticks up to here have been decided
    next_at    INTEGER,                                  -- when the next one starts, jitter included
    created_at INTEGER     NOT NULL,
    updated_at INTEGER     NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;
CREATE INDEX schedule_due ON schedule (next_at) WHERE enabled AND next_at IS NOT NULL;

-- One row for each decided tick: whoever inserts it has the right to its run.
CREATE TABLE schedule_tick (
    tenant      TEXT        NOT NULL,
    schedule    TEXT        NOT NULL,
    tick        INTEGER     NOT NULL,
    cause       TEXT        NOT NULL CHECK (cause IN ('tick', 'manual', 'backfill')),
    outcome     TEXT        NOT NULL
                CHECK (outcome IN ('ran', 'skipped_missed', 'skipped_overlap', 'buffered', 'waiting', 'failed')),
    from_at     INTEGER     NOT NULL,
    to_at       INTEGER     NOT NULL,
    late_ms     INTEGER     NOT NULL DEFAULT 0,
    ticks       INTEGER     NOT NULL DEFAULT 1 CHECK (ticks >= 1), -- how many skipped ticks, this one the last, it stands for
    tries       INTEGER     NOT NULL DEFAULT 0,
    batch_id    BLOB,
    job_id      BLOB,
    active      INTEGER     NOT NULL DEFAULT 0,          -- its run is not known to have ended
    result      TEXT,                                        -- the state in which its run ended
    holder      BLOB,                                        -- the incarnation that plans or planned it
    backfill_id BLOB,
    reason      TEXT,
    decided_at  INTEGER     NOT NULL,
    started_at  INTEGER,
    ended_at    INTEGER,
    PRIMARY KEY (tenant, schedule, tick),
    CONSTRAINT schedule_tick_runs_one_thing CHECK (
        CASE outcome WHEN 'ran' THEN (batch_id IS NULL) <> (job_id IS NULL) ELSE batch_id IS NULL AND job_id IS NULL END),
    CONSTRAINT schedule_tick_active_ran CHECK (NOT active OR outcome = 'ran')
) STRICT;
CREATE INDEX schedule_tick_active ON schedule_tick (tenant, schedule) WHERE active;
CREATE INDEX schedule_tick_waiting ON schedule_tick (tenant, schedule, tick) WHERE outcome IN ('buffered', 'waiting');
CREATE INDEX schedule_tick_of_batch ON schedule_tick (batch_id) WHERE batch_id IS NOT NULL;

CREATE TABLE schedule_backfill (
    id           BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant       TEXT        NOT NULL,
    schedule     TEXT        NOT NULL,
    from_at      INTEGER     NOT NULL,
    to_at        INTEGER     NOT NULL,
    concurrency  INTEGER     NOT NULL CHECK (concurrency >= 1),
    newest_first INTEGER     NOT NULL,
    paused       INTEGER     NOT NULL DEFAULT 0,
    created_at   INTEGER     NOT NULL
) STRICT;
CREATE INDEX schedule_backfill_of ON schedule_backfill (tenant, schedule, id DESC);
