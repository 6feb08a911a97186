-- The number, in its canonical form, as which a message goes out: the one that was linked when it was stored, or the last one before.
-- None: no number was ever linked, and the first that links sends it.
ALTER TABLE outbox ADD COLUMN account TEXT;

-- `outbox-account` is the last number that was linked. What waits now belongs to the number that is linked now.
INSERT INTO memory (name, value)
SELECT 'outbox-account', json_quote(json_extract(value, '$.claim')) FROM memory
WHERE name = 'session' AND json_extract(value, '$.claim') IS NOT NULL;

UPDATE outbox SET account = (SELECT json_extract(value, '$') FROM memory WHERE name = 'outbox-account')
WHERE state IN ('queued', 'sending');
