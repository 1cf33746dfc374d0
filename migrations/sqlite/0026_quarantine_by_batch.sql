-- What is open in the quarantine, from batch to batch: the mirror of PostgreSQL's migration of the same number.
CREATE INDEX quarantine_open ON quarantine (tenant, batch_id, id) WHERE state = 'open';
