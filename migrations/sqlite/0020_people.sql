-- Quotas and second factors: the mirror of PostgreSQL's migration of the same number.

-- The batches of a tenant that have not ended: as many of them are read as its quota allows, and one more.
CREATE INDEX batch_active ON batch (tenant) WHERE state IN ('open', 'sealed', 'aggregating');

-- The second factor of a user: what its codes are made from, and the last step of time whose code was used.
CREATE TABLE access_factor (
    user_id      BLOB    NOT NULL PRIMARY KEY REFERENCES access_user (id) ON DELETE CASCADE,
    secret       BLOB    NOT NULL,
    last_step    INTEGER NOT NULL CHECK (last_step >= 0),
    created_at   INTEGER NOT NULL,
    confirmed_at INTEGER                                     -- NULL: offered, and logins ask for none yet
) STRICT;

-- Its recovery codes, each of which is taken once.
CREATE TABLE access_recovery (
    user_id BLOB NOT NULL REFERENCES access_user (id) ON DELETE CASCADE,
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    used_at INTEGER,
    PRIMARY KEY (user_id, hash)
) STRICT;
