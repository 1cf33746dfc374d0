-- Snoozes: the mirror of PostgreSQL's migration of the same number.
ALTER TABLE job ADD COLUMN snoozes INTEGER NOT NULL DEFAULT 0 CHECK (snoozes >= 0);
ALTER TABLE job ADD COLUMN max_snoozes INTEGER NOT NULL DEFAULT 100 CHECK (max_snoozes >= 0);

-- Payload versions, and jobs whose message was taken by a worker that lacks their kind or version.
ALTER TABLE job ADD COLUMN version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1);
ALTER TABLE job ADD COLUMN astray INTEGER NOT NULL DEFAULT 0 CHECK (astray IN (0, 1));
CREATE INDEX job_astray ON job ((CASE version WHEN 1 THEN kind ELSE kind || '@' || version END), lane, id)
    WHERE astray AND state = 'queued';

-- What each worker serves: JSON, an array of kinds, with `@VERSION` behind those of another version than 1.
ALTER TABLE worker ADD COLUMN kinds TEXT NOT NULL DEFAULT '[]';
