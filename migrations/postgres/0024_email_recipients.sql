-- Emails by recipient: where each is, what was said, and to which addresses nothing is sent.

ALTER TABLE email
    ADD COLUMN batch_id    UUID,
    ADD COLUMN stream      TEXT NOT NULL DEFAULT 'transactional',
    ADD COLUMN sender      TEXT,
    ADD COLUMN subject     TEXT,
    ADD COLUMN template    TEXT,
    ADD COLUMN sha256      BYTEA CHECK (length(sha256) = 32),
    ADD COLUMN size        BIGINT CHECK (size >= 0),
    ADD COLUMN envelope_id TEXT;                             -- what reports name the message by (RFC 3461, ENVID)
CREATE INDEX email_by_state ON email (tenant, state, key);
CREATE INDEX email_by_envelope ON email (envelope_id) WHERE envelope_id IS NOT NULL;

-- What goes over the wire, frozen before the first attempt. Beside the list, so that a list reads none of it.
CREATE TABLE email_content (
    tenant TEXT  NOT NULL,
    key    TEXT  NOT NULL,
    bytes  BYTEA NOT NULL,
    PRIMARY KEY (tenant, key),
    FOREIGN KEY (tenant, key) REFERENCES email (tenant, key) ON DELETE CASCADE
);

CREATE TABLE email_recipient (
    tenant       TEXT        NOT NULL,
    key          TEXT        NOT NULL,
    position     BIGINT      NOT NULL CHECK (position >= 0),
    role         TEXT        NOT NULL CHECK (role IN ('to', 'cc', 'bcc')),
    address      TEXT        NOT NULL,
    address_hash BYTEA       NOT NULL CHECK (length(address_hash) = 32),
    state        TEXT        NOT NULL CHECK (state IN ('queued', 'sending', 'transmitted', 'sent', 'deferred', 'bounced',
                                 'unknown', 'suppressed', 'dropped', 'expired', 'cancelled', 'delivered', 'complained')),
    attempts     BIGINT      NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    code         BIGINT      CHECK (code BETWEEN 200 AND 599),
    status       TEXT,                                       -- the enhanced status code, such as 5.1.1
    rule         TEXT,                                       -- what decided
    note         TEXT,                                       -- what was said
    may_be_twice BOOLEAN     NOT NULL DEFAULT false,         -- sent again after an answer that never came
    moved_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, key, position),
    FOREIGN KEY (tenant, key) REFERENCES email (tenant, key) ON DELETE CASCADE
);
-- Those that are not settled, for the duty that looks after what a lost worker left behind: few at any time.
CREATE INDEX email_recipient_owed ON email_recipient (tenant, key)
    WHERE state IN ('queued', 'sending', 'transmitted', 'deferred');
CREATE INDEX email_recipient_of_address ON email_recipient (address_hash);

-- What was said with the server, one row for each attempt of the job.
CREATE TABLE email_attempt (
    tenant     TEXT        NOT NULL,
    key        TEXT        NOT NULL,
    attempt    BIGINT      NOT NULL CHECK (attempt >= 1),
    server     TEXT        NOT NULL,
    transcript TEXT        NOT NULL,
    ended_at   TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant, key, attempt),
    FOREIGN KEY (tenant, key) REFERENCES email (tenant, key) ON DELETE CASCADE
);

-- Addresses to which nothing is sent, by the SHA-256 of their canonical form: the list names no person.
CREATE TABLE suppression (
    tenant       TEXT        NOT NULL,
    address_hash BYTEA       NOT NULL CHECK (length(address_hash) = 32),
    stream       TEXT        NOT NULL,                       -- empty: all streams
    reason       TEXT        NOT NULL CHECK (reason IN ('bounce', 'complaint', 'manual', 'unsubscribe')),
    note         TEXT,
    created_at   TIMESTAMPTZ NOT NULL,
    until        TIMESTAMPTZ,                                -- NULL: for ever
    PRIMARY KEY (tenant, address_hash, stream)
);
