-- Snoozes: how often a job's handler has said "come again later", and how often it may. The attempt's number stays,
-- since it is part of the fence; the limit rises by one.
ALTER TABLE job ADD COLUMN snoozes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN max_snoozes INTEGER NOT NULL DEFAULT 100;
ALTER TABLE job ADD CONSTRAINT job_snoozes_are_attempts CHECK (snoozes >= 0 AND snoozes <= attempt AND max_snoozes >= 0);
