-- How many bytes the copies of its input have: for the quota of storage of a tenant.
ALTER TABLE batch ADD COLUMN spooled BIGINT CHECK (spooled >= 0);                -- NULL: it has none

UPDATE batch SET spooled = (
    SELECT SUM((f.value ->> 'bytes')::bigint)
    FROM json_array_elements(stamp::json -> 'files') AS f WHERE f.value ->> 'path' LIKE '%.spool')
WHERE spool IN ('kept', 'releasing');
