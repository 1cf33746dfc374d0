-- Why a batch has no aggregate: the error of the one that died. Beside `reason`, which says why a batch halted before it was
-- aggregated and outlives a redrive, this one goes with the generation.
ALTER TABLE batch ADD COLUMN aggregate_error TEXT;
