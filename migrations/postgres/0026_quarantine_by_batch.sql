-- no-transaction
-- What is open in the quarantine, from batch to batch: for operations over items.
SET statement_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS quarantine_open;
CREATE INDEX CONCURRENTLY quarantine_open ON quarantine (tenant, batch_id, id) WHERE state = 'open';
RESET statement_timeout;
