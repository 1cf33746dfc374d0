-- Who may use the API: users, tenants, memberships, tokens, sessions, one-time links. Secrets are kept as SHA-256 only,
-- passwords as PHC strings of argon2id. Texts hold JSON where a comment says so.

CREATE TABLE access_user (
    id            UUID PRIMARY KEY,
    email         TEXT        NOT NULL UNIQUE,               -- in its canonical form
    name          TEXT        NOT NULL,
    password      TEXT,                                      -- NULL: none has been chosen yet
    state         TEXT        NOT NULL CHECK (state IN ('active', 'disabled', 'unverified')),
    installation  BOOLEAN     NOT NULL DEFAULT FALSE,        -- may create, suspend and delete tenants
    created_at    TIMESTAMPTZ NOT NULL,
    last_login_at TIMESTAMPTZ
);

CREATE TABLE access_tenant (
    name         TEXT PRIMARY KEY,
    state        TEXT        NOT NULL CHECK (state IN ('active', 'suspended')),
    reason       TEXT,                                       -- why it is suspended
    quotas       TEXT        NOT NULL DEFAULT '{}',          -- JSON
    created_at   TIMESTAMPTZ NOT NULL,
    suspended_at TIMESTAMPTZ
);

CREATE TABLE access_membership (
    tenant     TEXT        NOT NULL REFERENCES access_tenant (name) ON DELETE CASCADE,
    user_id    UUID        NOT NULL REFERENCES access_user (id) ON DELETE CASCADE,
    role       TEXT        NOT NULL CHECK (role IN ('owner', 'admin', 'operator', 'viewer', 'auditor')),
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, user_id)
);
CREATE INDEX access_membership_of_user ON access_membership (user_id, tenant);

CREATE TABLE access_token (
    id           UUID PRIMARY KEY,
    hash         BYTEA       NOT NULL UNIQUE CHECK (length(hash) = 32),
    prefix       TEXT        NOT NULL,                       -- the beginning of the secret, by which people know it
    user_id      UUID        NOT NULL REFERENCES access_user (id) ON DELETE CASCADE,
    tenant       TEXT        NOT NULL REFERENCES access_tenant (name) ON DELETE CASCADE,
    name         TEXT        NOT NULL,
    scopes       TEXT,                                       -- JSON: the permissions that it is limited to; NULL: those of its user
    created_at   TIMESTAMPTZ NOT NULL,
    expires_at   TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ,                                -- written at most once a minute
    revoked_at   TIMESTAMPTZ
);
CREATE INDEX access_token_of_tenant ON access_token (tenant, id);
CREATE INDEX access_token_of_user ON access_token (user_id);

CREATE TABLE access_session (
    id           UUID PRIMARY KEY,
    hash         BYTEA       NOT NULL UNIQUE CHECK (length(hash) = 32),
    user_id      UUID        NOT NULL REFERENCES access_user (id) ON DELETE CASCADE,
    address      TEXT,                                       -- from where it was opened
    agent        TEXT,                                       -- with which program
    created_at   TIMESTAMPTZ NOT NULL,
    last_seen_at TIMESTAMPTZ NOT NULL,                       -- written at most once a minute
    idle_at      TIMESTAMPTZ NOT NULL,                       -- when it ends unless it is used
    expires_at   TIMESTAMPTZ NOT NULL,                       -- when it ends in any case
    revoked_at   TIMESTAMPTZ
);
CREATE INDEX access_session_of_user ON access_session (user_id, id);
CREATE INDEX access_session_expires ON access_session (expires_at);

-- Invitations and other links that may be used once.
CREATE TABLE access_link (
    id         UUID PRIMARY KEY,
    hash       BYTEA       NOT NULL UNIQUE CHECK (length(hash) = 32),
    purpose    TEXT        NOT NULL CHECK (purpose IN ('first_owner', 'invite', 'reset', 'verify')),
    email      TEXT,                                         -- for whom
    tenant     TEXT REFERENCES access_tenant (name) ON DELETE CASCADE,
    role       TEXT CHECK (role IN ('owner', 'admin', 'operator', 'viewer', 'auditor')),
    by_user    UUID REFERENCES access_user (id) ON DELETE CASCADE, -- who invites; NULL: whoever owns the database
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    used_at    TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ,
    CONSTRAINT access_link_invites_somewhere CHECK (purpose <> 'invite' OR (tenant IS NOT NULL AND role IS NOT NULL))
);
CREATE INDEX access_link_of_email ON access_link (email) WHERE used_at IS NULL AND revoked_at IS NULL;
CREATE INDEX access_link_of_tenant ON access_link (tenant, id) WHERE used_at IS NULL AND revoked_at IS NULL;
CREATE INDEX access_link_expires ON access_link (expires_at);

-- How often a login was tried, by account (what was typed, as far as it is an address of mail) and by address.
CREATE TABLE access_try (
    scope   TEXT        NOT NULL CHECK (scope IN ('account', 'address')),
    subject TEXT        NOT NULL,
    tries   BIGINT      NOT NULL CHECK (tries >= 0),
    until   TIMESTAMPTZ NOT NULL,                            -- when the count begins anew
    PRIMARY KEY (scope, subject)
);
CREATE INDEX access_try_until ON access_try (until);

-- The tenants that have work already, and the one that is meant when none is named.
INSERT INTO access_tenant (name, state, created_at) SELECT DISTINCT tenant, 'active', now() FROM queue_count;
INSERT INTO access_tenant (name, state, created_at) VALUES ('main', 'active', now()) ON CONFLICT DO NOTHING;
