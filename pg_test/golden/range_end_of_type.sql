-- The period that would pass the end of the key's type ends at MAXVALUE, and none is planned after it.
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION show(type text, encoding text, every text, start text, instant text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE t (k %s NOT NULL) PARTITION BY RANGE (k)', type);
    PERFORM * FROM steward.manage_range('t', every, key_encoding => encoding, start_at => start, premake => 5);
    RETURN QUERY SELECT p.partition || ' ' || substring(p.sql FROM 'FOR VALUES [^;]*')
                   FROM steward.plan('t', instant::timestamptz) p ORDER BY p.ordinal;
    DROP TABLE t;
END $$;
SELECT show('integer', 'epoch_seconds', '1 year', '2037-01-01', '2037-06-01');
SELECT show('bigint', 'epoch_nanoseconds', '1 year', '2261-01-01', '2261-06-01');
SELECT show('timestamptz', NULL, '1 year', '294275-01-01', '294275-06-01');
SELECT show('timestamp', NULL, '1 year', '294275-01-01', '294275-06-01');
SELECT show('date', NULL, '1 month', '294276-11-01', '294276-11-05');
SELECT show('uuid', 'uuidv7', '1 year', '10888-01-01', '10888-06-01');
SELECT show('uuid', 'ulid', '1 year', '10888-01-01', '10888-06-01');
SELECT show('text', 'ulid', '1 year', '10888-01-01', '10888-06-01');
SELECT show('bytea', 'ulid', '1 year', '10888-01-01', '10888-06-01');
SELECT show('bigint', 'snowflake', '1 year', '2079-01-01', '2079-06-01');
-- Encoded days well before it.
SELECT show('bigint', 'snowflake:1420070400000', '1 day', '2080-01-31', '2080-01-31');
SELECT show('numeric', 'epoch_seconds', '1 day', '2097-01-31', '2097-01-31');
SELECT show('uuid', 'uuidv7', '1 day', '2097-01-31', '2097-01-31');
SELECT show('text', 'ulid', '1 day', '2097-01-31', '2097-01-31');
