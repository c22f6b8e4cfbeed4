-- Periods that are counted from an origin: where they lie, how they are named, and what is refused.
\pset format unaligned
\pset tuples_only on
CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at);
SELECT count(*) FROM steward.manage_range('t', '1 week', start_at => '2097-01-30', premake => 2, origin => '2097-01-30');
SELECT origin FROM steward.partition_sets;
CREATE FUNCTION show(every text, origin text, zone text DEFAULT 'UTC', instant text DEFAULT '2097-01-31 13:29:59')
RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    -- Without the origin first: the last one may be none for this interval.
    PERFORM * FROM steward.alter_range('t', every, origin => '', start_at => instant, time_zone => zone);
    PERFORM * FROM steward.alter_range('t', origin => origin);
    RETURN QUERY SELECT p.partition || ' ' || substring(p.sql FROM 'FOR VALUES [^;]*')
                   FROM steward.plan('t', instant::timestamptz) p ORDER BY p.ordinal;
END $$;
SELECT show('1 week', '2025-01-01');
SELECT show('1 week', '2025-01-01', 'Europe/Madrid', '2097-03-25 12:00');
SELECT show('3 months', '2025-02-01');
SELECT show('1 month', '2025-01-15 06:00');
SELECT show('1 day', '2025-01-01 06:00');
SELECT show('6 hours', '2025-01-01 02:00');
SELECT show('1 month', '2025-01-31');
SELECT show('1 day', '2025-01-01 00:00:00.5');
SELECT show('1 day', 'infinity');
SELECT show('1 day', 'Wednesday next');
-- Kept as the wall clock shows it: another zone has its own midnights.
SELECT count(*) FROM steward.alter_range('t', '2 days', origin => '2024-12-31 23:00+00', time_zone => 'Europe/Madrid');
SELECT origin FROM steward.partition_sets;
SELECT count(*) FROM steward.alter_range('t', time_zone => 'Asia/Tokyo');
SELECT origin FROM steward.partition_sets;
SELECT count(*) FROM steward.alter_range('t', origin => '');
SELECT coalesce(origin, 'none') FROM steward.partition_sets;
-- It goes with the interval.
SELECT count(*) FROM steward.alter_range('t', '1 week', origin => '2025-01-01');
SELECT count(*) FROM steward.alter_range('t', '1 week', premake => 3);
SELECT origin FROM steward.partition_sets;
SELECT count(*) FROM steward.alter_range('t', '1 month');
SELECT coalesce(origin, 'none') FROM steward.partition_sets;
-- Integers and dates.
CREATE TABLE n (id bigint NOT NULL) PARTITION BY RANGE (id);
SELECT partition FROM steward.manage_range('n', '1000', premake => 1, origin => '7');
SELECT * FROM steward.alter_range('n', origin => '7 days');
CREATE TABLE d (on_day date NOT NULL) PARTITION BY RANGE (on_day);
SELECT * FROM steward.manage_range('d', '1 week', origin => '2025-01-01 06:00');
SELECT count(*) FROM steward.manage_range('d', '1 week', start_at => '2097-01-31', premake => 1, origin => '2025-01-01');
SELECT partition, substring(sql FROM 'FOR VALUES [^;]*') FROM steward.plan('d', '2097-01-31 12:00');
