-- Jobs, batches and all that hangs on them: the mirror of PostgreSQL's migration of the same number.
-- Ids are the 16 bytes of a UUID, instants are microseconds since 1970 in UTC, truth values 0 or 1.
-- Texts hold JSON where a comment says so.

CREATE TABLE batch (
    id              BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant          TEXT        NOT NULL,
    name            TEXT        NOT NULL,
    state           TEXT        NOT NULL DEFAULT 'open'
                    CHECK (state IN ('open', 'sealed', 'aggregating', 'complete', 'halted', 'cancelled')),
    paused          INTEGER     NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    halting         INTEGER     NOT NULL DEFAULT 0 CHECK (halting IN (0, 1)),
    generation      INTEGER     NOT NULL DEFAULT 0 CHECK (generation >= 0),
    definition      TEXT        NOT NULL,                    -- JSON: the definition as it was at creation
    stamp           TEXT        NOT NULL,                    -- JSON: what the source looked like
    params          TEXT        NOT NULL DEFAULT 'null',     -- JSON
    tolerate        TEXT        NOT NULL,
    idempotency_key TEXT,
    trace           TEXT,
    chunks          INTEGER     NOT NULL DEFAULT 0,
    remaining       INTEGER     NOT NULL DEFAULT 0,
    chunks_dead     INTEGER     NOT NULL DEFAULT 0,
    retries         INTEGER     NOT NULL DEFAULT 0,
    input           INTEGER     NOT NULL DEFAULT 0,
    ok              INTEGER     NOT NULL DEFAULT 0,
    skipped         INTEGER     NOT NULL DEFAULT 0,
    quarantined     INTEGER     NOT NULL DEFAULT 0,
    cancelled       INTEGER     NOT NULL DEFAULT 0,
    result          TEXT,                                    -- JSON
    reason          TEXT,
    created_at      INTEGER     NOT NULL,
    planned_at      INTEGER     NOT NULL,                    -- when the planner last added chunks
    finished_at     INTEGER,
    CONSTRAINT batch_remaining_not_negative CHECK (remaining >= 0 AND remaining <= chunks),
    CONSTRAINT batch_counts_reconcile CHECK (
        ok >= 0 AND skipped >= 0 AND quarantined >= 0 AND cancelled >= 0
        AND ok + skipped + quarantined + cancelled <= input),
    CONSTRAINT batch_finished_when_final CHECK (
        (finished_at IS NOT NULL) = (state IN ('complete', 'halted', 'cancelled'))),
    CONSTRAINT batch_ends_with_nothing_left CHECK (
        state NOT IN ('aggregating', 'complete', 'halted') OR remaining = 0)
) STRICT;
CREATE UNIQUE INDEX batch_idempotency ON batch (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX batch_by_tenant ON batch (tenant, id DESC);
CREATE INDEX batch_by_name ON batch (tenant, name, id DESC);
CREATE INDEX batch_by_state ON batch (tenant, state, id DESC);
CREATE INDEX batch_unfinished ON batch (id) WHERE state IN ('open', 'sealed', 'aggregating');
CREATE INDEX batch_paused ON batch (id) WHERE paused;

CREATE TABLE job (
    id              BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant          TEXT        NOT NULL,
    queue           TEXT        NOT NULL,
    lane            INTEGER     NOT NULL CHECK (lane BETWEEN 0 AND 2),
    kind            TEXT        NOT NULL,
    state           TEXT        NOT NULL
                    CHECK (state IN ('scheduled', 'queued', 'running', 'retry', 'done', 'dead', 'cancelled')),
    attempt         INTEGER     NOT NULL DEFAULT 0,
    max_attempts    INTEGER     NOT NULL CHECK (max_attempts >= 1),
    granted         INTEGER     NOT NULL CHECK (granted >= 1), -- attempts that each redrive adds
    timeout_ms      INTEGER     NOT NULL CHECK (timeout_ms > 0),
    retry           TEXT        NOT NULL,                    -- JSON: the retry policy
    payload         TEXT        NOT NULL,                    -- JSON
    batch_id        BLOB        REFERENCES batch (id) ON DELETE CASCADE,
    seq             INTEGER,                                 -- number among the batch's chunks
    items           INTEGER     NOT NULL DEFAULT 0,
    generation      INTEGER     NOT NULL DEFAULT 0,
    worker_id       BLOB,
    idempotency_key TEXT,
    unique_key      TEXT,
    trace           TEXT,
    output          TEXT,                                    -- JSON
    error           TEXT,
    created_at      INTEGER     NOT NULL,
    run_at          INTEGER,
    queued_at       INTEGER,
    started_at      INTEGER,
    deadline        INTEGER,
    finished_at     INTEGER,
    CONSTRAINT job_attempts_within_limit CHECK (attempt >= 0 AND attempt <= max_attempts),
    CONSTRAINT job_runs_under_a_worker CHECK ((state = 'running') = (worker_id IS NOT NULL)),
    CONSTRAINT job_runs_under_a_deadline CHECK ((state = 'running') = (deadline IS NOT NULL)),
    CONSTRAINT job_finished_when_final CHECK ((finished_at IS NOT NULL) = (state IN ('done', 'dead', 'cancelled'))),
    CONSTRAINT job_waits_for_a_time CHECK (state NOT IN ('scheduled', 'retry') OR run_at IS NOT NULL),
    CONSTRAINT job_chunk_has_a_batch CHECK (seq IS NULL OR batch_id IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX job_idempotency ON job (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX job_unique ON job (tenant, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'queued', 'running', 'retry');
CREATE UNIQUE INDEX job_chunk_number ON job (batch_id, seq) WHERE seq IS NOT NULL;
CREATE INDEX job_claimable ON job (queue, lane, id) WHERE state = 'queued';
CREATE INDEX job_due ON job (run_at) WHERE state IN ('scheduled', 'retry');
CREATE INDEX job_running ON job (worker_id) WHERE state = 'running';
CREATE INDEX job_deadline ON job (deadline) WHERE state = 'running';
CREATE INDEX job_of_batch ON job (batch_id, state, id) WHERE batch_id IS NOT NULL;
CREATE INDEX job_by_tenant ON job (tenant, id DESC);
CREATE INDEX job_by_state ON job (tenant, state, id DESC);

-- Attempts that did not end well. One that did leaves nothing here: its job says it all.
CREATE TABLE attempt (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,            -- an attempt that was given back may end twice
    job_id     BLOB    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    attempt    INTEGER NOT NULL CHECK (attempt >= 1),
    worker_id  BLOB,
    started_at INTEGER,
    ended_at   INTEGER NOT NULL,
    ending     TEXT    NOT NULL,
    error      TEXT
) STRICT;
CREATE INDEX attempt_of_job ON attempt (job_id, attempt, number);

-- What came of each chunk that is done.
CREATE TABLE result (
    batch_id   BLOB    NOT NULL REFERENCES batch (id) ON DELETE CASCADE,
    seq        INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    job_id     BLOB    NOT NULL,
    result     TEXT    NOT NULL,                             -- JSON
    PRIMARY KEY (batch_id, seq)
) STRICT;

-- Items that failed inside a chunk that went on without them.
CREATE TABLE quarantine (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     TEXT        NOT NULL,
    batch_id   BLOB        NOT NULL REFERENCES batch (id) ON DELETE CASCADE,
    seq        INTEGER     NOT NULL,
    generation INTEGER     NOT NULL,
    position   INTEGER     NOT NULL,
    line       INTEGER,
    stage      TEXT        NOT NULL,
    reason     TEXT        NOT NULL,
    item       TEXT        NOT NULL,                         -- JSON
    state      TEXT        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'redriven')),
    created_at INTEGER     NOT NULL
) STRICT;
CREATE INDEX quarantine_of_batch ON quarantine (batch_id, state, id);
CREATE INDEX quarantine_by_tenant ON quarantine (tenant, id);

-- What has been committed and must still be published. One row for a group of ids.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    purpose    TEXT        NOT NULL CHECK (purpose IN ('dispatch', 'dead_letter')),
    queue      TEXT        NOT NULL,
    lane       INTEGER     NOT NULL CHECK (lane BETWEEN 0 AND 2),
    jobs       TEXT        NOT NULL,                         -- JSON: array of ids
    created_at INTEGER     NOT NULL,
    held_until INTEGER
) STRICT;

-- Maintained counters: jobs by queue and state, in shards that writers choose at random, so that
-- they do not wait for one another. The sum over the shards is exact.
CREATE TABLE queue_count (
    tenant TEXT     NOT NULL,
    queue  TEXT     NOT NULL,
    state  TEXT     NOT NULL,
    shard  INTEGER  NOT NULL,
    jobs   INTEGER  NOT NULL,
    PRIMARY KEY (tenant, queue, state, shard)
) STRICT;

-- Queues about which somebody has said something.
CREATE TABLE queue (
    tenant    TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    paused    INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    paused_at INTEGER,
    PRIMARY KEY (tenant, name)
) STRICT;

-- One row for each incarnation of a process.
CREATE TABLE worker (
    id          BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    role        TEXT        NOT NULL,
    host        TEXT        NOT NULL,
    pid         INTEGER     NOT NULL,
    version     TEXT        NOT NULL,
    slots       INTEGER     NOT NULL,
    running     INTEGER     NOT NULL DEFAULT 0,
    queues      TEXT        NOT NULL,                        -- JSON: array of names
    state       TEXT        NOT NULL DEFAULT 'alive' CHECK (state IN ('alive', 'lost', 'stopped')),
    started_at  INTEGER     NOT NULL,
    seen_at     INTEGER     NOT NULL,
    lease_until INTEGER     NOT NULL
) STRICT;
CREATE INDEX worker_alive ON worker (lease_until) WHERE state = 'alive';

-- How far the delivery of each email is: one row for each message to each recipient.
CREATE TABLE email (
    tenant     TEXT        NOT NULL,
    key        TEXT        NOT NULL,
    job_id     BLOB        NOT NULL,
    state      TEXT        NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'uncertain', 'failed')),
    message_id TEXT        NOT NULL,
    note       TEXT,
    created_at INTEGER     NOT NULL,
    moved_at   INTEGER     NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT;

-- Leadership: a convenience that saves double work, never a guarantee.
CREATE TABLE leader (
    name        TEXT PRIMARY KEY,
    holder      BLOB        NOT NULL,
    epoch       INTEGER     NOT NULL,
    lease_until INTEGER     NOT NULL
) STRICT;
