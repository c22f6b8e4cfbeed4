-- What pg_partman, versions 4 and 5, says of its sets, in our words: what import_pg_partman() is made of.

CREATE FUNCTION steward.pg_partman_rows(relation regclass) RETURNS SETOF text
LANGUAGE c VOLATILE STRICT ROWS 100 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pg_partman_rows_wrapper';
COMMENT ON FUNCTION steward.pg_partman_rows IS
'The rows of a table of extension pg_partman as JSON, read with the rights of the table''s owner, for a caller who may read it. Errors: 42P01 no such table of that extension, 42501 no right to read it.';

CREATE FUNCTION steward.pg_partman_has_rows(parent regclass) RETURNS boolean
LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pg_partman_has_rows_wrapper';
COMMENT ON FUNCTION steward.pg_partman_has_rows IS
'Whether a partitioned table holds rows outside its default partition. No policy hides any, and no code of its owner''s is called. Takes ACCESS SHARE on its partitions. Errors: 42809 not partitioned, 42501 not the owner.';

-- pg_partman's own table, whichever schema it is in; to_jsonb, so that columns may come and go between
-- its versions.
CREATE FUNCTION steward.pg_partman_sets(
    OUT parent regclass, OUT config jsonb, OUT config_table text
) RETURNS SETOF record
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    version    text;
    schema     text;
    sub_config text;
BEGIN
    SELECT e.extversion, pg_catalog.quote_ident(n.nspname) INTO version, schema
      FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
     WHERE e.extname = 'pg_partman';
    IF version IS NULL THEN
        RAISE EXCEPTION 'extension "pg_partman" is not installed in this database'
            USING ERRCODE = 'undefined_object',
                  HINT = 'Connect to the database that has it, or call steward.manage_range() for each table.';
    END IF;
    IF version !~ '^[45][.]' THEN
        RAISE EXCEPTION 'the configuration of pg_partman % is not known', version
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Versions 4 and 5 are. Call steward.manage_range() for each table.';
    END IF;
    config_table := schema || '.part_config';
    sub_config := schema || '.part_config_sub';
    -- pg_partman resolves its names so, too: unquoted, and split at the first dot.
    RETURN QUERY
        SELECT t.oid::pg_catalog.regclass, p.line || pg_catalog.jsonb_build_object('sub', s.line), config_table
          FROM (SELECT r::pg_catalog.jsonb FROM steward.pg_partman_rows(config_table::pg_catalog.regclass) r) p (line)
          LEFT JOIN (SELECT r::pg_catalog.jsonb FROM steward.pg_partman_rows(sub_config::pg_catalog.regclass) r) s (line)
            ON s.line ->> 'sub_parent' = p.line ->> 'parent_table'
          LEFT JOIN (pg_catalog.pg_class t
                     JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace)
            ON n.nspname = pg_catalog.split_part(p.line ->> 'parent_table', '.', 1)
           AND t.relname = pg_catalog.split_part(p.line ->> 'parent_table', '.', 2)
           AND t.relkind IN ('r', 'p')
         ORDER BY p.line ->> 'parent_table';
END
$$;
COMMENT ON FUNCTION steward.pg_partman_sets IS
'What pg_partman is configured to do: a row for each of its part_config, with that of part_config_sub under "sub"; parent is NULL where the table is gone. For import_pg_partman(). Errors: 42704 no pg_partman here, 0A000 a version that is not known, 42501 no right to read part_config.';

CREATE FUNCTION steward.pg_partman_name_format(datetime_string text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rest   text := datetime_string;
    format text := '';
    piece  text;
BEGIN
    WHILE rest <> '' LOOP
        piece := (pg_catalog.regexp_match(rest,
            E'^(YYYY|IYYY|MM|DD|HH24|MI|SS|IW|Q|"[^"%{}\\\\]*"|[^[:alnum:]"%{}\\\\])', 'i'))[1];
        IF piece IS NULL THEN
            RETURN NULL;
        END IF;
        format := format || CASE pg_catalog.upper(piece)
            WHEN 'YYYY' THEN '%Y' WHEN 'IYYY' THEN '%G' WHEN 'MM' THEN '%m' WHEN 'DD' THEN '%d'
            WHEN 'HH24' THEN '%H' WHEN 'MI' THEN '%M' WHEN 'SS' THEN '%S' WHEN 'IW' THEN '%V'
            WHEN 'Q' THEN '%q' ELSE pg_catalog.btrim(piece, '"') END;
        rest := pg_catalog.substr(rest, pg_catalog.length(piece) + 1);
    END LOOP;
    RETURN '{parent}_p' || format;
END
$$;
COMMENT ON FUNCTION steward.pg_partman_name_format IS
'The name_format that gives the names of pg_partman''s datetime_string; NULL where it has a pattern of to_char() that name_format lacks.';

-- DateStyle, because bounds are shown, and read again, in that of the session.
CREATE FUNCTION steward.pg_partman_bounds(
    parent regclass, key_encoding text, OUT lower_bound timestamptz, OUT upper_bound timestamptz
) RETURNS SETOF record
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    key_type text;
    decoded  text;
BEGIN
    IF parent IS NULL THEN
        RETURN;
    END IF;
    SELECT pg_catalog.format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL) INTO key_type
      FROM pg_catalog.pg_partitioned_table p
      JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
      JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
     WHERE p.partrelid = $1;
    decoded := CASE
        WHEN key_encoding = 'uuidv7' THEN
            'pg_catalog.to_timestamp((''x'' || pg_catalog.substr(pg_catalog.replace(%s, ''-'', ''''), 1, 12))
                ::pg_catalog.bit(48)::pg_catalog.int8 / 1000.0)'
        WHEN key_encoding IS NOT NULL THEN
            'pg_catalog.to_timestamp((%s::pg_catalog.numeric / ' || CASE key_encoding
                WHEN 'epoch_seconds' THEN '1' WHEN 'epoch_milliseconds' THEN '1000'
                WHEN 'epoch_microseconds' THEN '1000000' ELSE '1000000000' END || ')::pg_catalog.float8)'
        WHEN key_type = 'timestamp with time zone' THEN '%s::pg_catalog.timestamptz'
        ELSE '%s::pg_catalog.timestamp AT TIME ZONE ''UTC'''
    END;
    RETURN QUERY EXECUTE pg_catalog.format(
        'SELECT ' || pg_catalog.format(decoded, 'b.edge[1]') || ', ' || pg_catalog.format(decoded, 'b.edge[2]') ||
        ' FROM (SELECT pg_catalog.array_replace(pg_catalog.array_replace(pg_catalog.array_replace(pg_catalog.array_replace(
                    pg_catalog.regexp_match(pg_catalog.pg_get_expr(c.relpartbound, c.oid),
                        ''^FOR VALUES FROM [(]''''?([^()'''']*)''''?[)] TO [(]''''?([^()'''']*)''''?[)]$''),
                    ''MINVALUE'', NULL), ''MAXVALUE'', NULL), ''infinity'', NULL), ''-infinity'', NULL)
                 FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = %s) b (edge)
         WHERE b.edge IS NOT NULL', parent::oid);
END
$$;
COMMENT ON FUNCTION steward.pg_partman_bounds IS
'The bounds of a set''s partitions as times; those of timestamp and date keys as if they were UTC; NULL for MINVALUE, MAXVALUE and the infinities.';

CREATE FUNCTION steward.pg_partman_origin(boundary timestamptz, partition_interval interval, time_zone text)
RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD'
AS $$
    SELECT CASE WHEN CASE
               WHEN i.months > 0 THEN w.wall = pg_catalog.date_trunc('month', w.wall)
                    AND (12 * extract(year FROM w.wall) + extract(month FROM w.wall) - 24001) % i.months = 0
               WHEN i.days > 0 THEN w.wall = pg_catalog.date_trunc('day', w.wall)
                    AND (w.wall::date - CASE WHEN i.days % 7 = 0 THEN date '2000-01-03'
                                             ELSE date '2000-01-01' END) % i.days = 0
               ELSE extract(epoch FROM w.wall - timestamp '2000-01-01') % i.seconds = 0
           END THEN NULL ELSE w.wall::text END
      -- Where the clocks go forward at midnight the day begins later; midnight is meant.
      FROM (SELECT CASE WHEN pg_catalog.date_trunc('day', l.wall) AT TIME ZONE time_zone = boundary
                        THEN pg_catalog.date_trunc('day', l.wall) ELSE l.wall END
              FROM (SELECT boundary AT TIME ZONE time_zone) l (wall)) w (wall),
           (SELECT (12 * extract(year FROM partition_interval) + extract(month FROM partition_interval))::integer,
                   extract(day FROM partition_interval)::integer,
                   nullif(3600 * extract(hour FROM partition_interval)
                          + 60 * extract(minute FROM partition_interval)
                          + extract(second FROM partition_interval), 0)) i (months, days, seconds)
$$;
COMMENT ON FUNCTION steward.pg_partman_origin IS
'The origin of a set with that boundary, as the zone''s wall clock shows it; NULL where the boundary lies on the calendar anyway. pg_partman 5 lets weeks begin on the weekday on which a set was begun, and 3 months in any month.';

CREATE FUNCTION steward.pg_partman_time_zone(boundaries timestamptz[], partition_interval interval)
RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    seconds   numeric := 3600 * extract(hour FROM partition_interval)
                         + 60 * extract(minute FROM partition_interval)
                         + extract(second FROM partition_interval);
    of_caller text := pg_catalog.current_setting('TimeZone');
    candidate text;
    fitting   text[];
    futures   bigint;
BEGIN
    -- pg_partman adds days and months on the wall clock of a session, but hours and less to the instant:
    -- where the clocks of a zone are changed by no multiple of that, only UTC goes on as it would.
    IF seconds > 0 THEN
        RETURN (SELECT CASE WHEN pg_catalog.bool_and((o.shift - o.first_shift) % seconds = 0)
                            THEN of_caller ELSE 'UTC' END
                  FROM (SELECT z.shift, pg_catalog.first_value(z.shift) OVER ()
                          FROM pg_catalog.generate_series(0, 24) n
                         CROSS JOIN LATERAL (SELECT pg_catalog.now() + n * interval '30 days') t (at)
                         CROSS JOIN LATERAL (SELECT extract(epoch FROM (t.at AT TIME ZONE of_caller)
                                                                       - (t.at AT TIME ZONE 'UTC'))) z (shift)
                       ) o (shift, first_shift));
    END IF;
    FOR candidate IN
        SELECT z.name
          FROM (SELECT 1, of_caller
                UNION ALL SELECT 2, s.reset_val FROM pg_catalog.pg_settings s WHERE s.name = 'TimeZone'
                UNION ALL SELECT 3, pg_catalog.split_part(c.setting, '=', 2)
                            FROM pg_catalog.pg_db_role_setting r
                           CROSS JOIN LATERAL pg_catalog.unnest(r.setconfig) c (setting)
                            JOIN pg_catalog.pg_database d
                              ON r.setdatabase IN (0, d.oid) AND d.datname = pg_catalog.current_database()
                           WHERE c.setting ~* '^timezone='
                UNION ALL SELECT 4, 'UTC') z (turn, name)
         ORDER BY z.turn, z.name
    LOOP
        -- Not its time of day: where the clocks go forward at midnight that is another one.
        IF (SELECT coalesce(pg_catalog.bool_and(
                       pg_catalog.date_trunc('day', b AT TIME ZONE candidate) AT TIME ZONE candidate = b), true)
              FROM pg_catalog.unnest(boundaries) b) THEN
            RETURN candidate;
        END IF;
    END LOOP;
    -- Any that fits will do, as long as all that fit will have their midnights at the same times.
    SELECT pg_catalog.array_agg(z.name ORDER BY z.name), pg_catalog.count(DISTINCT z.ahead) INTO fitting, futures
      FROM (SELECT n.name, ARRAY(SELECT (pg_catalog.now() + d * interval '10 days') AT TIME ZONE n.name
                                   FROM pg_catalog.generate_series(1, 73) d) AS ahead
              FROM pg_catalog.pg_timezone_names n
             WHERE n.name ~ '^(Africa|America|Asia|Atlantic|Australia|Europe|Indian|Pacific)/'
               AND pg_catalog.date_trunc('day', boundaries[1] AT TIME ZONE n.name) AT TIME ZONE n.name = boundaries[1]
               AND (SELECT pg_catalog.bool_and(
                               pg_catalog.date_trunc('day', b AT TIME ZONE n.name) AT TIME ZONE n.name = b)
                      FROM pg_catalog.unnest(boundaries) b)) z;
    RETURN CASE futures WHEN 0 THEN of_caller WHEN 1 THEN fitting[1] END;
END
$$;
COMMENT ON FUNCTION steward.pg_partman_time_zone IS
'In which zone''s midnights all boundaries of a set lie: the caller''s TimeZone if it is that; else the one that new sessions of the caller have, one that is set for a role or database, or UTC; else any, if those that fit agree on the next two years; NULL: they do not. The caller''s if none fits at all. For hours and less: the caller''s, unless its changes of the clock would shift the boundaries; then UTC.';

CREATE FUNCTION steward.pg_partman_refusal(parent regclass, config jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kind     text;
    owner    name;
    is_owner boolean;
    strategy text;
    above    regclass;
    control  text;
    key_type text;
BEGIN
    SELECT c.relkind, pg_catalog.pg_get_userbyid(c.relowner), pg_catalog.pg_has_role(c.relowner, 'USAGE'),
           p.partstrat, i.inhparent, a.attname,
           pg_catalog.format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL)
      INTO kind, owner, is_owner, strategy, above, control, key_type
      FROM pg_catalog.pg_class c
      LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
      LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = c.oid
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
      LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
     WHERE c.oid = $1;
    RETURN CASE
        WHEN kind IS NULL THEN
            'there is no such table'
        WHEN NOT is_owner THEN
            pg_catalog.format('it belongs to %I: call import_pg_partman() as that role too', owner)
        WHEN (config ->> 'undo_in_progress')::boolean THEN
            'undo_in_progress: pg_partman is being undone on it'
        WHEN config ->> 'async_partitioning_in_progress' IS NOT NULL THEN
            'async_partitioning_in_progress: its rows are still being moved into partitions'
        WHEN above IS NOT NULL THEN
            pg_catalog.format('it is a partition of %s itself: pg_steward keeps the topmost level only', above)
        WHEN kind <> 'p' THEN
            pg_catalog.format('partition_type = %s: partitioned by triggers and inheritance, not declaratively',
                              config ->> 'partition_type')
        WHEN strategy <> 'r' THEN
            pg_catalog.format('partition_type = %s: only ranges are taken over', config ->> 'partition_type')
        WHEN control IS DISTINCT FROM (config ->> 'control') THEN
            pg_catalog.format('control = %s: it is partitioned by %s', config ->> 'control',
                              pg_catalog.pg_get_partkeydef($1))
        WHEN key_type = 'uuid' AND NOT (
                 config ->> 'time_encoder' ~ '(^|[.])uuid7_time_encoder$'
              OR (SELECT coalesce(pg_catalog.bool_and(
                             b.lower_bound + (config ->> 'partition_interval')::interval = b.upper_bound), false)
                    FROM steward.pg_partman_bounds($1, 'uuidv7') b)) THEN
            pg_catalog.format('time_encoder = %s: its bounds are not those of UUIDv7', config ->> 'time_encoder')
        WHEN key_type IN ('text', 'character varying') THEN
            pg_catalog.format('time_encoder = %s: of encodings in text pg_steward knows ULIDs only; '
                              'if that is what they are, call manage_range(..., key_encoding => ''ulid'')',
                              config ->> 'time_encoder')
    END;
END
$$;
COMMENT ON FUNCTION steward.pg_partman_refusal IS
'Why a set of pg_partman is not taken over; NULL: it can be.';

CREATE FUNCTION steward.pg_partman_leftovers(parent regclass, config jsonb, by_id boolean) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    owner name := (SELECT pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c WHERE c.oid = $1);
    sub jsonb := nullif(config -> 'sub', 'null');
BEGIN
    RETURN QUERY SELECT l.line FROM (VALUES
        (sub IS NOT NULL,
         pg_catalog.format('sub-partitioning by %s, every %s: a new period is one table; hash is what pg_steward '
                           'can spread it by, see subpartition_by', sub ->> 'sub_control', sub ->> 'sub_partition_interval')),
        (NOT by_id AND config ->> 'infinite_time_partitions' = 'false',
         'infinite_time_partitions = off: a set by time always follows the clock, new rows or not'),
        (config ->> 'ignore_default_data' = 'false',
         'ignore_default_data = off: rows in the default partition never make partitions'),
        (config ->> 'epoch' <> 'none',
         'the CHECK on the time that pg_partman adds to each partition: its bounds say the same'),
        (config ->> 'constraint_cols' IS NOT NULL,
         pg_catalog.format('constraint_cols = %s, optimize_constraint = %s: old partitions get no further constraints',
                           config -> 'constraint_cols', config ->> 'optimize_constraint')),
        (config ->> 'inherit_privileges' = 'true',
         'inherit_privileges = on: privileges stay on the parent; those of the template are given'),
        (config ->> 'retention' IS NOT NULL AND config ->> 'retention_keep_index' = 'false',
         'retention_keep_index = off: a detached partition keeps its indexes'),
        (config ->> 'retention' IS NOT NULL AND config ->> 'retention_keep_publication' = 'true',
         'retention_keep_publication = on: a detached partition leaves the publications that name it'),
        (config ->> 'drop_cascade_fk' = 'true',
         'drop_cascade_fk = on: what refers to a partition keeps it from being dropped'),
        (config ->> 'maintenance_order' IS NOT NULL,
         pg_catalog.format('maintenance_order = %s: each set has a job of its own', config ->> 'maintenance_order')),
        (config ->> 'maintenance_role' <> owner,
         pg_catalog.format('maintenance_role = %s: the work is done with the rights of the owner, %I',
                           config ->> 'maintenance_role', owner)),
        (config ->> 'publications' IS NOT NULL,
         pg_catalog.format('publications = %s: publish the parent, its partitions come with it', config -> 'publications')),
        (config ->> 'subscription_refresh' IS NOT NULL,
         pg_catalog.format('subscription_refresh = %s: subscriptions are not refreshed', config ->> 'subscription_refresh')),
        (config ->> 'jobmon' = 'true'
         AND EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extname = 'pg_jobmon'),
         'jobmon = on: runs are logged in steward.job_runs')
    ) l (holds, line) WHERE l.holds;
END
$$;
COMMENT ON FUNCTION steward.pg_partman_leftovers IS
'What pg_partman does for a set that pg_steward does not, or does otherwise, and why; a row for each.';

CREATE FUNCTION steward.pg_partman_calendar(
    parent regclass, config jsonb, key_encoding text, by_id boolean, OUT time_zone text, OUT origin text,
    OUT start_at text
) RETURNS record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    every     interval;
    width     numeric;
    first_id  numeric;
    last_id   numeric;
    is_wall   boolean;
    edges     timestamptz[];
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = $1) THEN
        RAISE EXCEPTION '% is not a partitioned table', coalesce($1::text, 'NULL')
            USING ERRCODE = 'wrong_object_type', HINT = 'Name a set of pg_partman.';
    END IF;
    IF by_id THEN
        width := (config ->> 'partition_interval')::numeric;
        SELECT pg_catalog.min(b.edge[1]::numeric), pg_catalog.max(b.edge[2]::numeric) INTO first_id, last_id
          FROM (SELECT pg_catalog.regexp_match(pg_catalog.pg_get_expr(c.relpartbound, c.oid),
                                               '^FOR VALUES FROM [(]''?(-?[0-9]+)''?[)] TO [(]''?(-?[0-9]+)''?[)]$')
                  FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = $1) b (edge);
        origin := CASE WHEN last_id % width <> 0 THEN last_id::text END;
        -- An empty set begins where pg_partman began it, not at 0.
        start_at := CASE WHEN NOT steward.pg_partman_has_rows($1) THEN first_id::text END;
        RETURN;
    END IF;
    every := (config ->> 'partition_interval')::interval;
    is_wall := key_encoding IS NULL
               AND (SELECT a.atttypid <> 'timestamptz'::regtype
                      FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attname = config ->> 'control');
    -- The last one first: pg_partman goes on from there.
    edges := ARRAY(SELECT DISTINCT e.edge
                     FROM steward.pg_partman_bounds($1, key_encoding) b
                    CROSS JOIN LATERAL (VALUES (b.lower_bound), (b.upper_bound)) e (edge)
                    WHERE e.edge IS NOT NULL ORDER BY 1 DESC LIMIT 1000);
    time_zone := CASE WHEN is_wall THEN pg_catalog.current_setting('TimeZone')
                      ELSE steward.pg_partman_time_zone(edges, every) END;
    origin := steward.pg_partman_origin(edges[1], every, CASE WHEN is_wall THEN 'UTC' ELSE time_zone END);
END
$$;
COMMENT ON FUNCTION steward.pg_partman_calendar IS
'The time_zone, origin and start_at with which manage_range() goes on where the bounds of a set of pg_partman end; NULL: none is needed, and for time_zone that it cannot be told.';

CREATE FUNCTION steward.pg_partman_template(
    parent regclass, config jsonb, OUT template regclass, OUT problem text
) RETURNS record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named text := config ->> 'template_table';
    kind  text;
    owner oid;
    wanted_owner oid := (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = $1);
BEGIN
    IF named IS NULL THEN
        RETURN;
    END IF;
    SELECT c.oid, c.relkind, c.relowner INTO template, kind, owner
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = pg_catalog.split_part(named, '.', 1) AND c.relname = pg_catalog.split_part(named, '.', 2);
    problem := CASE
        WHEN template IS NULL THEN pg_catalog.format('template_table = %s: there is no such table', named)
        WHEN kind <> 'r' THEN pg_catalog.format('template_table = %s: it is no plain table', named)
        WHEN owner <> wanted_owner THEN
            pg_catalog.format('template_table = %s: it belongs to %I. ALTER TABLE %s OWNER TO %I; '
                              'SELECT steward.alter_range(%L, template => %L);',
                              named, pg_catalog.pg_get_userbyid(owner), template,
                              pg_catalog.pg_get_userbyid(wanted_owner), parent, template)
    END;
    IF problem IS NOT NULL THEN
        template := NULL;
    END IF;
END
$$;
COMMENT ON FUNCTION steward.pg_partman_template IS
'The template_table of a set of pg_partman, or why it cannot be the template of one of pg_steward.';
