-- Quotas and second factors.

-- The batches of a tenant that have not ended: as many of them are read as its quota allows, and one more.
CREATE INDEX batch_active ON batch (tenant) WHERE state IN ('open', 'sealed', 'aggregating');

-- The second factor of a user: what its codes are made from, and the last step of time whose code was used.
CREATE TABLE access_factor (
    user_id      UUID PRIMARY KEY REFERENCES access_user (id) ON DELETE CASCADE,
    secret       BYTEA       NOT NULL,
    last_step    BIGINT      NOT NULL CHECK (last_step >= 0),
    created_at   TIMESTAMPTZ NOT NULL,
    confirmed_at TIMESTAMPTZ                                 -- NULL: offered, and logins ask for none yet
);

-- Its recovery codes, each of which is taken once.
CREATE TABLE access_recovery (
    user_id UUID  NOT NULL REFERENCES access_user (id) ON DELETE CASCADE,
    hash    BYTEA NOT NULL CHECK (length(hash) = 32),
    used_at TIMESTAMPTZ,
    PRIMARY KEY (user_id, hash)
);
