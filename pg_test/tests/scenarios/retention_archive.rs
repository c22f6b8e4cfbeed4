//! Archive functions that hang, raise, refuse, drop, and want to be more than they are; a full disk.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pg_test::cluster::{Ask, Cluster, server_directory, wait_until};
use pg_test::fixtures;
use pg_test::setup::privilege::as_root;
use postgres::Client;

use crate::range_support::Database;
use crate::unattended_support::{SOON, drop_newest, exists, make_due};

/// A set `mine.bets` of an owner who cannot log in: four past days, two of them too old, and `calls`,
/// where his function says what it has seen.
fn owned_set(client: &mut Client, owner: &str) {
    client.run(&format!(
        "CREATE ROLE {owner}; CREATE SCHEMA mine AUTHORIZATION {owner};
         SET ROLE {owner};
         CREATE TABLE mine.bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE mine.calls (n bigint GENERATED ALWAYS AS IDENTITY, what text, came text);
         SELECT steward.manage_range('mine.bets', '1 day', premake => 1, time_zone => 'UTC',
                                     start_at => (now() - interval '4 days')::text);
         INSERT INTO mine.bets SELECT lower_bound::timestamptz + make_interval(hours => 1)
           FROM steward.partitions WHERE state IN ('past', 'current');
         RESET ROLE"
    ));
}

/// The owner's function with this body; it may use `gone`.
fn archive_function(client: &mut Client, owner: &str, body: &str) {
    client.run(&format!(
        "CREATE FUNCTION mine.archive(gone regclass) RETURNS boolean LANGUAGE plpgsql AS $body$
         {body} $body$;
         ALTER FUNCTION mine.archive(regclass) OWNER TO {owner}"
    ));
}

const RETAIN: &str = "SELECT steward.set_retention('mine.bets', '2 days', archive_function => 'mine.archive(regclass)')";

/// A database where workers are at work, its set and the set's owner.
fn unattended(body: &str) -> (&'static Cluster, Client, String) {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    let owner = format!("archivist_of_{name}");
    owned_set(&mut client, &owner);
    archive_function(&mut client, &owner, body);
    wait_until(SOON, "the first run", || {
        client.value("SELECT count(*) = 1 FROM steward.jobs WHERE last_status = 'succeeded'")
    });
    (cluster, client, owner)
}

/// The same where nothing runs by itself.
fn attended(body: &str) -> (Database, String) {
    let mut database = Database::new();
    let owner = database.own("archivist");
    owned_set(&mut database.client, &owner);
    archive_function(&mut database.client, &owner, body);
    (database, owner)
}

fn detached(client: &mut Client) -> Vec<String> {
    client.column(
        "SELECT concat_ws(' ', archive_failures, next_archive_at > now(), last_error)
           FROM steward.partitions WHERE state = 'detached' ORDER BY lower_bound",
    )
}

#[test]
fn a_function_that_hangs_is_cut_off_at_max_runtime_and_holds_up_nobody_else() {
    let (_, mut client, _) = unattended("BEGIN PERFORM pg_sleep(600); RETURN true; END");
    client.run(
        "CREATE TABLE wins (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('wins', '1 day');
         SELECT steward.alter_job(job_id, max_runtime => '2 seconds') FROM steward.jobs",
    );
    client.run(RETAIN);
    wait_until(SOON, "the function hangs", || {
        client.value(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
                AND backend_type = 'pg_steward executor' AND wait_event = 'PgSleep'",
        )
    });
    // The other set is kept up meanwhile, and this one can be read and written.
    let lost = drop_newest(&mut client, "wins");
    client.run(
        "UPDATE steward.job SET next_run_at = now() WHERE target = 'wins'::regclass;
         SELECT steward.wake_at_commit()",
    );
    wait_until(SOON, "the other set is kept up", || exists(&mut client, &lost));
    client.run("SET lock_timeout = '100ms'; INSERT INTO mine.bets VALUES (now())");
    wait_until(SOON, "the run is over", || {
        client.value("SELECT count(*) > 0 FROM steward.job_runs WHERE status = 'timed_out'")
    });
    let run: String = client.value(
        "SELECT format('%s %s %s', sqlstate, detail->>'detached', duration BETWEEN '1.5 seconds' AND '8 seconds')
           FROM steward.job_runs WHERE status = 'timed_out' ORDER BY run_id LIMIT 1",
    );
    assert_eq!(run, "57014 1 t");
    let failures: i32 = client.value(
        "SELECT archive_failures FROM steward.partitions WHERE state = 'detached'
            AND next_archive_at IS NOT NULL AND last_error IS NOT NULL",
    );
    assert!(failures >= 1);
    assert_eq!(client.value::<i64>("SELECT count(*) FROM mine.calls"), 0);
    // It comes to its senses, and the rest follows by itself.
    client.run(
        "CREATE OR REPLACE FUNCTION mine.archive(gone regclass) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    );
    wait_until(SOON * 2, "all is gone", || {
        client.value(
            "SELECT count(*) = 0 FROM steward.partitions WHERE state IN ('expired', 'detached')",
        )
    });
}

#[test]
fn a_function_that_takes_no_notice_of_a_cancel_is_ended_ten_seconds_later() {
    let (_, mut client, _) = unattended(
        "BEGIN
             LOOP
                 BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END;
             END LOOP;
         END",
    );
    client.run("SELECT steward.alter_job(job_id, max_runtime => '500 ms') FROM steward.jobs");
    client.run(RETAIN);
    let mut executor = 0;
    wait_until(SOON, "the function hangs", || {
        executor = client.value(
            "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE datname = current_database()
                AND backend_type = 'pg_steward executor' AND wait_event = 'PgSleep'",
        );
        executor != 0
    });
    let since = Instant::now();
    wait_until(Duration::from_secs(20), "its executor is ended", || {
        client.value(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {executor}"))
    });
    assert!(since.elapsed() > Duration::from_secs(8), "ended after {:?}", since.elapsed());
    wait_until(SOON, "its run is closed", || {
        client.value(&format!(
            "SELECT bool_or(status = 'crashed') FROM steward.job_runs WHERE pid = {executor}"
        ))
    });
    assert!(client.value::<bool>("SELECT consecutive_failures >= 1 FROM steward.jobs"));
    assert_eq!(detached(&mut client).len(), 1);
}

#[test]
fn what_a_function_raises_or_says_is_recorded_and_its_table_stays() {
    for (body, code, said) in [
        ("BEGIN RAISE EXCEPTION 'shelf full' USING ERRCODE = 'ZZ999'; END", "ZZ999", "shelf full"),
        ("BEGIN RETURN false; END", "55000", "false"),
        ("BEGIN RETURN NULL; END", "55000", "NULL"),
        ("BEGIN EXECUTE format('TRUNCATE %s', gone); RETURN false; END", "55000", "false"),
    ] {
        let (_, mut client, _) = unattended(body);
        client.run(RETAIN);
        wait_until(SOON, "both have been asked for twice", || {
            client.value(
                "SELECT count(*) = 2 FROM steward.partitions
                  WHERE state = 'detached' AND archive_failures >= 2 AND archived_at IS NULL",
            )
        });
        assert!(detached(&mut client)[0].contains(said), "{body}");
        let codes: Vec<String> = client.column(
            "SELECT DISTINCT sqlstate FROM steward.job_runs WHERE status = 'failed' AND sqlstate IS NOT NULL
             UNION SELECT sqlstate FROM steward.retired_partition",
        );
        assert_eq!(codes, [code], "{body}");
        let tables: Vec<String> = client
            .column("SELECT partition::text FROM steward.partitions WHERE state = 'detached'");
        for table in tables {
            let rows: i64 = client.value(&format!("SELECT count(*) FROM {table}"));
            assert_eq!(rows, 1, "what a failed call had done is not taken back: {body}");
        }
    }
}

#[test]
fn a_function_may_drop_the_table_itself() {
    let (mut database, _) =
        attended("BEGIN EXECUTE format('DROP TABLE %s', gone); RETURN true; END");
    database.client.run(RETAIN);
    database.maintain("mine.bets");
    assert_eq!(database.count("mine.bets"), 4);
    assert_eq!(database.client.value::<i64>("SELECT count(*) FROM steward.retired_partition"), 0);
    let left: i64 = database
        .client
        .value("SELECT count(*) FROM pg_class WHERE relname LIKE 'bets\\_%' AND relkind = 'r'");
    assert_eq!(left, 4);
}

#[test]
fn a_function_of_another_role_is_refused_then_and_later() {
    let (mut database, owner) = attended("BEGIN RETURN true; END");
    let other = database.own("other");
    let client = &mut database.client;
    client.run(&format!("CREATE ROLE {other}; ALTER FUNCTION mine.archive OWNER TO {other}"));
    client.refused("42501", RETAIN);
    client.run(&format!("ALTER FUNCTION mine.archive OWNER TO {owner}"));
    client.run(RETAIN);
    // In the middle of a run it is replaced: what it was for the first table it is not for the second.
    client.run(
        "CREATE OR REPLACE FUNCTION mine.archive(gone regclass) RETURNS boolean LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO mine.calls (what) VALUES (gone); PERFORM pg_advisory_xact_lock(7); RETURN true; END $$;
         SELECT pg_advisory_lock(7)",
    );
    let mut maintaining = crate::range_support::cluster().session(&database.name).unwrap();
    maintaining.start("CALL steward.maintain('mine.bets')");
    let client = &mut database.client;
    wait_until(SOON, "it is in the first call", || {
        client.value("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
    });
    client.run(&format!(
        "ALTER FUNCTION mine.archive RENAME TO archive_once;
         CREATE FUNCTION mine.archive(gone regclass) RETURNS boolean LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO mine.calls (what) VALUES ('by another role'); RETURN true; END $$;
         ALTER FUNCTION mine.archive(regclass) OWNER TO {other};
         SELECT pg_advisory_unlock(7)"
    ));
    let refused = maintaining.finish(SOON).unwrap_err();
    assert_eq!(pg_test::cluster::sqlstate(&refused), "42501", "{refused:?}");
    assert_eq!(client.value::<i64>("SELECT count(*) FROM mine.calls"), 1);
    client.refused("42501", "CALL steward.maintain('mine.bets')");
    assert_eq!(detached(client).len(), 1);
}

/// Code that tries all it can think of, and writes into `mine.calls` what came of it.
fn evil(name: &str, result: &str, owner: &str, end: &str) -> String {
    let attempts = [
        "SET ROLE postgres",
        "RESET ROLE",
        "SET SESSION AUTHORIZATION postgres",
        "RESET SESSION AUTHORIZATION",
        "SELECT set_config(''role'', ''postgres'', false)",
        "SELECT set_config(''session_authorization'', ''postgres'', false)",
        &format!("ALTER ROLE {owner} SUPERUSER"),
        "COPY mine.calls (what) FROM PROGRAM ''id''",
        "LISTEN steward_test",
        "CREATE TEMP TABLE pg_inherits (inhrelid oid)",
        "SET session_replication_role = replica",
        "INSERT INTO mine.deferred VALUES (1)",
        "PREPARE later AS SELECT 1",
        "SET search_path = mine, pg_catalog",
        "SET pg_steward.lock_timeout = ''59s''",
        "SET lock_timeout = 0",
        "SET statement_timeout = ''1ms''",
        "SET default_transaction_read_only = on",
        "SET TimeZone = ''Asia/Tokyo''",
        "SET row_security = off",
        "SET default_tablespace = nowhere",
        "SELECT pg_advisory_unlock_all()",
    ];
    let attempts = attempts.map(|attempt| format!("'{attempt}'")).join(", ");
    format!(
        "CREATE FUNCTION mine.{name} RETURNS {result} LANGUAGE plpgsql AS $body$
         DECLARE attempt text;
             came text := concat_ws(' ', current_user, session_user, current_setting('search_path'),
                                    current_setting('TimeZone'),
                                    current_setting('statement_timeout'), current_setting('row_security'),
                                    current_setting('default_transaction_read_only'));
         BEGIN
             FOREACH attempt IN ARRAY ARRAY[{attempts}] LOOP
                 BEGIN
                     EXECUTE attempt;
                     INSERT INTO mine.calls (what, came) VALUES ('did ' || attempt, came);
                 EXCEPTION WHEN OTHERS THEN
                     INSERT INTO mine.calls (what, came) VALUES ('could not ' || attempt, came);
                 END;
             END LOOP;
             {end}
         END $body$;
         CREATE TABLE mine.deferred (n int);
         CREATE FUNCTION mine.fire() RETURNS trigger LANGUAGE plpgsql AS $body$
         BEGIN EXECUTE 'ALTER ROLE {owner} SUPERUSER'; RETURN NULL; END $body$;
         CREATE CONSTRAINT TRIGGER fire AFTER INSERT ON mine.deferred DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION mine.fire()"
    )
}

/// It gained nothing, and found each time what it found the first time.
#[track_caller]
fn assert_nothing_gained(client: &mut Client, owner: &str, calls: i64) {
    let did: Vec<String> = client
        .column("SELECT DISTINCT what FROM mine.calls WHERE starts_with(what, 'did') ORDER BY 1");
    let harmless = ["did SELECT pg_advisory_unlock_all()", "did SET ", "did RESET "];
    for what in &did {
        assert!(harmless.iter().any(|start| what.starts_with(start)), "{did:?}");
        assert!(!what.contains("ROLE") && !what.contains("AUTHORIZATION"), "{did:?}");
    }
    assert!(did.len() >= 6, "{did:?}");
    let found: Vec<String> = client.column("SELECT DISTINCT came FROM mine.calls");
    assert_eq!(found.len(), 1, "settings were left behind: {found:?}");
    assert!(found[0].starts_with(&format!("{owner} postgres ")), "{found:?}");
    let count: i64 = client.value("SELECT count(*) FROM mine.calls WHERE what LIKE '%LISTEN%'");
    assert_eq!(count, calls);
    assert!(
        !client.value::<bool>(&format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{owner}'"))
    );
}

#[test]
fn a_function_that_wants_more_rights_gets_none_and_leaves_nothing_behind() {
    let (mut database, owner) = attended("BEGIN RETURN true; END");
    let client = &mut database.client;
    client.run("DROP FUNCTION mine.archive(regclass)");
    let evil = evil("archive(gone regclass)", "boolean", &owner, "RETURN true;");
    client.run(&format!("SET ROLE {owner}; {evil}; RESET ROLE"));
    client.run(RETAIN);
    database.maintain("mine.bets");
    assert_nothing_gained(&mut database.client, &owner, 2);
    assert_eq!(database.count("mine.bets"), 4);
    // The same in the session of a superuser who calls: nothing is left to be detached.
    database.client.run(
        "SELECT steward.set_retention('mine.bets', '1 day',
                             archive_function => 'mine.archive(regclass)')",
    );
    database.maintain("mine.bets");
    assert_nothing_gained(&mut database.client, &owner, 3);
}

#[test]
fn a_check_that_wants_more_rights_gets_none_when_a_detach_evaluates_it() {
    let (mut database, owner) = attended("BEGIN RETURN true; END");
    let client = &mut database.client;
    let evil = evil("try_all()", "void", &owner, "");
    client.run(&format!(
        "SET ROLE {owner}; {evil};
         CREATE FUNCTION mine.looks_harmless(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF pg_catalog.current_setting('application_name') LIKE 'pg_steward executor%' THEN
                 PERFORM mine.try_all();
             END IF;
             RETURN true;
         END $$;
         ALTER TABLE mine.bets ADD CHECK (mine.looks_harmless(1));
         SELECT steward.set_retention('mine.bets', '2 days');
         RESET ROLE"
    ));
    database.maintain("mine.bets");
    assert_eq!(database.count("mine.bets"), 4);
    let calls: i64 =
        database.client.value("SELECT count(*) FROM mine.calls WHERE what LIKE '%LISTEN%'");
    assert!(calls >= 2, "the server evaluated it {calls} times");
    assert_nothing_gained(&mut database.client, &owner, calls);
}

/// A file system of 4 MB, gone with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new() -> Self {
        let dir = server_directory().unwrap();
        let mounted = as_root("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=777", "tmpfs"])
            .arg(&dir)
            .status()
            .unwrap();
        assert!(mounted.success(), "a full disk cannot be had: mount needs root or sudo");
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may still have a file open. What cannot be undone is told by mount.
        let _ = as_root("umount").arg("--lazy").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_full_disk_fails_that_step_alone_and_leaves_the_table_as_it_was() {
    let disk = SmallDisk::new();
    let place = disk.0.join("cold");
    let cluster = fixtures::cluster().start().unwrap();
    let made = pg_test::setup::privilege::as_server_account("mkdir").arg(&place).status().unwrap();
    assert!(made.success());
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run(&format!("CREATE TABLESPACE cold LOCATION '{}'", place.display()));
    // Four past days: the second is larger than the disk.
    client.run(
        "CREATE TABLE bets (at timestamptz NOT NULL, what text) PARTITION BY RANGE (at);
         ALTER TABLE bets ALTER what SET STORAGE PLAIN;
         SELECT steward.manage_range('bets', '1 day', premake => 1, time_zone => 'UTC',
                                     start_at => (now() - interval '4 days')::text);
         INSERT INTO bets
         SELECT p.lower_bound::timestamptz + make_interval(secs => n), repeat('x', 7000)
           FROM (SELECT lower_bound, row_number() OVER (ORDER BY lower_bound) AS place
                   FROM steward.partitions WHERE state = 'past') p,
                generate_series(1, CASE p.place WHEN 2 THEN 1000 ELSE 20 END) n;
         CREATE TABLE wins (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('wins', '1 day')",
    );
    let files = "SELECT string_agg(pg_relation_filepath(inhrelid), ' ' ORDER BY inhrelid) FROM pg_inherits
                  WHERE inhrelid IN (SELECT partition FROM steward.partitions WHERE tablespace = 'pg_default')
                    AND inhparent = 'bets'::regclass";
    client.run("SELECT steward.set_tiering('bets', '1 day', 'cold')");
    let failed = "FROM steward.job_runs WHERE status = 'failed' AND target_name = 'public.bets'";
    wait_until(SOON, "a run has failed", || client.value(&format!("SELECT count(*) > 0 {failed}")));
    let run: String = client.value(&format!(
        "SELECT format('%s moved=%s failed=%s %s', sqlstate, detail->>'moved', detail->>'failed',
                       detail->'failures'->0->>'sqlstate') {failed} ORDER BY run_id LIMIT 1"
    ));
    assert_eq!(run, "53100 moved=2 failed=1 53100");
    let before: String = client.value(files);
    let places: Vec<String> =
        client.column("SELECT tablespace FROM steward.partitions WHERE parent = 'bets'::regclass ORDER BY lower_bound");
    assert_eq!(places[..3], ["cold", "pg_default", "cold"]);
    assert_eq!(client.value::<i64>("SELECT count(*) FROM bets"), 1060);
    let lost = drop_newest(&mut client, "wins");
    make_due(&mut client);
    wait_until(SOON, "another set is kept up", || exists(&mut client, &lost));
    wait_until(SOON, "it has failed again", || {
        client.value(&format!("SELECT count(*) > 1 {failed}"))
    });
    assert_eq!(client.value::<String>(files), before, "the table was touched");
    // Room is made: by itself, it moves.
    client.run("DELETE FROM bets WHERE date_trunc('day', at) = (SELECT min(at) FROM bets)::date + 1 AND random() < 0.9");
    let large: String = client.value(
        "SELECT partition::text FROM steward.partitions WHERE tablespace = 'pg_default'
            AND parent = 'bets'::regclass ORDER BY lower_bound LIMIT 1",
    );
    client.run(&format!("VACUUM FULL {large}"));
    make_due(&mut client);
    wait_until(SOON, "it moves", || {
        client.value(&format!("SELECT tablespace = 'cold' FROM steward.partitions WHERE partition = '{large}'::regclass"))
    });
}
