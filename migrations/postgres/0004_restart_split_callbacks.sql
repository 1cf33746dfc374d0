-- What restarting, splitting and the callbacks of a batch under way must remember.

ALTER TABLE batch
    ADD COLUMN sealed_at    TIMESTAMPTZ,                     -- when its plan was complete; NULL: its input was never read to the end
    ADD COLUMN told_failure INTEGER NOT NULL DEFAULT -1,     -- the generation whose first failure has been told of
    ADD COLUMN late_at      TIMESTAMPTZ,                     -- when it counts as late; NULL: never, or told of already
    ADD COLUMN spool        TEXT CHECK (spool IN ('kept', 'releasing', 'gone')); -- its copies of the input; NULL: it has none
CREATE INDEX batch_late ON batch (late_at) WHERE late_at IS NOT NULL;
CREATE INDEX batch_spool ON batch (id) WHERE spool IN ('kept', 'releasing');

ALTER TABLE job ADD COLUMN half_of BIGINT;                   -- the number of the chunk that it is a half of
