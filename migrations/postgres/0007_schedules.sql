-- Schedules, the ledger of their ticks, and backfills. Texts hold JSON where a comment says so.

CREATE TABLE schedule (
    tenant     TEXT        NOT NULL,
    name       TEXT        NOT NULL,
    origin     TEXT        NOT NULL CHECK (origin IN ('file', 'command')),
    spec       TEXT        NOT NULL,                         -- JSON: the schedule as it is spelt
    enabled    BOOLEAN     NOT NULL,
    version    BIGINT      NOT NULL DEFAULT 1,               -- rises with each edit
    decided_at TIMESTAMPTZ NOT NULL,                         -- ticks up to here have been decided
    next_at    TIMESTAMPTZ,                                  -- when the next one starts, jitter included
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, name)
);
CREATE INDEX schedule_due ON schedule (next_at) WHERE enabled AND next_at IS NOT NULL;

-- One row for each decided tick: whoever inserts it has the right to its run.
CREATE TABLE schedule_tick (
    tenant      TEXT        NOT NULL,
    schedule    TEXT        NOT NULL,
    tick        TIMESTAMPTZ NOT NULL,
    cause       TEXT        NOT NULL CHECK (cause IN ('tick', 'manual', 'backfill')),
    outcome     TEXT        NOT NULL
                CHECK (outcome IN ('ran', 'skipped_missed', 'skipped_overlap', 'buffered', 'waiting', 'failed')),
    from_at     TIMESTAMPTZ NOT NULL,
    to_at       TIMESTAMPTZ NOT NULL,
    late_ms     BIGINT      NOT NULL DEFAULT 0,
    ticks       BIGINT      NOT NULL DEFAULT 1 CHECK (ticks >= 1), -- how many skipped ticks, this one the last, it stands for
    tries       INTEGER     NOT NULL DEFAULT 0,
    batch_id    UUID,
    job_id      UUID,
    active      BOOLEAN     NOT NULL DEFAULT FALSE,          -- its run is not known to have ended
    result      TEXT,                                        -- the state in which its run ended
    holder      UUID,                                        -- the incarnation that plans or planned it
    backfill_id UUID,
    reason      TEXT,
    decided_at  TIMESTAMPTZ NOT NULL,
    started_at  TIMESTAMPTZ,
    ended_at    TIMESTAMPTZ,
    PRIMARY KEY (tenant, schedule, tick),
    CONSTRAINT schedule_tick_runs_one_thing CHECK (
        CASE outcome WHEN 'ran' THEN (batch_id IS NULL) <> (job_id IS NULL) ELSE batch_id IS NULL AND job_id IS NULL END),
    CONSTRAINT schedule_tick_active_ran CHECK (NOT active OR outcome = 'ran')
);
CREATE INDEX schedule_tick_active ON schedule_tick (tenant, schedule) WHERE active;
CREATE INDEX schedule_tick_waiting ON schedule_tick (tenant, schedule, tick) WHERE outcome IN ('buffered', 'waiting');
CREATE INDEX schedule_tick_of_batch ON schedule_tick (batch_id) WHERE batch_id IS NOT NULL;

CREATE TABLE schedule_backfill (
    id           UUID PRIMARY KEY,
    tenant       TEXT        NOT NULL,
    schedule     TEXT        NOT NULL,
    from_at      TIMESTAMPTZ NOT NULL,
    to_at        TIMESTAMPTZ NOT NULL,
    concurrency  INTEGER     NOT NULL CHECK (concurrency >= 1),
    newest_first BOOLEAN     NOT NULL,
    paused       BOOLEAN     NOT NULL DEFAULT FALSE,
    created_at   TIMESTAMPTZ NOT NULL
);
CREATE INDEX schedule_backfill_of ON schedule_backfill (tenant, schedule, id DESC);
