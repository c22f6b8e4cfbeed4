-- Range sets: partitions kept ready ahead of time.

CREATE TABLE steward.range_policy (
    parent             oid      PRIMARY KEY REFERENCES steward.job (target) ON DELETE CASCADE,
    partition_interval text     NOT NULL,
    premake            integer  NOT NULL,
    time_zone          text     NOT NULL,
    start_at           text,
    key_encoding       text,
    name_format        text,
    default_partition  boolean  NOT NULL,
    template           oid,
    subpartition_by    text,
    subpartition_key   smallint,
    subpartitions      integer,
    make_up_from       numeric,
    keep               text,
    keep_action        text CHECK (keep_action IN ('drop', 'detach')),
    to_schema          name,
    -- Not regprocedure: pg_upgrade refuses it (src/bin/pg_upgrade/check.c, check_for_reg_data_type_usage).
    archive_function   text,
    cold_after         text,
    cold_tablespace    name,
    origin             text,
    seen_position      numeric,
    seen_horizon       numeric
);
COMMENT ON TABLE steward.range_policy IS 'One row per range set. Read it through steward.partition_sets, where its columns are described; change it with steward.alter_range().';
COMMENT ON COLUMN steward.range_policy.default_partition IS 'Whether a default partition is made when there is none.';
COMMENT ON COLUMN steward.range_policy.subpartition_key IS 'Its attnum, which outlives a new name.';
COMMENT ON COLUMN steward.range_policy.make_up_from IS 'Where a make-up of missed periods that is not finished begins, on the key''s axis.';
COMMENT ON COLUMN steward.range_policy.keep IS 'As given to set_retention(); NULL: everything is kept.';
COMMENT ON COLUMN steward.range_policy.keep_action IS 'drop or detach.';
COMMENT ON COLUMN steward.range_policy.seen_position IS 'Of integer keys: the last key of the highest partition that held a row, or the last value of a sequence that the key owns, as of the last look; NULL before the first. What the views show.';
COMMENT ON COLUMN steward.range_policy.seen_horizon IS 'Of integer keys: where the last expired partition ended, as of the last look; NULL: none was.';

CREATE FUNCTION steward.manage_range(
    parent             regclass,
    partition_interval text     DEFAULT '1 month',
    premake            integer  DEFAULT 3,
    time_zone          text     DEFAULT NULL,
    start_at           text     DEFAULT NULL,
    key_encoding       text     DEFAULT NULL,
    name_format        text     DEFAULT NULL,
    default_partition  boolean  DEFAULT false,
    template           regclass DEFAULT NULL,
    subpartition_by    text     DEFAULT NULL,
    subpartitions      integer  DEFAULT NULL,
    origin             text     DEFAULT NULL
) RETURNS SETOF steward.step
LANGUAGE c VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'manage_range_wrapper';
COMMENT ON FUNCTION steward.manage_range IS
'Puts a PARTITION BY RANGE table under management and creates, in the caller''s transaction, the partitions from start_at (default: the current period) to premake periods beyond the current one; returns the steps taken. Existing partitions are taken over as they are.
 parent: the partitioned table.
 partition_interval: an interval for time keys (''1 month'', ''10 seconds''), a whole number for integer keys (''1000000''); not wider than the key''s type.
 premake: periods kept ready ahead, 1 to 10000.
 time_zone: where periods begin; default the caller''s TimeZone.
 start_at: a time, or a key for integer keys; the period that holds it is the first.
 key_encoding: NULL, epoch_seconds, epoch_milliseconds, epoch_microseconds, epoch_nanoseconds, uuidv7, ulid, snowflake, snowflake:<epoch ms>.
 name_format: {parent}, %Y %m %d %H %M %S %G %V %q, {lower}; default <parent>_2025_01 and the like.
 default_partition: also make one.
 template: a plain table of the same owner that gives what a parent cannot (storage parameters, UNLOGGED, further indexes, grants).
 subpartition_by: a column; each new period is a table partitioned by its hash, complete before it is attached. Every unique key has to contain it.
 subpartitions: over how many, 1 to 1000; default 16.
 origin: a boundary to count periods from, where they do not lie on the calendar: a time (read in the set''s zone unless it says an offset), or a key. Weeks that begin on Wednesdays: any Wednesday. Default: that of the partitions that exist, where they are all as wide as the interval (a NOTICE says so).
Partitions that rows in the default partition block are left out with a WARNING, and listed with "blocked:" in their reason.
Locks, held until the caller commits: SHARE UPDATE EXCLUSIVE on the parent, ACCESS EXCLUSIVE on its default partition, SHARE ROW EXCLUSIVE on tables that foreign keys join to it; each waited for at most pg_steward.lock_timeout.
Errors: 42P01, 42809 not partitioned by range, 42501 not the owner, 42710 already managed, 22023 bad argument, 55000 multi-column key or standby, 55P03 lock not available.';

CREATE FUNCTION steward.alter_range(
    parent             regclass,
    partition_interval text     DEFAULT NULL,
    premake            integer  DEFAULT NULL,
    time_zone          text     DEFAULT NULL,
    start_at           text     DEFAULT NULL,
    key_encoding       text     DEFAULT NULL,
    name_format        text     DEFAULT NULL,
    default_partition  boolean  DEFAULT NULL,
    template           regclass DEFAULT NULL,
    subpartition_by    text     DEFAULT NULL,
    subpartitions      integer  DEFAULT NULL,
    origin             text     DEFAULT NULL
) RETURNS SETOF steward.step
LANGUAGE c VOLATILE CALLED ON NULL INPUT ROWS 10 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'alter_range_wrapper';
COMMENT ON FUNCTION steward.alter_range IS
'Changes the policy of a managed range set and takes, in the caller''s transaction, the steps that follow from it. Each argument is that of manage_range(); NULL leaves it unchanged, '''' clears start_at, key_encoding, name_format, subpartition_by and origin, ''-'' template. A new interval, zone or subpartition_by holds from the end of what exists; a new interval forgets the origin, unless one is given along, or the partitions that exist have that width. Errors: 42704 not managed, and those of manage_range().';

CREATE PROCEDURE steward.drain_default(parent regclass)
LANGUAGE c AS 'MODULE_PATHNAME', 'drain_default_wrapper';
COMMENT ON PROCEDURE steward.drain_default IS
'Moves the rows that wait in the default partition of a managed range set into partitions of their own, oldest first, one transaction per period of the policy; whatever their age, also before start_at or far ahead. Reports each period with a NOTICE (rows, seconds) and each that cannot be moved with a WARNING; ends with an error if there was any. Rows with a NULL key, or one that no period holds, stay, with a WARNING. Waits for a run of the same set that is in progress; after a cancel or a crash it can be called again.
Locks: while a period''s rows are copied, none that readers or writers wait for. Then, until the commit, ACCESS EXCLUSIVE on the parent and on the default partition, SHARE ROW EXCLUSIVE on tables that its foreign keys point to, all waited for at most pg_steward.lock_timeout together; meanwhile the rows are deleted from the default partition and the rest of it is read.
Triggers do not fire.
Errors: 25001 inside a transaction block, 22004 NULL, 42P01, 42704 not managed, 42809 not partitioned by range, 42501 not the owner, 2BP01 a foreign key points to the set, 55000 on a standby; else that of the first period that failed.';

CREATE FUNCTION steward.range_partitions(
    parent regclass, at timestamptz,
    OUT partition regclass, OUT lower_bound text, OUT upper_bound text, OUT is_default boolean, OUT state text
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT ROWS 20 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'range_partitions_wrapper';
COMMENT ON FUNCTION steward.range_partitions IS
'The partitions of a managed range set from the server''s relation cache, lowest first, the default one last. state: past, current, future, expired, default. Takes ACCESS SHARE on the parent.';

CREATE FUNCTION steward.range_summary(
    parent regclass, at timestamptz,
    OUT partitions bigint, OUT covered_from text, OUT covered_until text, OUT default_partition regclass, OUT holes text[],
    OUT problem text
) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT ROWS 1 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'range_summary_wrapper';
COMMENT ON FUNCTION steward.range_summary IS
'One row on a managed range set: number of partitions (the default one aside), what they cover, and the holes between them; or the problem why it cannot be read, the rest being NULL. Takes ACCESS SHARE on the parent, without waiting for it.';
