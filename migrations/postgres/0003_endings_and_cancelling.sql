-- Snoozes: how often a job's handler has said "come again later", and how often it may. The attempt's number stays,
-- since it is part of the fence; the limit rises by one.
ALTER TABLE job ADD COLUMN snoozes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN max_snoozes INTEGER NOT NULL DEFAULT 100;
ALTER TABLE job ADD CONSTRAINT job_snoozes_are_attempts CHECK (snoozes >= 0 AND snoozes <= attempt AND max_snoozes >= 0);

-- Payload versions: a worker claims only those that it reads. `astray` are jobs whose message was taken by a worker that
-- lacks their kind or version: those that have it look here.
ALTER TABLE job ADD COLUMN version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1);
ALTER TABLE job ADD COLUMN astray BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX job_astray ON job ((CASE version WHEN 1 THEN kind ELSE kind || '@' || version::text END), lane, id)
    WHERE astray AND state = 'queued';

-- What each worker serves: JSON, an array of kinds, with `@VERSION` behind those of another version than 1.
ALTER TABLE worker ADD COLUMN kinds TEXT NOT NULL DEFAULT '[]';
