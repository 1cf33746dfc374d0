-- Access tokens: the keys that sign them, and the refresh tokens by which a session goes on without a password.

-- How a session is known: by the cookie of a browser, or by tokens. `hash` is then that of the refresh token that may be
-- used next.
ALTER TABLE access_session ADD COLUMN kind TEXT NOT NULL DEFAULT 'browser' CHECK (kind IN ('browser', 'tokens'));

-- The refresh tokens of a session that were used: one that comes again was stolen, from its owner or by them.
CREATE TABLE access_spent (
    hash       BYTEA PRIMARY KEY CHECK (length(hash) = 32),
    session_id UUID        NOT NULL REFERENCES access_session (id) ON DELETE CASCADE,
    spent_at   TIMESTAMPTZ NOT NULL
);
CREATE INDEX access_spent_of_session ON access_spent (session_id);

-- One key signs. One that was replaced verifies until what it has signed is over; then nothing of it is needed.
CREATE TABLE access_key (
    id         UUID PRIMARY KEY,
    public     BYTEA       NOT NULL CHECK (length(public) = 32),
    secret     BYTEA,                                        -- sealed; NULL when it signs no more
    signs      BOOLEAN UNIQUE CHECK (signs),                 -- NULL when it signs no more
    created_at TIMESTAMPTZ NOT NULL,
    ends_at    TIMESTAMPTZ,                                  -- until when it verifies; NULL while it signs
    CHECK ((signs IS NULL) = (secret IS NULL) AND (signs IS NULL) = (ends_at IS NOT NULL))
);
