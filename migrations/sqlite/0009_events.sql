-- Events that start runs: the mirror of PostgreSQL's migration of the same number. The end of another batch, a file in a
-- watched folder and a delivery to a hook are rows of the ledger of ticks, each under a key that it has once.

ALTER TABLE schedule ADD COLUMN follows TEXT;                -- the batch that it follows, instead of a clock
CREATE INDEX schedule_follows ON schedule (tenant, follows) WHERE follows IS NOT NULL;

ALTER TABLE schedule_tick ADD COLUMN event TEXT;             -- what made it, where that was not the clock
ALTER TABLE schedule_tick ADD COLUMN about TEXT;             -- JSON: what is known of the event, for its run
CREATE UNIQUE INDEX schedule_tick_event ON schedule_tick (tenant, schedule, event) WHERE event IS NOT NULL;
