-- Names and bounds of every kind of interval: sets that start far ahead, planned at an instant there.
\pset format unaligned
\pset tuples_only on
CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at);
SELECT count(*) FROM steward.manage_range('t', start_at => '2097-01-31', premake => 2);
CREATE FUNCTION show(every text, format text DEFAULT '', instant text DEFAULT '2097-01-31 13:29:59')
RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM * FROM steward.alter_range('t', every, name_format => format, start_at => instant);
    RETURN QUERY SELECT p.partition || ' ' || substring(p.sql FROM 'FOR VALUES [^;]*')
                   FROM steward.plan('t', instant::timestamptz) p ORDER BY p.ordinal;
END $$;
SELECT show('1 year');
SELECT show('10 years');
SELECT show('3 months');
SELECT show('6 months');
SELECT show('1 month');
SELECT show('2 months');
SELECT show('1 week');
SELECT show('14 days');
SELECT show('1 day');
SELECT show('10 days');
SELECT show('1 hour');
SELECT show('6 hours');
SELECT show('15 minutes');
SELECT show('10 seconds');
SELECT show('1 second');
-- The ISO week's year is not the calendar's: 2099-12-31 lies in week 53 of 2099.
SELECT show('1 week', '', '2099-12-31');
-- name_format
SELECT show('1 day', '{parent}.%Y%m%d');
SELECT show('1 week', 'w%G-%V of {parent}');
SELECT show('3 months', '{parent}_%Yq%q');
SELECT show('1 hour', '%H%M%S_{parent}_%d%m%Y %%');
-- A format that does not tell them apart.
SELECT show('1 hour', '{parent}_%Y');
-- Centuries, from one that has begun.
CREATE TABLE c (at date NOT NULL) PARTITION BY RANGE (at);
SELECT partition || ' ' || substring(sql FROM 'FOR VALUES [^;]*') FROM steward.manage_range('c', '100 years', start_at => '1750-05-05', premake => 1) ORDER BY partition;
