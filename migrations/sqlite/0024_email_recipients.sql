-- Emails by recipient: the mirror of PostgreSQL's migration of the same number.

ALTER TABLE email ADD COLUMN batch_id BLOB;
ALTER TABLE email ADD COLUMN stream TEXT NOT NULL DEFAULT 'transactional';
ALTER TABLE email ADD COLUMN sender TEXT;
ALTER TABLE email ADD COLUMN subject TEXT;
ALTER TABLE email ADD COLUMN template TEXT;
ALTER TABLE email ADD COLUMN sha256 BLOB CHECK (length(sha256) = 32);
ALTER TABLE email ADD COLUMN size INTEGER CHECK (size >= 0);
ALTER TABLE email ADD COLUMN envelope_id TEXT;               -- what reports name the message by (RFC 3461, ENVID)
CREATE INDEX email_by_state ON email (tenant, state, key);
CREATE INDEX email_by_envelope ON email (envelope_id) WHERE envelope_id IS NOT NULL;

-- What goes over the wire, frozen before the first attempt. Beside the list, so that a list reads none of it.
CREATE TABLE email_content (
    tenant TEXT NOT NULL,
    key    TEXT NOT NULL,
    bytes  BLOB NOT NULL,
    PRIMARY KEY (tenant, key),
    FOREIGN KEY (tenant, key) REFERENCES email (tenant, key) ON DELETE CASCADE
) STRICT;

CREATE TABLE email_recipient (
    tenant       TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    position     INTEGER NOT NULL CHECK (position >= 0),
    role         TEXT    NOT NULL CHECK (role IN ('to', 'cc', 'bcc')),
    address      TEXT    NOT NULL,
    address_hash BLOB    NOT NULL CHECK (length(address_hash) = 32),
    state        TEXT    NOT NULL CHECK (state IN ('queued', 'sending', 'transmitted', 'sent', 'deferred', 'bounced',
                             'unknown', 'suppressed', 'dropped', 'expired', 'cancelled', 'delivered', 'complained')),
    attempts     INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    code         INTEGER CHECK (code BETWEEN 200 AND 599),
    status       TEXT,                                       -- the enhanced status code, such as 5.1.1
    rule         TEXT,                                       -- what decided
    note         TEXT,                                       -- what was said
    may_be_twice INTEGER NOT NULL DEFAULT 0 CHECK (may_be_twice IN (0, 1)),  -- sent again after an answer that never came
    moved_at     INTEGER NOT NULL,
    PRIMARY KEY (tenant, key, position),
    FOREIGN KEY (tenant, key) REFERENCES email (tenant, key) ON DELETE CASCADE
) STRICT;
-- Those that are not settled, for the duty that looks after what a lost worker left behind: few at any time.
CREATE INDEX email_recipient_owed ON email_recipient (tenant, key)
    WHERE state IN ('queued', 'sending', 'transmitted', 'deferred');
CREATE INDEX email_recipient_of_address ON email_recipient (address_hash);

-- What was said with the server, one row for each attempt of the job.
CREATE TABLE email_attempt (
    tenant     TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    attempt    INTEGER NOT NULL CHECK (attempt >= 1),
    server     TEXT    NOT NULL,
    transcript TEXT    NOT NULL,
    ended_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant, key, attempt),
    FOREIGN KEY (tenant, key) REFERENCES email (tenant, key) ON DELETE CASCADE
) STRICT;

-- Addresses to which nothing is sent, by the SHA-256 of their canonical form: the list names no person.
CREATE TABLE suppression (
    tenant       TEXT    NOT NULL,
    address_hash BLOB    NOT NULL CHECK (length(address_hash) = 32),
    stream       TEXT    NOT NULL,                           -- empty: all streams
    reason       TEXT    NOT NULL CHECK (reason IN ('bounce', 'complaint', 'manual', 'unsubscribe')),
    note         TEXT,
    created_at   INTEGER NOT NULL,
    until        INTEGER,                                    -- NULL: for ever
    PRIMARY KEY (tenant, address_hash, stream)
) STRICT;
