-- Mailings: messages that the items of a batch have become, and how many of their recipients are where.

ALTER TABLE email
    ADD COLUMN item    BIGINT CHECK (item >= 0),             -- the place of the item that it was made of: it is part of a mailing
    ADD COLUMN variant TEXT,                                 -- by which it is counted: the template, or empty
    ADD COLUMN again   BOOLEAN NOT NULL DEFAULT FALSE;       -- those of whom it is unknown may get it once more
ALTER TABLE email_recipient ADD COLUMN domain TEXT;
UPDATE email_recipient SET domain = lower(substr(address, strpos(address, '@') + 1));
CREATE INDEX email_by_time ON email (tenant, created_at);
CREATE INDEX email_in_batch ON email (batch_id, key) WHERE batch_id IS NOT NULL;

-- How many recipients of a mailing are in each state. Changed in the transaction that moves them, in one of several rows,
-- so that workers do not wait for one another.
CREATE TABLE mailing_count (
    batch_id   UUID   NOT NULL REFERENCES batch (id) ON DELETE CASCADE,
    tenant     TEXT   NOT NULL,
    variant    TEXT   NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('queued', 'sending', 'transmitted', 'sent', 'deferred', 'bounced',
                          'unknown', 'suppressed', 'dropped', 'expired', 'cancelled', 'delivered', 'complained')),
    shard      BIGINT NOT NULL,
    recipients BIGINT NOT NULL,
    PRIMARY KEY (batch_id, variant, state, shard)
);

-- Batches with messages; and what had been tried, and had bounced, when one paused for its bounces last: who resumes it
-- forgives that.
CREATE TABLE mailing (
    batch_id UUID   PRIMARY KEY REFERENCES batch (id) ON DELETE CASCADE,
    tenant   TEXT   NOT NULL,
    tried    BIGINT NOT NULL DEFAULT 0 CHECK (tried >= 0),
    bounced  BIGINT NOT NULL DEFAULT 0 CHECK (bounced >= 0)
);
CREATE INDEX mailing_newest ON mailing (tenant, batch_id);

SELECT confine_tenants();
