-- Taking over the sets of pg_partman, versions 4 and 5.

CREATE FUNCTION steward.import_pg_partman(
    OUT parent regclass, OUT parent_table text, OUT status text, OUT reason text,
    OUT partition_interval text, OUT premake integer, OUT time_zone text, OUT key_encoding text,
    OUT origin text, OUT name_format text, OUT template regclass,
    OUT retention text, OUT retention_action text, OUT retention_schema name,
    OUT created bigint, OUT not_taken_over text[], OUT hint text
) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE ROWS 100 SET search_path = pg_catalog, pg_temp SET lock_timeout = 0
AS $$
DECLARE
    found    record;
    config   jsonb;
    key_type oid;
    is_uuid  boolean;
    by_id    boolean;
    problem  text;
    said     text;
    start    text;
    blocked  bigint;
    rest     regclass;
    job      bigint;
BEGIN
    IF pg_catalog.pg_is_in_recovery() THEN
        RAISE EXCEPTION 'cannot execute import_pg_partman() on a standby'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Call it on the primary.';
    END IF;
    IF pg_catalog.current_setting('transaction_read_only')::boolean THEN
        RAISE EXCEPTION 'cannot execute import_pg_partman() in a read-only transaction'
            USING ERRCODE = 'read_only_sql_transaction',
                  HINT = 'SET default_transaction_read_only = off, or begin the transaction READ WRITE.';
    END IF;
    -- Showing a bound takes ACCESS SHARE on its partition, which is not waited for in vain either. Taken
    -- back at the end, since the function sets it.
    PERFORM pg_catalog.set_config('lock_timeout',
                                  coalesce(pg_catalog.current_setting('pg_steward.lock_timeout', true), '2s'), true);
    FOR found IN SELECT s.* FROM steward.pg_partman_sets() s LOOP
        config := found.config;
        parent := found.parent;
        parent_table := config ->> 'parent_table';
        partition_interval := config ->> 'partition_interval';
        premake := (config ->> 'premake')::integer;
        created := 0;
        not_taken_over := '{}';
        time_zone := NULL; key_encoding := NULL; origin := NULL; name_format := NULL; template := NULL;
        retention := NULL; retention_action := NULL; retention_schema := NULL; hint := NULL;

        -- A subtransaction for each: one that fails stops no other.
        BEGIN
            status := 'skipped';
            reason := steward.pg_partman_refusal(parent, config);
            IF reason IS NULL THEN
                SELECT coalesce(nullif(t.typbasetype, 0), t.oid), p.partdefid INTO key_type, rest
                  FROM pg_catalog.pg_attribute a
                  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
                  JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = a.attrelid
                 WHERE a.attrelid = found.parent AND a.attname = config ->> 'control';
                is_uuid := key_type = 'uuid'::regtype;
                key_encoding := CASE WHEN is_uuid THEN 'uuidv7'
                                     WHEN config ->> 'epoch' <> 'none' THEN 'epoch_' || (config ->> 'epoch') END;
                by_id := key_encoding IS NULL
                         AND key_type NOT IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype);
                SELECT c.time_zone, c.origin, c.start_at INTO time_zone, origin, start
                  FROM steward.pg_partman_calendar(found.parent, config, key_encoding, by_id) c;
                IF time_zone IS NULL AND NOT by_id THEN
                    RAISE EXCEPTION 'its bounds are not midnights of your TimeZone, %, but of several others',
                        pg_catalog.current_setting('TimeZone')
                        USING HINT = 'SET TimeZone to the one in which pg_partman works, and call import_pg_partman() again.';
                END IF;
                name_format := CASE WHEN by_id THEN '{parent}_p{lower}'
                                    ELSE steward.pg_partman_name_format(config ->> 'datetime_string') END;
                SELECT t.template, t.problem INTO template, problem
                  FROM steward.pg_partman_template(found.parent, config) t;
                not_taken_over := ARRAY(SELECT l FROM steward.pg_partman_leftovers(found.parent, config, by_id) l);
                IF problem IS NOT NULL THEN
                    not_taken_over := not_taken_over || problem;
                END IF;
                IF name_format IS NULL AND config ->> 'datetime_string' IS NOT NULL THEN
                    not_taken_over := not_taken_over
                        || pg_catalog.format('datetime_string = %s: name_format has no such names', config ->> 'datetime_string');
                END IF;

                SELECT pg_catalog.count(*) FILTER (WHERE s.reason NOT LIKE '%; blocked:%'),
                       pg_catalog.count(*) FILTER (WHERE s.reason LIKE '%; blocked:%')
                  INTO created, blocked
                  FROM steward.manage_range(found.parent, partition_interval => config ->> 'partition_interval',
                                            premake => (config ->> 'premake')::integer, time_zone => time_zone, start_at => start,
                                            key_encoding => key_encoding, name_format => name_format,
                                            template => template, origin => origin) s;
                status := 'imported';
                IF config ->> 'automatic_maintenance' = 'off' THEN
                    SELECT j.job_id INTO job FROM steward.jobs j WHERE j.target = found.parent;
                    PERFORM steward.pause_job(job);
                END IF;
            END IF;
        EXCEPTION
            WHEN lock_not_available THEN
                status := 'skipped';
                reason := 'somebody has it, or one of its partitions, locked';
                hint := 'Call import_pg_partman() again.';
            WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
                status := 'skipped';
                hint := nullif(hint, '');
        END;

        IF status = 'skipped' THEN
            created := 0;
            not_taken_over := '{}';
            time_zone := NULL; key_encoding := NULL; origin := NULL; name_format := NULL; template := NULL;
            RETURN NEXT;
            CONTINUE;
        END IF;

        IF config ->> 'retention' IS NOT NULL THEN
            BEGIN
                -- With retention_schema pg_partman keeps the table, whatever retention_keep_table says.
                retention_action := CASE WHEN config ->> 'retention_schema' IS NOT NULL
                                           OR config ->> 'retention_keep_table' = 'true' THEN 'detach' ELSE 'drop' END;
                PERFORM steward.set_retention(found.parent, keep => config ->> 'retention', action => retention_action,
                                              to_schema => (config ->> 'retention_schema')::name);
                retention := config ->> 'retention';
                retention_schema := config ->> 'retention_schema';
            EXCEPTION WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS said = MESSAGE_TEXT;
                retention_action := NULL;
                not_taken_over := not_taken_over
                    || pg_catalog.format('retention = %s: %s', config ->> 'retention', said);
            END;
        END IF;

        hint := pg_catalog.concat_ws(' ',
            CASE WHEN config ->> 'automatic_maintenance' = 'off' THEN
                pg_catalog.format('automatic_maintenance = off, so its job is paused: SELECT steward.resume_job(%s);', job)
            ELSE
                pg_catalog.format('pg_partman still works on it, too: UPDATE %s SET automatic_maintenance = ''off'' '
                                  'WHERE parent_table = %L;', found.config_table, parent_table)
            END,
            CASE WHEN blocked > 0 THEN
                pg_catalog.format('%s partition(s) wait until rows are moved out of %s.', blocked, rest)
            WHEN rest <> 0 THEN
                pg_catalog.format('%s stays; once it is empty you may drop it.', rest)
            END,
            CASE WHEN time_zone <> pg_catalog.current_setting('TimeZone') AND NOT by_id THEN
                pg_catalog.format('Its periods begin in time zone %s, not in yours, %s.', time_zone,
                                  pg_catalog.current_setting('TimeZone'))
            END);
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION steward.import_pg_partman IS
'Puts the sets of pg_partman (4 and 5) that the caller owns under management, on the same tables and partitions, and creates, in the caller''s transaction, what they lack; a row for each row of part_config. pg_partman''s own configuration is left alone: see hint. Sets that are managed already are skipped.
 parent, parent_table: the table; as part_config names it.
 status, reason: imported, or skipped and why.
 partition_interval to retention_schema: what was taken over, as manage_range() and set_retention() call it. retention_action is detach where retention_keep_table or retention_schema says that the table is kept.
 time_zone: the caller''s TimeZone if the bounds lie on its midnights; else the one in which they do.
 origin: where the bounds do not lie on the calendar, so that they go on as they are.
 created: how many partitions were created.
 not_taken_over: settings that pg_steward does not have or does otherwise, each with the reason.
Locks, held until the caller commits: those of manage_range() on each set.
Errors: 42704 no pg_partman in this database, 0A000 a version that is not known, 42501 no right to read part_config and part_config_sub, 55000 on a standby. What goes wrong with one set is its reason, and stops no other.';
