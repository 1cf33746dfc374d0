-- Mailings: the mirror of PostgreSQL's migration of the same number.

ALTER TABLE email ADD COLUMN item INTEGER CHECK (item >= 0);  -- the place of the item that it was made of: it is part of a mailing
ALTER TABLE email ADD COLUMN variant TEXT;                   -- by which it is counted: the template, or empty
ALTER TABLE email ADD COLUMN again INTEGER NOT NULL DEFAULT 0 CHECK (again IN (0, 1));  -- those of whom it is unknown may get it once more
ALTER TABLE email_recipient ADD COLUMN domain TEXT;
UPDATE email_recipient SET domain = lower(substr(address, instr(address, '@') + 1));
CREATE INDEX email_by_time ON email (tenant, created_at);
CREATE INDEX email_in_batch ON email (batch_id, key) WHERE batch_id IS NOT NULL;

-- How many recipients of a mailing are in each state. Changed in the transaction that moves them.
CREATE TABLE mailing_count (
    batch_id   BLOB    NOT NULL REFERENCES batch (id) ON DELETE CASCADE,
    tenant     TEXT    NOT NULL,
    variant    TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('queued', 'sending', 'transmitted', 'sent', 'deferred', 'bounced',
                           'unknown', 'suppressed', 'dropped', 'expired', 'cancelled', 'delivered', 'complained')),
    shard      INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    PRIMARY KEY (batch_id, variant, state, shard)
) STRICT, WITHOUT ROWID;

-- Batches with messages; and what had been tried, and had bounced, when one paused for its bounces last: who resumes it
-- forgives that.
CREATE TABLE mailing (
    batch_id BLOB    PRIMARY KEY REFERENCES batch (id) ON DELETE CASCADE,
    tenant   TEXT    NOT NULL,
    tried    INTEGER NOT NULL DEFAULT 0 CHECK (tried >= 0),
    bounced  INTEGER NOT NULL DEFAULT 0 CHECK (bounced >= 0)
) STRICT;
CREATE INDEX mailing_newest ON mailing (tenant, batch_id);
