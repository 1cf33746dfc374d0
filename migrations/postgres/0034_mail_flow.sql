-- Sending mail: what all workers know of relays and of recipients' domains.

-- How each relay is doing. A worker that uses it makes its row.
CREATE TABLE mail_relay (
    name         TEXT PRIMARY KEY,
    place        TEXT        NOT NULL,                       -- host and port, as the last worker that made it known has it
    state        TEXT        NOT NULL CHECK (state IN ('closed', 'open', 'half_open', 'suspended')),
    since        TIMESTAMPTZ NOT NULL,
    until        TIMESTAMPTZ,                                -- left alone, or tried, until then
    counted_from TIMESTAMPTZ NOT NULL,
    taken        BIGINT      NOT NULL CHECK (taken >= 0),
    failed       BIGINT      NOT NULL CHECK (failed >= 0),
    pauses       BIGINT      NOT NULL CHECK (pauses >= 0),
    fault        BOOLEAN     NOT NULL,                       -- it does not let us in
    why          TEXT,
    used_to      TIMESTAMPTZ,                                -- its rate is used up to then
    day          TEXT,                                       -- the day, UTC, of the messages that are counted
    messages     BIGINT      NOT NULL DEFAULT 0 CHECK (messages >= 0),
    CHECK ((state IN ('open', 'half_open')) = (until IS NOT NULL))
);

-- Domains that are suspended, that asked to slow down, or that have a rate.
CREATE TABLE mail_domain (
    name            TEXT PRIMARY KEY,
    suspended_at    TIMESTAMPTZ,
    suspended_until TIMESTAMPTZ,                             -- NULL: until it is resumed
    suspended_by    TEXT,
    suspended_why   TEXT,
    learned         BIGINT CHECK (learned >= 1),             -- messages in a minute
    learned_at      TIMESTAMPTZ,
    slowed          BIGINT NOT NULL DEFAULT 0 CHECK (slowed >= 0),
    said            TEXT,
    used_to         TIMESTAMPTZ,
    CHECK ((suspended_at IS NULL) = (suspended_by IS NULL)),
    CHECK (suspended_until IS NULL OR suspended_at IS NOT NULL),
    CHECK ((learned IS NULL) = (learned_at IS NULL))
);
CREATE INDEX mail_domain_held ON mail_domain (name) WHERE suspended_at IS NOT NULL OR learned IS NOT NULL;

-- Which jobs wait for a domain: whose turn it is follows from this, and whom to wake when it is free again.
CREATE TABLE mail_wait (
    domain   TEXT        NOT NULL,
    tenant   TEXT        NOT NULL,
    job_id   UUID        NOT NULL,
    asked_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (domain, tenant, job_id)
);
CREATE INDEX mail_wait_by_job ON mail_wait (job_id);

SELECT confine_tenants();
