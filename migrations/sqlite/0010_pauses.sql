-- Who paused a queue or a batch: the mirror of PostgreSQL's migration of the same number.
ALTER TABLE queue ADD COLUMN paused_by TEXT;
ALTER TABLE queue ADD COLUMN paused_reason TEXT;
ALTER TABLE batch ADD COLUMN paused_at INTEGER;
ALTER TABLE batch ADD COLUMN paused_by TEXT;
ALTER TABLE batch ADD COLUMN paused_reason TEXT;
