-- Why a batch has no aggregate: the error of the one that died. Beside `reason`, which says why a batch halted before it was
-- aggregated and outlives a redrive, this one goes with the generation. A column without a default rewrites nothing.
SET LOCAL lock_timeout = '5s';
ALTER TABLE batch ADD COLUMN aggregate_error TEXT;
