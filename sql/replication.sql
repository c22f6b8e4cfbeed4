-- What this server is.

CREATE VIEW steward.node AS
SELECT CASE WHEN NOT r.in_recovery THEN 'primary'
            WHEN EXISTS (SELECT FROM pg_catalog.pg_stat_get_wal_senders() s WHERE s.pid IS NOT NULL)
            THEN 'cascading standby'
            ELSE 'standby' END AS role,
       -- The control file learns of a promotion only with the next checkpoint; WAL file names know at once.
       CASE WHEN r.in_recovery
            THEN coalesce((SELECT w.received_tli FROM pg_catalog.pg_stat_get_wal_receiver() w),
                          (SELECT k.timeline_id FROM pg_catalog.pg_control_checkpoint() k))
            ELSE ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer
       END AS timeline,
       r.in_recovery,
       pg_catalog.pg_postmaster_start_time() AS started_at,
       pg_catalog.current_setting('wal_level') AS wal_level,
       pg_catalog.current_setting('archive_mode') AS archive_mode,
       pg_catalog.current_setting('server_version') AS server_version
  FROM (SELECT pg_catalog.pg_is_in_recovery() AS in_recovery) r;
COMMENT ON VIEW steward.node IS 'One row: what this server is.';
COMMENT ON COLUMN steward.node.role IS 'primary, standby, or cascading standby (a standby that feeds others).';
COMMENT ON COLUMN steward.node.timeline IS 'The timeline being written, on a standby the one being received.';
COMMENT ON COLUMN steward.node.in_recovery IS 'Whether it is a standby, or still recovering.';
COMMENT ON COLUMN steward.node.started_at IS 'When the server was started.';
COMMENT ON COLUMN steward.node.wal_level IS 'The setting wal_level.';
COMMENT ON COLUMN steward.node.archive_mode IS 'The setting archive_mode.';
COMMENT ON COLUMN steward.node.server_version IS 'The setting server_version.';
