-- Messages that nobody can read, or that name a job that nobody knows. They say nothing of whose they are.
CREATE TABLE poison (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue    TEXT        NOT NULL,                           -- that it came through; empty where nobody can tell
    sha256   TEXT        NOT NULL CHECK (length(sha256) = 64),
    size     BIGINT      NOT NULL CHECK (size >= 0),         -- of the whole message
    bytes    BYTEA       NOT NULL CHECK (length(bytes) <= 65536), -- its beginning
    headers  TEXT        NOT NULL,                           -- JSON
    reason   TEXT        NOT NULL,
    source   TEXT        NOT NULL CHECK (source IN ('worker', 'returned')), -- which consumer met it
    seen     BIGINT      NOT NULL DEFAULT 1 CHECK (seen >= 1),
    first_at TIMESTAMPTZ NOT NULL,
    last_at  TIMESTAMPTZ NOT NULL,
    CONSTRAINT poison_once UNIQUE (queue, sha256)
);

-- Batches that were taken back before they were sealed. Messages that name their jobs may still be on the road, and
-- are no poison. The ids of a plan's chunks are ordered by time, so that two of them name all.
CREATE TABLE discarded (
    batch_id     UUID PRIMARY KEY,
    first_job    UUID        NOT NULL,
    last_job     UUID        NOT NULL,
    discarded_at TIMESTAMPTZ NOT NULL
);
