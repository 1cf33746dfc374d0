-- Unique jobs: a job holds its key as long as its own row says so. Nothing beside the row can go wrong: what
-- `unique_held` is derives from it, and the index lets no second row have the same.

ALTER TABLE job
    -- The states in which it holds its key, separated by commas; `waiting` until it has begun; `period` until
    -- `unique_until` is taken away. NULL is until it is final.
    ADD COLUMN unique_rule  TEXT,
    ADD COLUMN unique_until TIMESTAMPTZ,
    ADD COLUMN unique_held  TEXT GENERATED ALWAYS AS (CASE
        WHEN unique_key IS NULL THEN NULL
        WHEN unique_rule = 'period' THEN CASE WHEN unique_until IS NOT NULL THEN unique_key END
        WHEN unique_rule = 'waiting' THEN
            CASE WHEN started_at IS NULL AND state IN ('scheduled', 'queued') THEN unique_key END
        WHEN strpos(COALESCE(unique_rule, 'scheduled,queued,running,retry'), state) > 0 THEN unique_key
        END) STORED;

DROP INDEX job_unique;
CREATE UNIQUE INDEX job_unique ON job (tenant, unique_held) WHERE unique_held IS NOT NULL;
