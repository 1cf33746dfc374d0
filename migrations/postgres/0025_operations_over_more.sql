-- Operations over quarantined items and over batches.

ALTER TABLE operation DROP CONSTRAINT operation_verb_check;
ALTER TABLE operation ADD CONSTRAINT operation_verb_check
    CHECK (verb IN ('cancel', 'redrive', 'discard', 'redrive-items', 'discard-items', 'cancel-batches',
                     'pause-batches', 'resume-batches', 'restart-batches', 'delete-batches'));

-- Items that an operation has taken out of the quarantine, whole: for as long as it can be undone.
CREATE TABLE operation_item (
    operation_id UUID        NOT NULL REFERENCES operation (id) ON DELETE CASCADE,
    item_id      BIGINT      NOT NULL,
    tenant       TEXT        NOT NULL,
    batch_id     UUID        NOT NULL,
    seq          BIGINT      NOT NULL,
    generation   INTEGER     NOT NULL,
    position     BIGINT      NOT NULL,
    line         BIGINT,
    stage        TEXT        NOT NULL,
    reason       TEXT        NOT NULL,
    item         TEXT        NOT NULL,                       -- JSON
    created_at   TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (operation_id, item_id)
);

-- Batches that an operation has cancelled: for as long as it can be undone.
CREATE TABLE operation_batch (
    operation_id  UUID        NOT NULL REFERENCES operation (id) ON DELETE CASCADE,
    batch_id      UUID        NOT NULL,
    tenant        TEXT        NOT NULL,
    paused        BOOLEAN     NOT NULL,                      -- whether it was paused, by whom and why
    paused_by     TEXT,
    paused_reason TEXT,
    at            TIMESTAMPTZ NOT NULL,                      -- the end that the operation gave the batch
    PRIMARY KEY (operation_id, batch_id)
);

SELECT confine_tenants();
