-- Both daylight-saving changes, in a zone of whole hours and in one of half an hour.
\pset format unaligned
\pset tuples_only on
CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at);
SELECT count(*) FROM steward.manage_range('t', start_at => '2035-01-01', premake => 4);
CREATE FUNCTION show(every text, zone text, instant text, ahead integer) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM * FROM steward.alter_range('t', every, time_zone => zone, start_at => instant, premake => ahead);
    PERFORM set_config('TimeZone', zone, true);
    RETURN QUERY SELECT p.partition || ' ' || substring(p.sql FROM 'FOR VALUES [^;]*')
                   FROM steward.plan('t', instant::timestamptz) p ORDER BY p.ordinal;
END $$;
-- Spring forward: 02:00 to 03:00 on 11 March 2035.
SELECT show('1 hour', 'America/New_York', '2035-03-11 00:30', 4);
SELECT show('1 day', 'America/New_York', '2035-03-10 12:00', 2);
-- Fall back: 02:00 to 01:00 on 4 November 2035.
SELECT show('1 hour', 'America/New_York', '2035-11-04 00:30', 4);
SELECT show('30 minutes', 'America/New_York', '2035-11-04 00:45', 5);
SELECT show('1 day', 'America/New_York', '2035-11-03 12:00', 2);
SELECT show('1 month', 'America/New_York', '2035-10-15', 2);
-- Lord Howe: half an hour, back at 02:00 to 01:30 on 1 April, forward at 02:00 to 02:30 on 7 October 2035.
SELECT show('1 hour', 'Australia/Lord_Howe', '2035-04-01 00:30', 4);
SELECT show('1 day', 'Australia/Lord_Howe', '2035-03-31 12:00', 2);
SELECT show('1 hour', 'Australia/Lord_Howe', '2035-10-07 00:30', 4);
SELECT show('1 day', 'Australia/Lord_Howe', '2035-10-06 12:00', 2);
-- A timestamp without time zone has neither gap nor fold.
CREATE TABLE w (at timestamp NOT NULL) PARTITION BY RANGE (at);
SELECT count(*) FROM steward.manage_range('w', '1 hour', start_at => '2035-11-04 00:30', time_zone => 'America/New_York');
SELECT p.partition || ' ' || substring(p.sql FROM 'FOR VALUES [^;]*') FROM steward.plan('w', '2035-11-04 00:30-04') p;
