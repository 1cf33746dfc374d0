-- Who paused a queue or a batch, since when, and why. What is said counts only while it is paused.
ALTER TABLE queue ADD COLUMN paused_by TEXT, ADD COLUMN paused_reason TEXT;
ALTER TABLE batch ADD COLUMN paused_at TIMESTAMPTZ, ADD COLUMN paused_by TEXT, ADD COLUMN paused_reason TEXT;
