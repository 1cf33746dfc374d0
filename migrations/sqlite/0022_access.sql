-- Access tokens: the mirror of PostgreSQL's migration of the same number. There are no roles here that rows could be kept
-- from.

ALTER TABLE access_session ADD COLUMN kind TEXT NOT NULL DEFAULT 'browser' CHECK (kind IN ('browser', 'tokens'));

-- The refresh tokens of a session that were used: one that comes again was stolen, from its owner or by them.
CREATE TABLE access_spent (
    hash       BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    session_id BLOB        NOT NULL REFERENCES access_session (id) ON DELETE CASCADE,
    spent_at   INTEGER     NOT NULL
) STRICT;
CREATE INDEX access_spent_of_session ON access_spent (session_id);

-- One key signs. One that was replaced verifies until what it has signed is over; then nothing of it is needed.
CREATE TABLE access_key (
    id         BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    public     BLOB        NOT NULL CHECK (length(public) = 32),
    secret     BLOB,                                         -- sealed; NULL when it signs no more
    signs      INTEGER UNIQUE CHECK (signs = 1),             -- NULL when it signs no more
    created_at INTEGER     NOT NULL,
    ends_at    INTEGER,                                      -- until when it verifies; NULL while it signs
    CHECK ((signs IS NULL) = (secret IS NULL) AND (signs IS NULL) = (ends_at IS NOT NULL))
) STRICT;
