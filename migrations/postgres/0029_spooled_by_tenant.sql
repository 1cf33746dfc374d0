-- no-transaction
-- The batches of a tenant whose copies are kept: they are summed for its quota of storage.
SET statement_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS batch_spooled;
CREATE INDEX CONCURRENTLY batch_spooled ON batch (tenant, spooled) WHERE spool IN ('kept', 'releasing');
RESET statement_timeout;
