//! A dump of every kind of set, restored where the workers are at work.

use std::path::Path;
use std::process::Command;

use pg_test::cluster::{Ask, Cluster, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_support::{SOON, settled_set};

/// Sets of every kind; of `bets` one table waits for its archive, and two periods are expired.
const SETS: &str = "
    CREATE SCHEMA attic AUTHORIZATION keeper; CREATE SCHEMA web AUTHORIZATION keeper;
    SET ROLE keeper;
    CREATE TABLE web.gate (is_open boolean); INSERT INTO web.gate VALUES (false);
    CREATE TABLE web.archive (at timestamptz, id bigint);
    CREATE FUNCTION web.archive(gone regclass) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT (SELECT is_open FROM web.gate) THEN RETURN false; END IF;
        EXECUTE format('INSERT INTO web.archive SELECT at, id FROM %s', gone);
        RETURN true;
    END $$;
    CREATE TABLE web.bets (at timestamptz NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (at, id))
        PARTITION BY RANGE (at);
    CREATE TABLE web.wins (at timestamptz NOT NULL, id bigint, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
    CREATE TABLE web.spread (at timestamptz NOT NULL, id bigint, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
    CREATE TABLE web.players (id bigint PRIMARY KEY) PARTITION BY HASH (id);
    SELECT steward.manage_range(t, '1 day', premake => 1, time_zone => 'UTC', start_at => (now() - interval '6 days')::text)
      FROM unnest('{web.bets,web.wins}'::regclass[]) t;
    SELECT steward.manage_range('web.spread', '1 day', premake => 1, time_zone => 'UTC', subpartition_by => 'id',
                                subpartitions => 2, start_at => (now() - interval '6 days')::text);
    SELECT steward.manage_hash('web.players', 4);
    INSERT INTO web.bets SELECT lower_bound::timestamptz + make_interval(hours => 1)
      FROM steward.partitions WHERE parent = 'web.bets'::regclass AND state IN ('past', 'current');
    INSERT INTO web.wins SELECT at, id FROM web.bets; INSERT INTO web.spread SELECT at, id FROM web.bets;
    RESET ROLE;
    SELECT steward.set_retention('web.bets', '5 days', archive_function => 'web.archive(regclass)');
    SELECT steward.set_tiering('web.bets', '1 day', 'cold');
    SELECT steward.set_retention('web.wins', '4 days', 'detach', 'attic');
    SELECT steward.set_retention('web.spread', '4 days', 'detach')";

const POLICIES: &str = "
    SELECT concat_ws(' ', s.parent, s.strategy, s.retention, s.retention_action, s.to_schema, s.archive_function,
                     s.cold_after, s.cold_tablespace, s.subpartition_by, s.subpartitions, j.max_runtime, j.priority)
      FROM steward.partition_sets s JOIN steward.jobs j ON j.target = s.parent ORDER BY 1";

const DETACHED: &str = "
    SELECT concat_ws(' ', parent, partition, lower_bound, upper_bound)
      FROM steward.partitions WHERE state = 'detached' ORDER BY 1";

fn server(conf: &str) -> Cluster {
    let cluster =
        fixtures::cluster().conf(conf).conf("allow_in_place_tablespaces = on").start().unwrap();
    let mut client = cluster.connect("postgres").unwrap();
    client.run("CREATE ROLE keeper");
    client.run("CREATE TABLESPACE cold LOCATION ''");
    client.run("GRANT CREATE ON TABLESPACE cold TO keeper");
    cluster
}

/// Runs a program of the server's against a database of it; panics with what it said if it fails.
fn run(cluster: &Cluster, program: &str, arguments: &[&str], file: &Path, database: &str) {
    let output = Command::new(cluster.installation().program(program))
        .args(["--username", "postgres", "--host"])
        .arg(cluster.socket_dir())
        .args(["--dbname", database])
        .args(arguments)
        .arg("--file")
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn restore(cluster: &Cluster, format: &str, file: &Path, database: &str) {
    if format == "plain" {
        return run(
            cluster,
            "psql",
            &["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"],
            file,
            database,
        );
    }
    let output = Command::new(cluster.installation().program("pg_restore"))
        .args([
            "--username",
            "postgres",
            "--exit-on-error",
            "--jobs",
            "2",
            "--dbname",
            database,
            "--host",
        ])
        .arg(cluster.socket_dir())
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "pg_restore: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn all_policies_come_back_from_a_dump_and_work_goes_on() {
    let source = server("pg_steward.enabled = off");
    let name = source.create_database_with_extension().unwrap();
    let mut client = source.connect(&name).unwrap();
    client.run("SET client_min_messages = error; SET TimeZone = 'UTC'");
    client.run(SETS);
    client.run(
        "SELECT steward.alter_job(job_id, priority => 7, max_runtime => '1 hour') FROM steward.jobs
                 WHERE target = 'web.bets'::regclass",
    );
    // The archive is closed: the oldest table of bets waits, detached.
    client.refused("55000", "CALL steward.maintain('web.bets')");
    client.run("CALL steward.maintain('web.wins')");
    client.run("CALL steward.maintain('web.spread')");
    client.run("SELECT steward.set_retention('web.bets', '3 days', archive_function => 'web.archive(regclass)')");
    let policies: Vec<String> = client.column(POLICIES);
    assert_eq!(policies.len(), 4);
    let detached: Vec<String> = client.column(DETACHED);
    assert_eq!(detached.len(), 1 + 2 + 2, "{detached:?}");
    let expired: i64 =
        client.value("SELECT count(*) FROM steward.partitions WHERE state = 'expired'");
    assert_eq!(expired, 2);
    // A period that is missing is made over there.
    let target = server("");
    for format in ["plain", "custom"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        run(&source, "pg_dump", &["--format", format], file.path(), &name);
        let restored = format!("restored_{format}");
        target.connect("postgres").unwrap().run(&format!("CREATE DATABASE {restored}"));
        restore(&target, format, file.path(), &restored);
        let mut there = target.connect(&restored).unwrap();
        there.run("SET TimeZone = 'UTC'");
        assert_eq!(there.column::<String>(POLICIES), policies, "{format}");
        let listed: Vec<String> = there.column(DETACHED);
        for table in &detached {
            assert!(listed.contains(table), "{format}: {table} is not among {listed:?}");
        }
        goes_on(&mut there, format);
    }
}

fn goes_on(there: &mut Client, format: &str) {
    wait_until(SOON, &format!("{format}: the expired ones have left"), || {
        there.value(
            "SELECT count(*) = 0 FROM steward.partitions WHERE state IN ('expired', 'detaching')",
        )
    });
    let waiting = "SELECT count(*) FROM steward.partitions
                    WHERE state = 'detached' AND parent = 'web.bets'::regclass";
    assert_eq!(there.value::<i64>(waiting), 3);
    there.run("UPDATE web.gate SET is_open = true");
    wait_until(SOON * 2, &format!("{format}: the archive has them"), || {
        there.value::<i64>(waiting) == 0
    });
    assert_eq!(there.value::<i64>("SELECT count(*) FROM web.archive"), 3);
    wait_until(SOON, &format!("{format}: the run has ended well"), || {
        there.value(
            "SELECT last_status = 'succeeded' AND NOT running AND consecutive_failures = 0
               FROM steward.jobs WHERE target = 'web.bets'::regclass",
        )
    });
    assert_eq!(there.value::<i64>("SELECT count(*) FROM web.bets"), 4);
    assert_eq!(
        there.value::<i64>("SELECT count(*) FROM steward.partitions WHERE tablespace = 'cold'"),
        2,
        "{format}"
    );
    let invalid: Vec<String> =
        there.column("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid");
    assert_eq!(invalid, Vec::<String>::new(), "{format}");
}

#[test]
fn workers_keep_out_while_the_session_that_brings_jobs_is_there() {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    settled_set(&mut client);
    let mut restoring = cluster.session(&name).unwrap();
    restoring.run(
        "CREATE TEMP TABLE dumped AS SELECT * FROM steward.range_policy;
         CREATE TEMP TABLE jobs AS SELECT kind, target FROM steward.job; DELETE FROM steward.job;
         INSERT INTO steward.job (kind, target) SELECT kind, target FROM jobs;
         INSERT INTO steward.range_policy SELECT * FROM dumped",
    );
    let message = "SELECT message FROM steward.status";
    assert_eq!(
        client.value::<String>(message),
        "a dump is being restored: work starts when that session has ended"
    );
    // A policy made meanwhile is nobody's dump, and has to wait all the same.
    client.run(
        "CREATE TABLE wins (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('wins', '1 day')",
    );
    let released: String = client.value("SELECT clock_timestamp()::text");
    restoring.run("DISCARD ALL");
    assert_eq!(client.value::<String>(message), "ok");
    wait_until(SOON, "both have run", || {
        client.value(
            "SELECT count(*) = 2 FROM steward.jobs WHERE last_status = 'succeeded' AND NOT running",
        )
    });
    let early: i64 = client.value(&format!(
        "SELECT count(*) FROM steward.job_runs r JOIN steward.jobs USING (job_id)
          WHERE r.started_at < '{released}'"
    ));
    assert_eq!(early, 0);
    // Whoever makes policies only keeps nobody out.
    client.run(
        "CREATE TABLE odds (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('odds', '1 day')",
    );
    assert_eq!(client.value::<String>(message), "ok");
}
