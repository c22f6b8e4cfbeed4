-- One row that says whether all is well. Runs last, when everything it reads exists; it ends with
-- the privileges of the whole extension.

CREATE FUNCTION steward.preloaded() RETURNS boolean
LANGUAGE c STABLE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'preloaded_wrapper';
COMMENT ON FUNCTION steward.preloaded IS 'Whether the server loaded pg_steward at its start.';

CREATE FUNCTION steward.launcher_pid() RETURNS integer
LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'launcher_pid_wrapper';
COMMENT ON FUNCTION steward.launcher_pid IS 'Process ID of the launcher; NULL when none runs.';

CREATE VIEW steward.status AS
SELECT s.preloaded, s.launcher_running, s.extension_version, s.jobs, s.running_jobs, s.failing_jobs,
       s.open_alerts,
       CASE WHEN NOT s.preloaded
            THEN 'nothing runs unattended: add pg_steward to shared_preload_libraries and restart'
            WHEN s.in_recovery THEN 'standby: observing; work starts after a promotion'
            WHEN NOT s.enabled THEN 'nothing runs unattended: pg_steward.enabled is off'
            WHEN s.excluded
            THEN 'nothing runs unattended here: the database is in pg_steward.excluded_databases'
            WHEN NOT s.launcher_running THEN 'the launcher is not running: see the server log'
            WHEN s.restoring THEN 'a dump is being restored: work starts when that session has ended'
            WHEN s.restored THEN 'a dump has been restored: its policies are about to be taken over'
            WHEN s.failing_jobs > 0
            THEN format('%s of %s jobs failing: see steward.jobs and steward.job_runs', s.failing_jobs, s.jobs)
            WHEN s.failing_archives > 0
            THEN format('%s detached tables wait for an archive function that fails: see steward.partitions',
                        s.failing_archives)
            WHEN s.open_alerts > 0
            THEN format('%s alerts open: see steward.alerts', s.open_alerts)
            ELSE 'ok' END AS message,
       s.failing_archives
  FROM (SELECT steward.preloaded() AS preloaded,
               steward.launcher_pid() IS NOT NULL AS launcher_running,
               pg_catalog.pg_is_in_recovery() AS in_recovery,
               pg_catalog.current_setting('pg_steward.enabled', true)::boolean AS enabled,
               pg_catalog.current_database()::text = ANY (ARRAY(
                   SELECT btrim(btrim(n), '"') FROM regexp_split_to_table(
                       pg_catalog.current_setting('pg_steward.excluded_databases', true), ',') n)) AS excluded,
               EXISTS (SELECT FROM pg_catalog.pg_locks l
                        WHERE l.locktype = 'object' AND l.classid = 'steward.job'::regclass AND l.objid = 0
                          AND l.mode = 'ShareLock' AND l.granted
                          AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                             WHERE d.datname = pg_catalog.current_database())) AS restoring,
               EXISTS (SELECT FROM steward.restored) AS restored,
               (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'pg_steward') AS extension_version,
               j.jobs, j.running_jobs, j.failing_jobs,
               (SELECT count(*) FROM steward.alert a WHERE a.state <> 'resolved') AS open_alerts,
               (SELECT count(*) FROM steward.retired_partition q
                 WHERE q.attempts > 0 AND q.archived_at IS NULL) AS failing_archives
          FROM (SELECT count(*) AS jobs,
                       count(*) FILTER (WHERE EXISTS (SELECT FROM steward.job_run r
                                                       WHERE r.target = j.target AND r.status = 'running')) AS running_jobs,
                       count(*) FILTER (WHERE j.consecutive_failures
                                             > (SELECT count(*) FROM steward.job_run r
                                                 WHERE r.target = j.target AND r.status = 'running'
                                                   AND r.scheduled_at IS NOT NULL)) AS failing_jobs
                  FROM steward.job j) j) s;
COMMENT ON VIEW steward.status IS 'One row on this database: whether work is done unattended, and whether it succeeds. The counts are of all jobs, whoever reads it.';
COMMENT ON COLUMN steward.status.preloaded IS 'Whether the server loaded pg_steward at its start.';
COMMENT ON COLUMN steward.status.launcher_running IS 'Whether the launcher process is running.';
COMMENT ON COLUMN steward.status.extension_version IS 'Version of the extension in this database.';
COMMENT ON COLUMN steward.status.jobs IS 'Jobs in this database, whoever owns them.';
COMMENT ON COLUMN steward.status.running_jobs IS 'Jobs with a run that is logged as running.';
COMMENT ON COLUMN steward.status.failing_jobs IS 'Jobs whose last run did not succeed.';
COMMENT ON COLUMN steward.status.failing_archives IS 'Tables that retention has detached and whose archive function has failed or not returned true; they are kept.';
COMMENT ON COLUMN steward.status.open_alerts IS 'Rows of steward.alerts, whoever owns what they are about.';
COMMENT ON COLUMN steward.status.message IS 'ok, or what is wrong and what to do.';

-- Views are everybody's to read (each shows its reader's own objects); tables are nobody's.
GRANT SELECT ON steward.jobs, steward.job_runs, steward.alerts, steward.alert_history, steward.partition_sets, steward.partitions,
                steward.node, steward.status TO PUBLIC;

-- What pg_dump reads, for the database's owner: who could dump it before CREATE EXTENSION can do so after.
GRANT SELECT ON steward.restored, steward.job_job_id_seq TO pg_database_owner;
GRANT EXECUTE ON FUNCTION steward.dumped() TO pg_database_owner, pg_read_all_data;
