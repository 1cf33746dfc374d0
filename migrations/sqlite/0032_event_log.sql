-- The log of events: the mirror of PostgreSQL's migration of the same number.

CREATE TABLE event (
    number      INTEGER     PRIMARY KEY AUTOINCREMENT, -- in the order of writing, which is not that of commits
    position    INTEGER      CHECK (position >= 1),           -- one order of all, without gaps; NULL until it is sequenced
    seq         INTEGER      CHECK (seq >= 1),                -- its number in its stream, without gaps
    tenant      TEXT        NOT NULL,
    id          TEXT        NOT NULL,
    source      TEXT        NOT NULL,
    type        TEXT        NOT NULL,
    version     INTEGER     NOT NULL CHECK (version >= 1),   -- of the data of its type
    subject     TEXT,
    stream      TEXT        NOT NULL,
    time        INTEGER NOT NULL,                        -- when it happened
    data        TEXT        NOT NULL,                        -- JSON
    trace       TEXT,
    caused_by   TEXT,                                        -- a person, a program, a duty
    extensions  TEXT        NOT NULL,                        -- JSON: attributes of the publisher's own
    correlation TEXT        NOT NULL,                        -- the first event of its chain
    causation   TEXT,                                        -- the event before it in that chain
    depth       INTEGER     NOT NULL CHECK (depth >= 0),     -- how many are before it
    sha256      TEXT        NOT NULL,                        -- of what its publisher said
    accepted_at INTEGER NOT NULL,
    UNIQUE (tenant, source, id),
    CONSTRAINT event_sequenced_whole CHECK ((position IS NULL) = (seq IS NULL))
) STRICT;
CREATE UNIQUE INDEX event_position ON event (position) WHERE position IS NOT NULL;
CREATE UNIQUE INDEX event_in_stream ON event (tenant, stream, seq) WHERE position IS NOT NULL;
CREATE INDEX event_new ON event (number) WHERE position IS NULL;
CREATE INDEX event_listed ON event (tenant, position) WHERE position IS NOT NULL;
CREATE INDEX event_chain ON event (tenant, correlation, position) WHERE position IS NOT NULL;
CREATE INDEX event_by_time ON event (accepted_at);

-- The last position that was given.
CREATE TABLE event_head (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER  NOT NULL CHECK (position >= 0)
) STRICT;
INSERT INTO event_head (one, position) VALUES (1, 0);

-- What the data of a type looks like, by version.
CREATE TABLE event_schema (
    tenant   TEXT        NOT NULL,
    type     TEXT        NOT NULL,
    version  INTEGER     NOT NULL CHECK (version >= 1),
    schema   TEXT        NOT NULL,                           -- JSON Schema
    added_by TEXT        NOT NULL,
    added_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, type, version)
) STRICT;

-- Who is given which events, and how far that has come.
CREATE TABLE event_subscription (
    tenant       TEXT        NOT NULL,
    name         TEXT        NOT NULL,
    spec         TEXT        NOT NULL,                       -- JSON
    origin       TEXT        NOT NULL CHECK (origin IN ('file', 'command')),
    version      INTEGER      NOT NULL,                       -- rises with each change of it
    cursor       INTEGER      NOT NULL CHECK (cursor >= 0),   -- the last position that is done with
    delivered    INTEGER      NOT NULL DEFAULT 0,
    skipped      INTEGER      NOT NULL DEFAULT 0,
    refused      INTEGER      NOT NULL DEFAULT 0,
    delivered_at INTEGER,
    tries        INTEGER     NOT NULL DEFAULT 0,             -- how often its next step has failed
    retry_at     INTEGER,
    error        TEXT,                                       -- why it failed the last time
    paused_at    INTEGER,
    paused_by    TEXT,
    paused_for   TEXT,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;

-- Events that are given to a subscription once more, in their order.
CREATE TABLE event_replay (
    id           BLOB        NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant       TEXT        NOT NULL,
    subscription TEXT        NOT NULL,
    types        TEXT        NOT NULL,                       -- JSON: patterns
    cursor       INTEGER      NOT NULL CHECK (cursor >= 0),   -- the last position that is done with
    until        INTEGER      NOT NULL CHECK (until >= 0),    -- the last position of all
    rate         INTEGER     CHECK (rate > 0),               -- events a second; NULL is as fast as it goes
    state        TEXT        NOT NULL CHECK (state IN ('running', 'finished', 'cancelled')),
    delivered    INTEGER      NOT NULL DEFAULT 0,
    skipped      INTEGER      NOT NULL DEFAULT 0,
    refused      INTEGER      NOT NULL DEFAULT 0,
    ordered_by   TEXT        NOT NULL,
    reason       TEXT,
    due_at       INTEGER NOT NULL,                       -- of the next step
    created_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    CONSTRAINT event_replay_ended_when_over CHECK ((ended_at IS NULL) = (state = 'running'))
) STRICT;
CREATE INDEX event_replay_by_subscription ON event_replay (tenant, subscription, id);
CREATE INDEX event_replay_due ON event_replay (due_at) WHERE state = 'running';

-- The inbox: what became of an event at a subscription that means it. It has it once, and once more for each replay.
CREATE TABLE event_delivery (
    tenant       TEXT        NOT NULL,
    subscription TEXT        NOT NULL,
    position     INTEGER      NOT NULL,
    replay       TEXT        NOT NULL,                       -- empty when it came by itself
    job_id       BLOB,                                       -- the job that it has enqueued
    run          TEXT,                                       -- the run of a batch that it has requested
    refusal      TEXT,                                       -- why it was not delivered
    reason       TEXT,
    at           INTEGER NOT NULL,
    PRIMARY KEY (tenant, subscription, position, replay)
) STRICT;
CREATE INDEX event_delivery_of_event ON event_delivery (position);
CREATE INDEX event_delivery_job ON event_delivery (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX event_delivery_run ON event_delivery (tenant, run) WHERE run IS NOT NULL;
CREATE INDEX event_delivery_refused ON event_delivery (tenant, subscription, at) WHERE refusal IS NOT NULL;
CREATE INDEX event_delivery_by_time ON event_delivery (at);
