-- Range partitions kept ready ahead of time.

CREATE TABLE steward.range_policy (
    parent             regclass PRIMARY KEY,
    partition_interval text     NOT NULL,
    premake            integer  NOT NULL,
    time_zone          text     NOT NULL,
    start_at           text,
    key_encoding       text,
    name_format        text,
    default_partition  boolean  NOT NULL,
    template           regclass,
    make_up_from       numeric
);
COMMENT ON TABLE steward.range_policy IS 'One row a range set. Read it through steward.partition_sets; change it with steward.alter_range().';
COMMENT ON COLUMN steward.range_policy.parent IS 'The set.';
COMMENT ON COLUMN steward.range_policy.partition_interval IS 'As given to manage_range().';
COMMENT ON COLUMN steward.range_policy.premake IS 'Periods kept ready beyond the current one.';
COMMENT ON COLUMN steward.range_policy.time_zone IS 'Name of the zone in which periods begin.';
COMMENT ON COLUMN steward.range_policy.start_at IS 'Nothing is made before the period that holds this: a time written out in full, or a key.';
COMMENT ON COLUMN steward.range_policy.key_encoding IS 'How a time is written into the key; NULL: the key is itself.';
COMMENT ON COLUMN steward.range_policy.name_format IS 'How new partitions are named; NULL: the usual names.';
COMMENT ON COLUMN steward.range_policy.default_partition IS 'Whether a default partition is made when there is none.';
COMMENT ON COLUMN steward.range_policy.template IS 'The table that gives what a parent cannot; it may be gone.';
COMMENT ON COLUMN steward.range_policy.make_up_from IS 'Where a make-up of missed periods that is not finished begins, on the key''s axis.';
SELECT pg_catalog.pg_extension_config_dump('steward.range_policy', '');

CREATE FUNCTION steward.manage_range(
    parent             regclass,
    partition_interval text     DEFAULT '1 month',
    premake            integer  DEFAULT 3,
    time_zone          text     DEFAULT NULL,
    start_at           text     DEFAULT NULL,
    key_encoding       text     DEFAULT NULL,
    name_format        text     DEFAULT NULL,
    default_partition  boolean  DEFAULT false,
    template           regclass DEFAULT NULL
) RETURNS SETOF steward.step
LANGUAGE c VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'manage_range_wrapper';
COMMENT ON FUNCTION steward.manage_range IS
'Puts a PARTITION BY RANGE table under management and creates, in the caller''s transaction, the partitions from start_at (default: the current period) to premake periods beyond the current one; returns the steps taken. Existing partitions are taken over as they are.
 partition_interval: an interval for time keys (''1 month'', ''10 seconds''), a whole number for integer keys (''1000000'').
 premake: periods kept ready ahead, 1 to 10000.
 time_zone: where periods begin; default the caller''s TimeZone.
 start_at: a time, or a key for integer keys; the period that holds it is the first.
 key_encoding: NULL, epoch_seconds, epoch_milliseconds, epoch_microseconds, epoch_nanoseconds, uuidv7, ulid, snowflake, snowflake:<epoch ms>.
 name_format: {parent}, %Y %m %d %H %M %S %G %V %q, {lower}; default <parent>_2025_01 and the like.
 default_partition: also make one.
 template: a plain table of the same owner that gives what a parent cannot (storage parameters, UNLOGGED, further indexes, grants).
Partitions that rows in the default partition block are left out with a WARNING, and listed with "blocked:" in their reason.
Locks, held until the caller commits: SHARE UPDATE EXCLUSIVE on the parent, ACCESS EXCLUSIVE on its default partition, SHARE ROW EXCLUSIVE on tables that foreign keys join to it; each waited for at most pg_steward.lock_timeout.
Errors: 42P01, 42809 not partitioned by range, 42501 not the owner, 42710 already managed, 22023 bad argument, 55000 multi-column key or standby, 55P03 lock not had.';

CREATE FUNCTION steward.alter_range(
    parent             regclass,
    partition_interval text     DEFAULT NULL,
    premake            integer  DEFAULT NULL,
    time_zone          text     DEFAULT NULL,
    start_at           text     DEFAULT NULL,
    key_encoding       text     DEFAULT NULL,
    name_format        text     DEFAULT NULL,
    default_partition  boolean  DEFAULT NULL,
    template           regclass DEFAULT NULL
) RETURNS SETOF steward.step
LANGUAGE c VOLATILE CALLED ON NULL INPUT ROWS 10 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'alter_range_wrapper';
COMMENT ON FUNCTION steward.alter_range IS
'Changes the policy of a managed range set and takes, in the caller''s transaction, the steps that follow from it. Each argument is that of manage_range(); NULL leaves it unchanged, '''' clears start_at, key_encoding and name_format, ''-'' template. A new interval or zone holds from the end of what exists. Errors: 42704 not managed, and those of manage_range().';

CREATE FUNCTION steward.unmanage(relation regclass) RETURNS void
LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unmanage_wrapper';
COMMENT ON FUNCTION steward.unmanage IS
'Forgets the policy of a table and its job; touches no data and no partition. Errors: 42704 not managed, 42501 not the owner, 55000 on a standby.';

CREATE FUNCTION steward.plan(parent regclass DEFAULT NULL, at timestamptz DEFAULT now())
RETURNS SETOF steward.step
LANGUAGE c VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'plan_wrapper';
COMMENT ON FUNCTION steward.plan IS
'Every step maintenance would take at that instant, for one set or for all that the caller owns; changes nothing, and works on a standby. Takes ACCESS SHARE on the set and its default partition. Errors: 42704 not managed, 42501 not the owner.';

CREATE PROCEDURE steward.maintain(parent regclass DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'maintain_wrapper';
COMMENT ON PROCEDURE steward.maintain IS
'Takes the steps of steward.plan() now, for one set or for all that the caller owns, as the background workers would: each in its own transaction under pg_steward.lock_timeout, a NOTICE a step, an error at the end if any failed. Waits for a run of the same set that is in progress. Errors: 25001 inside a transaction block, 42704 not managed, 42501 not the owner, 55000 on a standby; else that of the first step that failed.';

CREATE FUNCTION steward.range_partitions(
    parent regclass, at timestamptz,
    OUT partition regclass, OUT lower_bound text, OUT upper_bound text, OUT is_default boolean, OUT state text
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT ROWS 100 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'range_partitions_wrapper';
COMMENT ON FUNCTION steward.range_partitions IS
'The partitions of a managed range set from the server''s relation cache, lowest first, the default one last. state: past, current, future, default. Takes ACCESS SHARE on the parent.';

CREATE FUNCTION steward.range_summary(
    parent regclass, at timestamptz,
    OUT partitions bigint, OUT covered_from text, OUT covered_until text, OUT default_partition regclass, OUT holes text[]
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT ROWS 1 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'range_summary_wrapper';
COMMENT ON FUNCTION steward.range_summary IS
'One row on a managed range set: number of partitions (the default one aside), what they cover, and the holes between them. Takes ACCESS SHARE on the parent.';

CREATE VIEW steward.partition_sets WITH (security_barrier) AS
SELECT p.parent, 'range'::text AS strategy, pg_catalog.pg_get_partkeydef(p.parent) AS partition_key,
       p.partition_interval, p.premake, p.time_zone,
       NULL::text AS retention, NULL::text AS retention_action,
       s.partitions, s.covered_from, s.covered_until,
       (SELECT greatest(d.reltuples, 0)::bigint FROM pg_catalog.pg_class d
         WHERE d.oid = s.default_partition) AS default_rows_estimate,
       j.next_run_at AS next_maintenance_at, j.last_run_at, j.last_status, j.last_error,
       s.holes, p.start_at, p.key_encoding, p.name_format, s.default_partition, p.template
  FROM steward.range_policy p
  JOIN pg_catalog.pg_class c ON c.oid = p.parent
  LEFT JOIN steward.jobs j ON j.target = p.parent
  LEFT JOIN LATERAL steward.range_summary(p.parent, pg_catalog.now()) s ON true
 WHERE pg_catalog.pg_has_role('pg_monitor', 'USAGE')
    OR pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW steward.partition_sets IS 'The managed sets. Owners see their own; pg_monitor sees all. Reading it takes ACCESS SHARE on every set it shows.';
COMMENT ON COLUMN steward.partition_sets.parent IS 'The partitioned table.';
COMMENT ON COLUMN steward.partition_sets.strategy IS 'range.';
COMMENT ON COLUMN steward.partition_sets.partition_key IS 'As in its PARTITION BY.';
COMMENT ON COLUMN steward.partition_sets.partition_interval IS 'How much a new partition covers: an interval, or a number of keys.';
COMMENT ON COLUMN steward.partition_sets.premake IS 'Periods kept ready beyond the current one.';
COMMENT ON COLUMN steward.partition_sets.time_zone IS 'Periods begin at this zone''s midnights, months, hours.';
COMMENT ON COLUMN steward.partition_sets.retention IS 'NULL: this version removes no partitions.';
COMMENT ON COLUMN steward.partition_sets.retention_action IS 'NULL: this version removes no partitions.';
COMMENT ON COLUMN steward.partition_sets.partitions IS 'How many there are, the default one aside.';
COMMENT ON COLUMN steward.partition_sets.covered_from IS 'Lowest bound, inclusive, as SQL writes it; MINVALUE for none; NULL without partitions.';
COMMENT ON COLUMN steward.partition_sets.covered_until IS 'Highest bound, exclusive; MAXVALUE for none; NULL without partitions. Inserts from here on, and into holes, fail or go to the default partition.';
COMMENT ON COLUMN steward.partition_sets.default_rows_estimate IS 'Rows in the default partition as of its last VACUUM or ANALYZE, 0 if it never had one; NULL: there is no default partition.';
COMMENT ON COLUMN steward.partition_sets.next_maintenance_at IS 'When the background workers look at it next; a paused set is not looked at.';
COMMENT ON COLUMN steward.partition_sets.last_run_at IS 'When the last finished run began.';
COMMENT ON COLUMN steward.partition_sets.last_status IS 'How the last finished run ended, as in steward.job_runs.';
COMMENT ON COLUMN steward.partition_sets.last_error IS 'The last finished run''s first error; NULL if there was none.';
COMMENT ON COLUMN steward.partition_sets.holes IS 'Uncovered ranges between partitions, [from, to). Those ahead are filled; those behind the current period are left.';
COMMENT ON COLUMN steward.partition_sets.start_at IS 'Nothing is made before the period that holds this: a time, or a key; NULL: not set.';
COMMENT ON COLUMN steward.partition_sets.key_encoding IS 'How a time is written into the key; NULL: the key is itself.';
COMMENT ON COLUMN steward.partition_sets.name_format IS 'How new partitions are named; NULL: the usual names.';
COMMENT ON COLUMN steward.partition_sets.default_partition IS 'The default partition there is; NULL: none.';
COMMENT ON COLUMN steward.partition_sets.template IS 'The table that gives what a parent cannot; a number: it has been dropped.';

CREATE VIEW steward.partitions WITH (security_barrier) AS
SELECT p.parent, b.partition, 1 AS level, 'range'::text AS strategy, b.lower_bound, b.upper_bound,
       NULL::integer AS modulus, NULL::integer AS remainder, b.is_default,
       CASE WHEN i.inhdetachpending THEN 'detaching' ELSE b.state END AS state,
       (SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(t.relid))::bigint
          FROM pg_catalog.pg_partition_tree(b.partition) t) AS total_bytes,
       (SELECT pg_catalog.sum(greatest(l.reltuples, 0))::bigint
          FROM pg_catalog.pg_partition_tree(b.partition) t
          JOIN pg_catalog.pg_class l ON l.oid = t.relid WHERE t.isleaf) AS estimated_rows,
       coalesce(ts.spcname, d.spcname) AS tablespace
  FROM steward.range_policy p
  JOIN pg_catalog.pg_class c ON c.oid = p.parent
 CROSS JOIN LATERAL steward.range_partitions(p.parent, pg_catalog.now()) b
  JOIN pg_catalog.pg_class r ON r.oid = b.partition
  JOIN pg_catalog.pg_inherits i ON i.inhrelid = b.partition AND i.inhparent = p.parent
  LEFT JOIN pg_catalog.pg_tablespace ts ON ts.oid = r.reltablespace
  JOIN pg_catalog.pg_database db ON db.datname = pg_catalog.current_database()
  JOIN pg_catalog.pg_tablespace d ON d.oid = db.dattablespace
 WHERE pg_catalog.pg_has_role('pg_monitor', 'USAGE')
    OR pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW steward.partitions IS 'The partitions of managed sets, in no particular order. Owners see their own; pg_monitor sees all. Reading it takes ACCESS SHARE on every set it shows.';
COMMENT ON COLUMN steward.partitions.parent IS 'The set.';
COMMENT ON COLUMN steward.partitions.partition IS 'The partition.';
COMMENT ON COLUMN steward.partitions.strategy IS 'range.';
COMMENT ON COLUMN steward.partitions.modulus IS 'NULL for range.';
COMMENT ON COLUMN steward.partitions.remainder IS 'NULL for range.';
COMMENT ON COLUMN steward.partitions.is_default IS 'Whether it is the default partition.';
COMMENT ON COLUMN steward.partitions.tablespace IS 'Where its rows are; the database''s own one is named, too.';
COMMENT ON COLUMN steward.partitions.level IS '1: directly below the parent.';
COMMENT ON COLUMN steward.partitions.lower_bound IS 'Inclusive, as SQL writes it; MINVALUE for none; NULL for the default partition.';
COMMENT ON COLUMN steward.partitions.upper_bound IS 'Exclusive, as SQL writes it; MAXVALUE for none; NULL for the default partition.';
COMMENT ON COLUMN steward.partitions.state IS 'past, current, future, detaching, default. For integer keys, current holds the highest key in use.';
COMMENT ON COLUMN steward.partitions.total_bytes IS 'Table, toast and indexes in bytes, with all partitions below.';
COMMENT ON COLUMN steward.partitions.estimated_rows IS 'As of the last VACUUM or ANALYZE, 0 if there was none; with all partitions below.';

-- Policies die with their table.
CREATE FUNCTION steward.forget_dropped() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    dropped oid[] := ARRAY(SELECT o.objid FROM pg_catalog.pg_event_trigger_dropped_objects() o
                            WHERE o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.objsubid = 0);
BEGIN
    IF pg_catalog.cardinality(dropped) > 0 THEN
        DELETE FROM steward.range_policy p WHERE p.parent::pg_catalog.oid = ANY (dropped);
        DELETE FROM steward.job j WHERE j.target::pg_catalog.oid = ANY (dropped);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION steward.forget_dropped() FROM PUBLIC;
COMMENT ON FUNCTION steward.forget_dropped IS 'Removes the policies and jobs of dropped tables.';
CREATE EVENT TRIGGER pg_steward_forget_dropped ON sql_drop
    EXECUTE FUNCTION steward.forget_dropped();
COMMENT ON EVENT TRIGGER pg_steward_forget_dropped IS 'Policies of pg_steward die with their table.';
