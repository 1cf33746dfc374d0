-- Sending mail, relays and domains: the mirror of PostgreSQL's migration of the same number.

CREATE TABLE mail_relay (
    name         TEXT PRIMARY KEY,
    place        TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('closed', 'open', 'half_open', 'suspended')),
    since        INTEGER NOT NULL,
    until        INTEGER,
    counted_from INTEGER NOT NULL,
    taken        INTEGER NOT NULL CHECK (taken >= 0),
    failed       INTEGER NOT NULL CHECK (failed >= 0),
    pauses       INTEGER NOT NULL CHECK (pauses >= 0),
    fault        INTEGER NOT NULL,
    why          TEXT,
    used_to      INTEGER,
    day          TEXT,
    messages     INTEGER NOT NULL DEFAULT 0 CHECK (messages >= 0),
    CHECK ((state IN ('open', 'half_open')) = (until IS NOT NULL))
) STRICT;

CREATE TABLE mail_domain (
    name            TEXT PRIMARY KEY,
    suspended_at    INTEGER,
    suspended_until INTEGER,
    suspended_by    TEXT,
    suspended_why   TEXT,
    learned         INTEGER CHECK (learned >= 1),
    learned_at      INTEGER,
    slowed          INTEGER NOT NULL DEFAULT 0 CHECK (slowed >= 0),
    said            TEXT,
    used_to         INTEGER,
    CHECK ((suspended_at IS NULL) = (suspended_by IS NULL)),
    CHECK (suspended_until IS NULL OR suspended_at IS NOT NULL),
    CHECK ((learned IS NULL) = (learned_at IS NULL))
) STRICT;
CREATE INDEX mail_domain_held ON mail_domain (name) WHERE suspended_at IS NOT NULL OR learned IS NOT NULL;

CREATE TABLE mail_wait (
    domain   TEXT    NOT NULL,
    tenant   TEXT    NOT NULL,
    job_id   BLOB    NOT NULL,
    asked_at INTEGER NOT NULL,
    PRIMARY KEY (domain, tenant, job_id)
) STRICT;
CREATE INDEX mail_wait_by_job ON mail_wait (job_id);
