-- What restarting, splitting and the callbacks of a batch under way must remember: the mirror of PostgreSQL's
-- migration of the same number.

ALTER TABLE batch ADD COLUMN sealed_at INTEGER;              -- when its plan was complete; NULL: its input was never read to the end
ALTER TABLE batch ADD COLUMN told_failure INTEGER NOT NULL DEFAULT -1; -- the generation whose first failure has been told of
ALTER TABLE batch ADD COLUMN late_at INTEGER;                -- when it counts as late; NULL: never, or told of already
ALTER TABLE batch ADD COLUMN spool TEXT CHECK (spool IN ('kept', 'releasing', 'gone')); -- its copies of the input; NULL: it has none
CREATE INDEX batch_late ON batch (late_at) WHERE late_at IS NOT NULL;
CREATE INDEX batch_spool ON batch (id) WHERE spool IN ('kept', 'releasing');

ALTER TABLE job ADD COLUMN half_of INTEGER;                  -- the number of the chunk that it is a half of
