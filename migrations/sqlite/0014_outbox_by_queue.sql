-- The outbox by queue and priority: the relay takes a share of each, so that a backlog of one does not keep the rows of
-- others waiting, and the probe sees whether any wait.
CREATE INDEX outbox_by_queue ON outbox (purpose, queue, lane, id);
