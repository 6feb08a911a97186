-- As in ../sqlite.
DELETE FROM enlace_queue WHERE id NOT IN (
    SELECT id FROM (
        SELECT MIN(id) AS id FROM enlace_queue GROUP BY device_namespace, device_name, message_id
    ) AS first
);

CREATE UNIQUE INDEX enlace_queue_by_message ON enlace_queue (device_namespace, device_name, message_id);
