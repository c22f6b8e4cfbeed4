//! Code of an owner's that wants to be more than it is, called by retention; and a full disk.

use std::path::PathBuf;

use pg_test::cluster::{Ask, server_directory, wait_until};
use pg_test::fixtures;
use pg_test::setup::privilege::{as_root, as_server_account};
use postgres::Client;

use crate::retention_archive::{RETAIN, attended};
use crate::unattended_support::{SOON, drop_newest, exists, make_due};

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
        "SET application_name = ''mallory''",
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
    assert!(found[0].starts_with(&format!("{owner} {owner} ")), "{found:?}");
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
    let made = as_server_account("mkdir").arg(&place).status().unwrap();
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
