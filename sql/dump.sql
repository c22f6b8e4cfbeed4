-- What a dump takes along of sets, jobs and notes, and how it comes back.
--
-- pg_dump copies a configuration table as it is stored. In our own tables that would be OIDs, and where one name of
-- theirs is not restored the COPY of the whole table fails, of one table and not of the next. So none of them is
-- dumped. One row a set is, made of all of them while pg_dump reads, with the names of that moment; where it is
-- restored it is text, and loads whatever is there. When its table is, it is taken over (src/dump).

CREATE FUNCTION steward.dump_arrives() RETURNS boolean
LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dump_arrives_wrapper';
COMMENT ON FUNCTION steward.dump_arrives IS
'Notes that this session restores a dump: until it has ended the background workers keep out of the database, whose sets are not complete yet; then they begin. True.';
REVOKE ALL ON FUNCTION steward.dump_arrives() FROM PUBLIC;

-- A constraint, for it holds where triggers do not fire: pg_restore --disable-triggers, session_replication_role.
CREATE TABLE steward.restored (
    strategy    text NOT NULL CHECK (strategy IN ('range', 'hash')),
    schema_name name NOT NULL,
    table_name  name NOT NULL,
    policy      jsonb NOT NULL,
    job         jsonb,
    retired     jsonb,
    CHECK (steward.dump_arrives())
);
COMMENT ON TABLE steward.restored IS 'One row a set that a dump has brought, until it is taken over: empty but while a dump is restored.';
COMMENT ON COLUMN steward.restored.strategy IS 'range or hash.';
COMMENT ON COLUMN steward.restored.schema_name IS 'Schema of the set, when it was dumped.';
COMMENT ON COLUMN steward.restored.table_name IS 'Name of the set, when it was dumped.';
COMMENT ON COLUMN steward.restored.policy IS 'Its row of steward.range_policy or steward.hash_policy; tables as [schema, name].';
COMMENT ON COLUMN steward.restored.job IS 'Its row of steward.job; NULL: it has none.';
COMMENT ON COLUMN steward.restored.retired IS 'Its rows of steward.retired_partition; NULL: none.';

CREATE FUNCTION steward.name_for_dump(relation oid) RETURNS jsonb
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_array(n.nspname, c.relname)
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = $1
$$;
REVOKE ALL ON FUNCTION steward.name_for_dump(oid) FROM PUBLIC;
COMMENT ON FUNCTION steward.name_for_dump IS 'A relation as [schema, name]; NULL for one that is gone.';

CREATE FUNCTION steward.named_in_dump(name jsonb) RETURNS oid
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.oid
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ($1 ->> 0)::pg_catalog.name AND c.relname = ($1 ->> 1)::pg_catalog.name
$$;
REVOKE ALL ON FUNCTION steward.named_in_dump(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION steward.named_in_dump IS 'The relation that [schema, name] names; NULL where there is none.';

-- A function and not a view: pg_dump refuses to read other people's views (restrict_nonsystem_relation_kind).
CREATE FUNCTION steward.dumped() RETURNS TABLE (
    strategy text, schema_name name, table_name name, policy jsonb, job jsonb, retired jsonb
)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1000
SET search_path = pg_catalog, pg_temp SET IntervalStyle = 'postgres'
AS $$
    SELECT p.strategy, n.nspname, c.relname, jsonb_strip_nulls(p.policy),
           (SELECT jsonb_strip_nulls(to_jsonb(j) - 'target') FROM steward.job j WHERE j.target = p.parent),
           (SELECT jsonb_agg(jsonb_strip_nulls(to_jsonb(q) - 'parent'
                             || jsonb_build_object('partition', steward.name_for_dump(q.partition)))
                             ORDER BY q.ends)
              FROM steward.retired_partition q
             WHERE q.parent = p.parent AND steward.name_for_dump(q.partition) IS NOT NULL)
      FROM (SELECT 'range' AS strategy, r.parent,
                   to_jsonb(r) - '{parent,subpartition_key}'::text[]
                   || jsonb_build_object('template', steward.name_for_dump(r.template),
                                         'subpartition_by', coalesce(a.attname::text, r.subpartition_by)) AS policy
              FROM steward.range_policy r
              LEFT JOIN pg_catalog.pg_attribute a
                ON a.attrelid = r.parent AND a.attnum = r.subpartition_key AND NOT a.attisdropped
            UNION ALL
            SELECT 'hash', h.parent,
                   to_jsonb(h) - 'parent' || jsonb_build_object('template', steward.name_for_dump(h.template))
              FROM steward.hash_policy h) p
      JOIN pg_catalog.pg_class c ON c.oid = p.parent
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
$$;
REVOKE ALL ON FUNCTION steward.dumped() FROM PUBLIC;
COMMENT ON FUNCTION steward.dumped IS 'What pg_dump takes along as rows of steward.restored: each set with its job and its notes, by the names of this moment.';

-- pg_dump puts the condition behind FROM steward.restored as it is (src/bin/pg_dump/pg_dump.c, dumpTableData). What has
-- not been taken over yet is dumped as it came.
SELECT pg_catalog.pg_extension_config_dump(
    'steward.restored',
    'UNION ALL SELECT strategy, schema_name, table_name, policy, job, retired FROM steward.dumped()');
SELECT pg_catalog.pg_extension_config_dump('steward.job_job_id_seq', '');

CREATE FUNCTION steward.take_over_restored() RETURNS void
LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'take_over_restored_wrapper';
REVOKE ALL ON FUNCTION steward.take_over_restored() FROM PUBLIC;
COMMENT ON FUNCTION steward.take_over_restored IS 'Makes policies, jobs and notes of those rows of steward.restored whose table is there.';
CREATE FUNCTION steward.restored_inserted() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$ BEGIN PERFORM steward.take_over_restored(); RETURN NULL; END $$;
REVOKE ALL ON FUNCTION steward.restored_inserted() FROM PUBLIC;
COMMENT ON FUNCTION steward.restored_inserted IS 'Takes over what a dump brings at once. Where triggers do not fire, the background workers do, or the next call.';
CREATE TRIGGER restored_inserted AFTER INSERT ON steward.restored
    FOR EACH STATEMENT EXECUTE FUNCTION steward.restored_inserted();
