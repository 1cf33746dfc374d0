-- The indexes of `job`, made for what is read: the mirror of PostgreSQL's migration of the same number, which says what
-- each is for.

ALTER TABLE job ADD COLUMN limited INTEGER NOT NULL DEFAULT 0 CHECK (limited IN (0, 1));

CREATE INDEX job_waiting ON job (queue, lane, kind, version, coalesce(batch_id, id), id)
    WHERE state = 'queued' AND NOT limited;
CREATE INDEX job_limited ON job (queue, lane, kind, tenant, coalesce(key, ''), id) WHERE state = 'queued' AND limited;
CREATE INDEX job_limited_oldest ON job (queue, lane, max(queued_at, coalesce(aged_at, 0)))
    WHERE state = 'queued' AND limited;
CREATE INDEX job_listed ON job (tenant, state, queue, kind, id) WHERE state <> 'running';
CREATE INDEX job_of_key ON job (tenant, key, state, queue, kind, id) WHERE key IS NOT NULL AND state <> 'running';
CREATE INDEX job_dead_since ON job (tenant, finished_at) WHERE state = 'dead';
CREATE INDEX job_in_batch ON job (batch_id, state, kind, id) WHERE batch_id IS NOT NULL;
CREATE INDEX quarantine_of_generation ON quarantine (batch_id, generation, id);
CREATE INDEX schedule_tick_of_backfill ON schedule_tick (backfill_id, tick)
    WHERE outcome IN ('buffered', 'waiting');
CREATE INDEX queue_paused ON queue (name, tenant) WHERE paused;

DROP INDEX job_claimable;
DROP INDEX job_turn;
DROP INDEX job_deadline;
DROP INDEX job_of_batch;
DROP INDEX job_by_tenant;
DROP INDEX job_by_state;
