-- no-transaction
-- The indexes of `job`, made for what is read. The state is part of every one but the key and the uniqueness, so that
-- each change of state writes a new entry wherever the new state is indexed: few indexes may hold what is on its way.
-- A job on its way through queued, running and done writes three keys, and one entry each in job_waiting (queued),
-- job_listed (queued), job_running (running) and job_listed (done).
--
-- Each statement runs by itself: CONCURRENTLY blocks no writer. What was interrupted begins anew, because a broken
-- index is dropped first. Where the table is empty, the indexes are built without CONCURRENTLY.
SET statement_timeout = 0;

-- Whether the queue or the kind was limited when the job was created, or since: then it is in job_limited, otherwise in
-- job_waiting. What a new limit covers, and what a dropped one covered, is moved from one to the other. The only
-- statement here that locks the table: it writes no row, and must not let others queue up behind it.
SET lock_timeout = '5s';
ALTER TABLE job ADD COLUMN IF NOT EXISTS limited BOOLEAN NOT NULL DEFAULT FALSE;
RESET lock_timeout;

-- Claims: what waits, in streams of one queue, lane, kind and version, each in the order of age. A job of a batch is as
-- old as its batch, so that all jobs of a paused batch lie together and are passed over in one step.
DROP INDEX CONCURRENTLY IF EXISTS job_waiting;
CREATE INDEX CONCURRENTLY job_waiting ON job (queue, lane, kind, version, (COALESCE(batch_id, id)), id)
    WHERE state = 'queued' AND NOT limited;

-- Claims by limits and turns: from key to key in the lanes of limited queues. By bytes, as the program compares keys.
DROP INDEX CONCURRENTLY IF EXISTS job_limited;
CREATE INDEX CONCURRENTLY job_limited ON job
    (queue, lane, kind, tenant COLLATE "C", (COALESCE(key, '')) COLLATE "C", id)
    WHERE state = 'queued' AND limited;

-- Of those the ones that have waited longest in each lane, which ageing moves up.
DROP INDEX CONCURRENTLY IF EXISTS job_limited_oldest;
CREATE INDEX CONCURRENTLY job_limited_oldest ON job (queue, lane, (GREATEST(queued_at, aged_at)))
    WHERE state = 'queued' AND limited;

-- Lists, newest first, by whatever combination of state, queue and kind; the oldest that waits; a resumed queue. What
-- runs is little, and found by job_running.
DROP INDEX CONCURRENTLY IF EXISTS job_listed;
CREATE INDEX CONCURRENTLY job_listed ON job (tenant, state, queue, kind, id) WHERE state <> 'running';

-- Lists of the jobs with one key.
DROP INDEX CONCURRENTLY IF EXISTS job_of_key;
CREATE INDEX CONCURRENTLY job_of_key ON job (tenant, key, state, queue, kind, id)
    WHERE key IS NOT NULL AND state <> 'running';

-- Dead letters since a time. Who asks for no time gets none of it: when few were dead as statistics were last gathered,
-- the planner would read it whole in place of an index that leads to the rows.
DROP INDEX CONCURRENTLY IF EXISTS job_dead_since;
CREATE INDEX CONCURRENTLY job_dead_since ON job (tenant, finished_at) WHERE state = 'dead' AND finished_at IS NOT NULL;

-- A batch's jobs by state: fan-in, reconcile, cancel, pause, lists.
DROP INDEX CONCURRENTLY IF EXISTS job_in_batch;
CREATE INDEX CONCURRENTLY job_in_batch ON job (batch_id, state, kind, id) WHERE batch_id IS NOT NULL;

-- The first failure of a generation.
DROP INDEX CONCURRENTLY IF EXISTS quarantine_of_generation;
CREATE INDEX CONCURRENTLY quarantine_of_generation ON quarantine (batch_id, generation, id);

-- What waits of a backfill, in order, and what waits without one.
DROP INDEX CONCURRENTLY IF EXISTS schedule_tick_of_backfill;
CREATE INDEX CONCURRENTLY schedule_tick_of_backfill ON schedule_tick (backfill_id, tick)
    WHERE outcome IN ('buffered', 'waiting');

-- Paused queues, read by each claim.
DROP INDEX CONCURRENTLY IF EXISTS queue_paused;
CREATE INDEX CONCURRENTLY queue_paused ON queue (name, tenant) WHERE paused;

-- Of those that stay, job_running (by worker) serves rescue, retirement and the count of what runs; job_due promotion;
-- job_astray what a worker without its kind has met; job_idempotency, job_unique and job_chunk_number their promises.
DROP INDEX CONCURRENTLY IF EXISTS job_claimable;
DROP INDEX CONCURRENTLY IF EXISTS job_turn;
DROP INDEX CONCURRENTLY IF EXISTS job_deadline;
DROP INDEX CONCURRENTLY IF EXISTS job_of_batch;
DROP INDEX CONCURRENTLY IF EXISTS job_by_tenant;
DROP INDEX CONCURRENTLY IF EXISTS job_by_state;
RESET statement_timeout;
