-- Messages that nobody can read, or that name a job that nobody knows. They say nothing of whose they are.
CREATE TABLE poison (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    queue    TEXT    NOT NULL,                               -- that it came through; empty where nobody can tell
    sha256   TEXT    NOT NULL CHECK (length(sha256) = 64),
    size     INTEGER NOT NULL CHECK (size >= 0),             -- of the whole message
    bytes    BLOB    NOT NULL CHECK (length(bytes) <= 65536), -- its beginning
    headers  TEXT    NOT NULL,                               -- JSON
    reason   TEXT    NOT NULL,
    source   TEXT    NOT NULL CHECK (source IN ('worker', 'returned')), -- which consumer met it
    seen     INTEGER NOT NULL DEFAULT 1 CHECK (seen >= 1),
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    CONSTRAINT poison_once UNIQUE (queue, sha256)
) STRICT;

-- Batches that were taken back before they were sealed. Messages that name their jobs may still be on the road, and
-- are no poison. The ids of a plan's chunks are ordered by time, so that two of them name all.
CREATE TABLE discarded (
    batch_id     BLOB PRIMARY KEY,
    first_job    BLOB    NOT NULL,
    last_job     BLOB    NOT NULL,
    discarded_at INTEGER NOT NULL
) STRICT;
