-- Sets of partitions, whatever their strategy.

CREATE FUNCTION steward.unmanage(relation regclass) RETURNS void
LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unmanage_wrapper';
COMMENT ON FUNCTION steward.unmanage IS
'Removes the policy and the job of a table, whose rows and partitions stay as they are. Errors: 42704 not managed, 42501 not the owner, 55000 on a standby.';

CREATE FUNCTION steward.plan(parent regclass DEFAULT NULL, at timestamptz DEFAULT now())
RETURNS SETOF steward.step
LANGUAGE c VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'plan_wrapper';
COMMENT ON FUNCTION steward.plan IS
'Every step maintenance would take at that instant, for one set or for all that the caller owns; changes nothing, and works on a standby. Takes ACCESS SHARE on the set and its default partition. Errors: 42704 not managed, 42501 not the owner.';

CREATE PROCEDURE steward.maintain(parent regclass DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'maintain_wrapper';
COMMENT ON PROCEDURE steward.maintain IS
'Takes the steps of steward.plan() now, for one set or for all that the caller owns, as the background workers would: each in its own transaction under pg_steward.lock_timeout and reported with a NOTICE; ends with an error if any failed. Waits for a run of the same set that is in progress. Errors: 25001 inside a transaction block, 42704 not managed, 42501 not the owner, 55000 on a standby; else that of the first step that failed.';

-- pg_partition_tree() and pg_total_relation_size() wait for whoever has a partition locked: no view does.
-- With SET, so that it is not taken into the query, whose estimates would call for JIT compilation.
CREATE FUNCTION steward.partition_tree(relation oid) RETURNS TABLE (oid oid)
LANGUAGE sql STABLE ROWS 10 COST 10 SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE below (oid) AS (
        SELECT $1
        UNION ALL
        SELECT i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid)
    SELECT b.oid FROM below b
$$;
COMMENT ON FUNCTION steward.partition_tree IS 'A relation and what lies below it, from the catalog alone: takes no lock.';

CREATE FUNCTION steward.relation_bytes(relation oid) RETURNS bigint
LANGUAGE c STABLE STRICT SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'relation_bytes_wrapper';
COMMENT ON FUNCTION steward.relation_bytes IS 'Size in bytes of a table, its indexes and its toast table, as of this moment, by its files: takes no lock. 0 for what is gone, or has no storage.';

-- These two are functions of one value for the same reason.
CREATE FUNCTION steward.tree_bytes(relation oid) RETURNS bigint
LANGUAGE sql STABLE COST 10 SET search_path = pg_catalog, pg_temp
AS $$ SELECT sum(steward.relation_bytes(t.oid))::bigint FROM steward.partition_tree($1) t $$;
COMMENT ON FUNCTION steward.tree_bytes IS 'steward.relation_bytes() of a relation and what lies below it.';

CREATE FUNCTION steward.tree_rows(relation oid) RETURNS bigint
LANGUAGE sql STABLE COST 10 SET search_path = pg_catalog, pg_temp
AS $$
    SELECT least(coalesce(sum(greatest(c.reltuples, 0)), 0), 9e18)::bigint
      FROM steward.partition_tree($1) t JOIN pg_catalog.pg_class c ON c.oid = t.oid WHERE c.relkind <> 'p'
$$;
COMMENT ON FUNCTION steward.tree_rows IS 'Rows of a relation and what lies below it, as of the last VACUUM or ANALYZE.';

-- The union stands below the check of rights: at the top of the view it would be flattened, and other
-- people's rows shown to a condition of the caller's (src/backend/optimizer/prep/prepjointree.c).
CREATE VIEW steward.partition_sets WITH (security_barrier) AS
SELECT p.parent::regclass AS parent, p.strategy,
       -- pg_get_partkeydef() opens the table, and would wait for whoever has it locked.
       (SELECT format('%s (%s)', CASE k.partstrat WHEN 'r' THEN 'RANGE' ELSE 'HASH' END,
                      string_agg(coalesce(quote_ident(a.attname), '(expression)'), ', ' ORDER BY col.place))
          FROM pg_catalog.pg_partitioned_table k
         CROSS JOIN LATERAL unnest(k.partattrs::smallint[]) WITH ORDINALITY col (number, place)
          LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = k.partrelid AND a.attnum = col.number
         WHERE k.partrelid = p.parent GROUP BY k.partstrat) AS partition_key,
       p.partition_interval, p.premake, p.time_zone,
       p.retention, p.retention_action,
       p.partitions, p.covered_from, p.covered_until,
       CASE WHEN p.default_partition IS NOT NULL THEN
           steward.tree_rows(p.default_partition) END AS default_rows_estimate,
       j.next_run_at AS next_maintenance_at, j.last_run_at, j.last_status, j.last_error, p.problem,
       p.holes, p.start_at, p.key_encoding, p.name_format, p.default_partition, p.template::regclass AS template,
       p.subpartition_by, p.subpartitions, p.to_schema, p.archive_function, p.cold_after,
       p.cold_tablespace, p.origin
  FROM (SELECT r.parent, 'range'::text AS strategy, r.partition_interval, r.premake, r.time_zone,
               s.partitions, s.covered_from, s.covered_until, s.holes, r.start_at, r.key_encoding,
               r.name_format, s.default_partition, r.template,
               coalesce(a.attname::text, r.subpartition_by) AS subpartition_by,
               CASE WHEN r.subpartition_by IS NOT NULL THEN coalesce(r.subpartitions, 16) END
                   AS subpartitions,
               r.keep AS retention, r.keep_action AS retention_action, r.to_schema,
               r.archive_function, r.cold_after, r.cold_tablespace, r.origin, s.problem
          FROM steward.range_policy r
          LEFT JOIN LATERAL steward.range_summary(r.parent, pg_catalog.now()) s ON true
          -- The column by its name of today.
          LEFT JOIN pg_catalog.pg_attribute a
            ON a.attrelid = r.parent AND a.attnum = r.subpartition_key AND NOT a.attisdropped
        UNION ALL
        SELECT h.parent, 'hash', NULL, NULL, NULL,
               (SELECT count(*) FROM pg_catalog.pg_inherits i WHERE i.inhparent = h.parent),
               NULL, NULL, x.holes, NULL, NULL, h.name_format,
               NULL, h.template, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
               CASE WHEN x.holes IS NULL THEN
                   CASE WHEN k.partexprs IS NULL THEN format('%s is locked by another session', h.parent::regclass)
                        ELSE format('partition key of %s is an expression', h.parent::regclass) END END
          FROM steward.hash_policy h
          LEFT JOIN pg_catalog.pg_partitioned_table k ON k.partrelid = h.parent
         CROSS JOIN LATERAL (SELECT steward.hash_holes(h.parent, h.partitions)) x (holes)) p
  JOIN pg_catalog.pg_class c ON c.oid = p.parent
  LEFT JOIN steward.jobs j ON j.target = p.parent
 WHERE pg_catalog.pg_has_role('pg_monitor', 'USAGE')
    OR pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW steward.partition_sets IS 'The managed sets. Owners see their own; pg_monitor sees all. Reading it takes ACCESS SHARE on every set it shows, without waiting for it, and calls no code of anybody''s.';
COMMENT ON COLUMN steward.partition_sets.parent IS 'The partitioned table.';
COMMENT ON COLUMN steward.partition_sets.strategy IS 'range or hash.';
COMMENT ON COLUMN steward.partition_sets.partition_key IS 'As in its PARTITION BY.';
COMMENT ON COLUMN steward.partition_sets.partition_interval IS 'How much a new partition covers: an interval, or a number of keys. NULL for hash, as are all columns about ranges.';
COMMENT ON COLUMN steward.partition_sets.premake IS 'Periods kept ready beyond the current one.';
COMMENT ON COLUMN steward.partition_sets.time_zone IS 'Periods begin at this zone''s midnights, months, hours.';
COMMENT ON COLUMN steward.partition_sets.retention IS 'Partitions wholly older than this leave: an interval, or a number of keys; NULL: everything is kept.';
COMMENT ON COLUMN steward.partition_sets.retention_action IS 'drop or detach; NULL: everything is kept.';
COMMENT ON COLUMN steward.partition_sets.to_schema IS 'Where detached tables go; NULL: they stay.';
COMMENT ON COLUMN steward.partition_sets.archive_function IS 'The function that must return true before a table is dropped; NULL: none.';
COMMENT ON COLUMN steward.partition_sets.cold_after IS 'Partitions wholly older than this move to cold_tablespace; NULL: none.';
COMMENT ON COLUMN steward.partition_sets.cold_tablespace IS 'The tablespace that partitions older than cold_after move to; NULL: none.';
COMMENT ON COLUMN steward.partition_sets.partitions IS 'How many there are, the default one aside.';
COMMENT ON COLUMN steward.partition_sets.covered_from IS 'Lowest bound, inclusive, as SQL writes it; MINVALUE for none; NULL without partitions.';
COMMENT ON COLUMN steward.partition_sets.covered_until IS 'Highest bound, exclusive; MAXVALUE for none; NULL without partitions. Inserts from here on, and into holes, fail or go to the default partition.';
COMMENT ON COLUMN steward.partition_sets.default_rows_estimate IS 'Rows in the default partition as of its last VACUUM or ANALYZE, 0 if it never had one; NULL: there is no default partition.';
COMMENT ON COLUMN steward.partition_sets.next_maintenance_at IS 'When the background workers look at it next; a paused set is not looked at.';
COMMENT ON COLUMN steward.partition_sets.last_run_at IS 'When the last finished run began.';
COMMENT ON COLUMN steward.partition_sets.last_status IS 'How the last finished run ended, as in steward.job_runs.';
COMMENT ON COLUMN steward.partition_sets.last_error IS 'The last finished run''s first error; NULL if there was none.';
COMMENT ON COLUMN steward.partition_sets.problem IS 'Why this row could not be read, and what is NULL in it is not known: the set is locked, its time zone is gone, a bound means nothing to its key_encoding; NULL: it was read.';
COMMENT ON COLUMN steward.partition_sets.holes IS 'Uncovered ranges between partitions, [from, to): those ahead are filled, those behind the current period are left. For hash, remainders without a partition, whose keys cannot be inserted: filled. NULL: the set is locked by another session.';
COMMENT ON COLUMN steward.partition_sets.start_at IS 'Nothing is made before the period that holds this: a time, or a key; NULL: not set.';
COMMENT ON COLUMN steward.partition_sets.key_encoding IS 'How a time is written into the key; NULL: the key is itself.';
COMMENT ON COLUMN steward.partition_sets.name_format IS 'How new partitions are named; NULL: the usual names.';
COMMENT ON COLUMN steward.partition_sets.default_partition IS 'The default partition there is; NULL: none.';
COMMENT ON COLUMN steward.partition_sets.subpartition_by IS 'The column by whose hash each new period is spread; NULL: it is one table.';
COMMENT ON COLUMN steward.partition_sets.subpartitions IS 'Over how many partitions each new period is spread; NULL: it is one table.';
COMMENT ON COLUMN steward.partition_sets.origin IS 'A boundary that periods are counted from; NULL: they lie on the calendar, or on multiples.';
COMMENT ON COLUMN steward.partition_sets.template IS 'The table that gives new partitions what a parent cannot; a number: it has been dropped.';

CREATE VIEW steward.partitions WITH (security_barrier) AS
-- Materialized: as the inner side of a join the sets would be read again for every row of the outer one.
WITH period AS (
    SELECT p.parent, r.*
      FROM steward.range_policy p
     CROSS JOIN LATERAL steward.range_partitions(p.parent, pg_catalog.now()) r
), found AS MATERIALIZED (
    SELECT p.parent, p.parent AS above, p.partition, 1 AS level, 'range'::text AS strategy,
           p.lower_bound, p.upper_bound, NULL::integer AS modulus, NULL::integer AS remainder,
           p.is_default, p.state
      FROM period p
    UNION ALL
    SELECT p.parent, p.partition, h.partition, 2, 'hash', NULL, NULL, h.modulus, h.remainder,
           false, p.state
      FROM period p
     CROSS JOIN LATERAL steward.hash_partitions(p.partition) h
    UNION ALL
    SELECT p.parent, p.parent, h.partition, 1, 'hash', NULL, NULL, h.modulus, h.remainder, false,
           'current'
      FROM steward.hash_policy p
     CROSS JOIN LATERAL steward.hash_partitions(p.parent) h
    UNION ALL
    SELECT q.parent, NULL, q.partition, 1, 'range', q.lower_bound, q.upper_bound, NULL, NULL,
           false, 'detached'
      FROM steward.retired_partition q
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = q.partition)
)
SELECT b.parent::regclass AS parent, b.partition::regclass AS partition, b.level, b.strategy, b.lower_bound, b.upper_bound,
       b.modulus, b.remainder, b.is_default,
       CASE WHEN i.inhdetachpending THEN 'detaching' ELSE b.state END AS state,
       -- Most are tables, which need no walk.
       CASE WHEN r.relkind <> 'p' THEN steward.relation_bytes(b.partition)
            ELSE steward.tree_bytes(b.partition) END AS total_bytes,
       CASE WHEN r.relkind <> 'p' THEN least(greatest(r.reltuples, 0), 9e18)::bigint
            ELSE steward.tree_rows(b.partition) END AS estimated_rows,
       coalesce(ts.spcname, d.spcname) AS tablespace,
       q.archived_at, q.attempts AS archive_failures, q.next_attempt_at AS next_archive_at,
       q.error_message AS last_error
  FROM found b
  JOIN pg_catalog.pg_class c ON c.oid = b.parent
  JOIN pg_catalog.pg_class r ON r.oid = b.partition
  LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = b.partition AND i.inhparent = b.above
  LEFT JOIN steward.retired_partition q ON q.partition = b.partition
  LEFT JOIN pg_catalog.pg_tablespace ts ON ts.oid = r.reltablespace
  JOIN pg_catalog.pg_database db ON db.datname = pg_catalog.current_database()
  JOIN pg_catalog.pg_tablespace d ON d.oid = db.dattablespace
 WHERE pg_catalog.pg_has_role('pg_monitor', 'USAGE')
    OR pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW steward.partitions IS 'The partitions of managed sets, in no particular order, and the tables that retention has detached, until they are gone. Owners see their own; pg_monitor sees all. Reading it takes ACCESS SHARE on every set it shows, without waiting for it, and calls no code of anybody''s.';
COMMENT ON COLUMN steward.partitions.parent IS 'The set.';
COMMENT ON COLUMN steward.partitions.partition IS 'The partition.';
COMMENT ON COLUMN steward.partitions.strategy IS 'range or hash.';
COMMENT ON COLUMN steward.partitions.modulus IS 'Of a hash partition; NULL for range.';
COMMENT ON COLUMN steward.partitions.remainder IS 'Of a hash partition; NULL for range.';
COMMENT ON COLUMN steward.partitions.is_default IS 'Whether it is the default partition.';
COMMENT ON COLUMN steward.partitions.tablespace IS 'Where its rows are; the database''s own one is named, too.';
COMMENT ON COLUMN steward.partitions.level IS '1: directly below the parent; 2: below one of those, where a period is spread by hash. What lies deeper, or below by range or list, is not shown; its size is counted above.';
COMMENT ON COLUMN steward.partitions.lower_bound IS 'Inclusive, as SQL writes it; MINVALUE for none; NULL for the default partition and for hash.';
COMMENT ON COLUMN steward.partitions.upper_bound IS 'Exclusive, as SQL writes it; MAXVALUE for none; NULL for the default partition and for hash.';
COMMENT ON COLUMN steward.partitions.state IS 'past, current, future, expired (wholly older than retention keeps, about to leave), detaching (DETACH ... CONCURRENTLY has begun), detached (by retention), default. For integer keys as of the last run of the set''s job: current holds the highest key in use; a hash partition is always current.';
COMMENT ON COLUMN steward.partitions.total_bytes IS 'Table, toast and indexes in bytes, with all partitions below.';
COMMENT ON COLUMN steward.partitions.archived_at IS 'When the archive function returned true; NULL: it has not.';
COMMENT ON COLUMN steward.partitions.archive_failures IS 'How often the archive function has failed or not returned true; NULL: retention has not reached it.';
COMMENT ON COLUMN steward.partitions.next_archive_at IS 'When the workers call it again.';
COMMENT ON COLUMN steward.partitions.last_error IS 'The last error of the archive function; NULL if there was none.';
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
        DELETE FROM steward.retired_partition p WHERE p.partition = ANY (dropped);
        DELETE FROM steward.job j WHERE j.target = ANY (dropped);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION steward.forget_dropped() FROM PUBLIC;
COMMENT ON FUNCTION steward.forget_dropped IS 'Removes the jobs of dropped tables, and with them their policies.';
CREATE EVENT TRIGGER pg_steward_forget_dropped ON sql_drop
    EXECUTE FUNCTION steward.forget_dropped();
COMMENT ON EVENT TRIGGER pg_steward_forget_dropped IS 'Policies of pg_steward die with their table.';
