-- How many bytes the copies of its input have: the mirror of PostgreSQL's migration of the same number.
ALTER TABLE batch ADD COLUMN spooled INTEGER CHECK (spooled >= 0);

UPDATE batch SET spooled = (
    SELECT SUM(json_extract(f.value, '$.bytes'))
    FROM json_each(stamp, '$.files') AS f WHERE json_extract(f.value, '$.path') LIKE '%.spool')
WHERE spool IN ('kept', 'releasing');
