-- The batches of a tenant whose copies are kept: the mirror of PostgreSQL's migration of the same number.
CREATE INDEX batch_spooled ON batch (tenant, spooled) WHERE spool IN ('kept', 'releasing');
