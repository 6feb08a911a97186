-- The messages of a batch share the id of the first one; each but the first has the time, in milliseconds, that it waits after the one before.
ALTER TABLE outbox ADD COLUMN batch TEXT;
ALTER TABLE outbox ADD COLUMN gap INTEGER;

CREATE INDEX outbox_batch ON outbox (batch) WHERE batch IS NOT NULL;
