//! pg_upgrade to a newer major keeps policies, jobs and history as they are, nothing of ours runs
//! meanwhile, and afterwards the workers go on.
//!
//! One upgrade serves all tests here. What there was before and after it is noted while no worker
//! is at work, and with work left undone that one would have taken up at once.

use std::sync::LazyLock;
use std::time::Duration;

use pg_test::cluster::{Ask, Cluster, StopMode, wait_until};
use pg_test::fixtures;
use pg_test::setup::privilege::as_server_account;
use postgres::Client;

/// For what happens by itself, on a busy two-core machine.
const SOON: Duration = Duration::from_secs(60);

/// The databases that have the extension. A third one, `plain`, has not.
const DATABASES: [&str; 2] = ["betting", "metering"];

/// The kinds of workers there are.
const WORKERS: [&str; 3] = ["pg_steward launcher", "pg_steward scheduler", "pg_steward executor"];

/// The postmaster notes every library that it preloads, and every worker that it starts, at this
/// level.
const TELL_ALL: &str = "log_min_messages = 'debug1'";

/// In the database `betting`, as the user alice.
const SETS_OF_ALICE: &str = r#"
CREATE TABLE alice.model (at timestamptz NOT NULL, stake numeric) WITH (fillfactor = 70);
CREATE INDEX ON alice.model (stake);
CREATE TABLE alice.bets (at timestamptz NOT NULL, stake numeric) PARTITION BY RANGE (at);
SELECT steward.manage_range('alice.bets', '1 month', time_zone => 'Europe/Madrid', template => 'alice.model');
INSERT INTO alice.bets VALUES (now(), 12.50);
CREATE TABLE alice.events (id bigint NOT NULL) PARTITION BY RANGE (id);
SELECT steward.manage_range('alice.events', '1000', premake => 2);
INSERT INTO alice.events VALUES (1500);
CREATE TABLE "Sales"."Daily Orders" (day date NOT NULL) PARTITION BY RANGE (day);
SELECT steward.manage_range('"Sales"."Daily Orders"', '1 day', premake => 5, default_partition => true);
CREATE TABLE alice.orders (tenant int NOT NULL, id bigint NOT NULL) PARTITION BY HASH (tenant);
SELECT steward.manage_hash('alice.orders', 4, template => NULL);
INSERT INTO alice.orders SELECT n, n FROM generate_series(1, 100) n;
CREATE TABLE alice.visits (at timestamptz NOT NULL, visitor uuid NOT NULL) PARTITION BY RANGE (at);
SELECT steward.manage_range('alice.visits', '1 week', subpartition_by => 'visitor', subpartitions => 3);
CREATE TABLE alice.parked (at timestamptz NOT NULL) PARTITION BY RANGE (at);
SELECT steward.manage_range('alice.parked');
CREATE TABLE alice.gone (at timestamptz NOT NULL) PARTITION BY RANGE (at);
SELECT steward.manage_range('alice.gone');
"#;

/// There, too: a set whose owner cannot log in.
const SET_OF_SILENT: &str = "
CREATE SCHEMA silent AUTHORIZATION silent;
SET ROLE silent;
CREATE TABLE silent.ledger (at timestamp NOT NULL) PARTITION BY RANGE (at);
SELECT steward.manage_range('silent.ledger', '1 week');
RESET ROLE";

/// In the database `metering`.
const SET_OF_READINGS: &str = "
CREATE TABLE readings (at_ms bigint NOT NULL) PARTITION BY RANGE (at_ms);
SELECT steward.manage_range('readings', '1 day', key_encoding => 'epoch_milliseconds',
                            time_zone => 'UTC', name_format => '{parent}_p%Y%m%d')";

/// What a dump keeps, and so does an upgrade. Left out is what depends on the time of asking, on
/// statistics, or on the history.
const POLICIES: [(&str, &str); 6] = [
    ("extension", "SELECT extversion FROM pg_extension WHERE extname = 'pg_steward'"),
    (
        "policy",
        "SELECT (to_jsonb(p) || jsonb_build_object('parent', p.parent::regclass, 'template', p.template::regclass))::text
           FROM steward.range_policy p
          UNION ALL
         SELECT (to_jsonb(h) || jsonb_build_object('parent', h.parent::regclass, 'template', h.template::regclass))::text
           FROM steward.hash_policy h ORDER BY 1",
    ),
    (
        "set",
        "SELECT (to_jsonb(s) - '{default_rows_estimate,last_run_at,last_status,last_error}'::text[])::text
           FROM steward.partition_sets s ORDER BY s.parent::text",
    ),
    (
        "partition",
        "SELECT (to_jsonb(p) - '{state,total_bytes,estimated_rows}'::text[])::text
           FROM steward.partitions p ORDER BY p.partition::text",
    ),
    (
        "job",
        "SELECT (to_jsonb(j) || jsonb_build_object('target', j.target::regclass))::text FROM steward.job j
          ORDER BY j.job_id",
    ),
    ("last job number", "SELECT format('%s %s', last_value, is_called) FROM steward.job_job_id_seq"),
];

/// What only an upgrade keeps.
const IDENTITIES: [(&str, &str); 7] = [
    (
        "target",
        "SELECT format('%s %s %s', j.job_id, j.target::oid, to_jsonb(j)) FROM steward.jobs j ORDER BY j.job_id",
    ),
    (
        "OIDs",
        "SELECT format('%s of %s: %s', p.partition::oid, p.parent::oid, p.partition)
           FROM steward.partitions p ORDER BY p.partition::oid",
    ),
    (
        "run",
        "SELECT format('%s %s', r.target::oid, to_jsonb(r)) FROM steward.job_runs r ORDER BY r.run_id",
    ),
    ("last run number", "SELECT format('%s %s', last_value, is_called) FROM steward.job_run_run_id_seq"),
    (
        "dumped tables",
        "SELECT extconfig::regclass[]::text FROM pg_extension WHERE extname = 'pg_steward'",
    ),
    (
        "member",
        "SELECT pg_describe_object(d.classid, d.objid, d.objsubid)
           FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
          WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'pg_steward'
            AND d.classid <> 'pg_type'::regclass -- 18 counts the tables' row types, too
          ORDER BY 1",
    ),
    (
        "open to all",
        "SELECT format('%s: %s', oid::regclass, a.privilege_type) FROM pg_class, aclexplode(relacl) a
          WHERE relnamespace = 'steward'::regnamespace AND a.grantee = 0
          UNION ALL
         SELECT format('%s: %s', p.oid::regprocedure, a.privilege_type)
           FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
          WHERE p.pronamespace = 'steward'::regnamespace AND a.grantee = 0
          ORDER BY 1",
    ),
];

static UPGRADED: LazyLock<Upgraded> = LazyLock::new(upgrade);

/// The upgrade that all tests look at, and what was noted around it.
struct Upgraded {
    old: Cluster,
    new: Cluster,
    /// Of the servers that pg_upgrade itself started.
    upgrade_log: String,
    before: Vec<String>,
    after: Vec<String>,
    /// The policies of `betting` after the upgrade, and those in the database `restored`.
    dumped: [Vec<String>; 2],
    /// By database: the newest partition of each set, dropped before the upgrade.
    lost: [Vec<String>; 2],
    /// That of the paused set.
    lost_of_paused: String,
}

fn upgrade() -> Upgraded {
    let old = Cluster::builder(&fixtures::old_installation()).conf(TELL_ALL).start().unwrap();
    fill(&old);
    rest(&old);
    let [mut betting, mut metering] = DATABASES.map(|database| old.connect(database).unwrap());
    let lost_of_paused = drop_newest(&mut betting, "NOT j.enabled").remove(0);
    let lost = [&mut betting, &mut metering].map(|client| drop_newest(client, "j.enabled"));
    let before = facts(&old);
    old.make_ready_for(fixtures::installation()).unwrap();
    old.stop(StopMode::Fast).unwrap();
    // Under pg_upgrade nothing of this test keeps the workers away.
    old.add_conf("pg_steward.enabled = on").unwrap();

    let new = fixtures::cluster().conf(TELL_ALL).create().unwrap();
    let upgrade_log = new.upgrade_from(&old).unwrap();
    new.add_conf("pg_steward.enabled = off").unwrap();
    new.start().unwrap();
    let after = facts(&new);
    new.connect("postgres").unwrap().run("CREATE DATABASE restored");
    restore_dump(&new, "betting", "restored");
    let dumped = ["betting", "restored"].map(|database| answers(&new, database, &POLICIES));
    new.add_conf("pg_steward.enabled = on").unwrap();
    new.reload().unwrap();
    Upgraded { old, new, upgrade_log, before, after, dumped, lost, lost_of_paused }
}

/// Sets of several owners in two databases, each with history; one is paused, one is gone.
fn fill(old: &Cluster) {
    let mut admin = old.connect("postgres").unwrap();
    for sql in ["ROLE alice LOGIN", "ROLE silent NOLOGIN", "DATABASE plain"] {
        admin.run(&format!("CREATE {sql}"));
    }
    for database in DATABASES {
        admin.run(&format!("CREATE DATABASE {database}"));
        old.connect(database).unwrap().run("CREATE EXTENSION pg_steward");
    }
    let [mut betting, mut metering] = DATABASES.map(|database| old.connect(database).unwrap());
    betting.run(
        r#"CREATE SCHEMA alice AUTHORIZATION alice; CREATE SCHEMA "Sales" AUTHORIZATION alice"#,
    );
    old.connect_as("betting", "alice").unwrap().run(SETS_OF_ALICE);
    betting.run(SET_OF_SILENT);
    metering.run(SET_OF_READINGS);
    for client in [&mut betting, &mut metering] {
        wait_until(SOON, "each job has had its first run", || {
            client.value(
                "SELECT bool_and(last_status IS NOT DISTINCT FROM 'succeeded') FROM steward.jobs",
            )
        });
        client.run("CALL steward.maintain()");
    }
    betting.run(
        "DROP TABLE alice.gone;
         SELECT steward.pause_job(job_id) FROM steward.jobs WHERE target = 'alice.parked'::regclass",
    );
}

/// Has the workers leave and stay away.
fn rest(cluster: &Cluster) {
    cluster.add_conf("pg_steward.enabled = off").unwrap();
    cluster.reload().unwrap();
    wait_until(SOON, "new processes know it", || {
        cluster.connect("postgres").unwrap().value::<String>("SHOW pg_steward.enabled") == "off"
    });
    // Schedulers first: as long as there is one it may start an executor.
    for kind in &WORKERS[1..] {
        wait_until(SOON, &format!("no {kind} is left"), || {
            cluster.pids(kind).is_ok_and(|pids| pids.is_empty())
        });
    }
}

/// Drops the newest partition of each set whose job `j` is such, and makes all jobs due: workers that
/// are not kept away make them again. Gives their names.
fn drop_newest(client: &mut Client, such: &str) -> Vec<String> {
    let lost: Vec<String> = client.column(&format!(
        "SELECT p.partition::text FROM steward.partitions p JOIN steward.partition_sets s USING (parent)
           JOIN steward.jobs j ON j.target = p.parent
          WHERE p.upper_bound = s.covered_until AND {such}"
    ));
    assert!(!lost.is_empty(), "no set whose job is {such}");
    client.run(&format!("DROP TABLE {}", lost.join(", ")));
    client.run("UPDATE steward.job SET next_run_at = now(); SELECT steward.wake_at_commit()");
    lost
}

fn facts(cluster: &Cluster) -> Vec<String> {
    let all = [&POLICIES[..], &IDENTITIES[..]].concat();
    let mut lines = Vec::new();
    for database in DATABASES {
        let found = answers(cluster, database, &all);
        lines.extend(found.iter().map(|line| format!("{database}: {line}")));
    }
    lines
}

fn answers(cluster: &Cluster, database: &str, questions: &[(&str, &str)]) -> Vec<String> {
    let mut client = cluster.connect(database).unwrap();
    let mut found = Vec::new();
    for (what, sql) in questions {
        let rows: Vec<String> = client.column(sql);
        assert!(!rows.is_empty(), "no {what} in {database}: there is nothing to compare");
        found.extend(rows.iter().map(|row| format!("{what}: {row}")));
    }
    found
}

#[track_caller]
fn assert_same(before: &[String], after: &[String]) {
    let only_in = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    let (missing, unknown) = (only_in(before, after), only_in(after, before));
    assert!(before == after, "only before: {missing:#?}\nonly after: {unknown:#?}");
}

fn restore_dump(cluster: &Cluster, from: &str, to: &str) {
    let mut command = as_server_account(cluster.installation().program("pg_dump"));
    command.arg("--host").arg(cluster.socket_dir()).args(["--username=postgres", from]);
    let dump = command.output().unwrap();
    assert!(dump.status.success(), "pg_dump: {}", String::from_utf8_lossy(&dump.stderr));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &dump.stdout).unwrap();
    let psql = cluster.psql(to).args(&["--quiet", "--set=ON_ERROR_STOP=1"]);
    let restore = psql.file(file.path()).unwrap();
    assert_eq!(restore.code, Some(0), "{}", restore.text);
}

fn exists(client: &mut Client, relation: &str) -> bool {
    client.value(&format!("SELECT to_regclass('{relation}') IS NOT NULL"))
}

fn wait_until_made(client: &mut Client, lost: &[String]) {
    for partition in lost {
        wait_until(SOON, &format!("{partition} is made again"), || exists(client, partition));
    }
}

#[test]
fn nothing_of_ours_runs_under_pg_upgrade() {
    let all = &*UPGRADED;
    for server in [&all.old, &all.new] {
        let version = format!("starting PostgreSQL {}", server.installation().version);
        assert!(all.upgrade_log.contains(&version), "not in pg_upgrade's logs: {version}");
        // Started as usual, the same configuration does bring the launcher, and the log says so.
        assert!(server.log_contains("starting background worker process \"pg_steward launcher\""));
    }
    let started = all.upgrade_log.matches("starting PostgreSQL ").count();
    let loaded = all.upgrade_log.matches("loaded library \"pg_steward\"").count();
    assert_eq!(loaded, started, "servers of pg_upgrade without the preload");
    for kind in WORKERS {
        let mut lines = all.upgrade_log.lines().filter(|line| line.contains(kind));
        assert_eq!(lines.next(), None, "{kind} under pg_upgrade");
    }
    let runs = |lines: &[String]| -> Vec<String> {
        lines.iter().filter(|line| line.contains(": run: ")).cloned().collect()
    };
    assert_same(&runs(&all.before), &runs(&all.after));
}

#[test]
fn policies_jobs_history_and_the_extension_are_as_before() {
    let all = &*UPGRADED;
    assert_same(&all.before, &all.after);
    let mut plain = all.new.connect("plain").unwrap();
    assert!(plain.value::<bool>("SELECT to_regnamespace('steward') IS NULL"));
}

#[test]
fn a_dump_of_the_upgraded_database_brings_its_policies() {
    let [upgraded, restored] = &UPGRADED.dumped;
    assert_same(upgraded, restored);
}

#[test]
fn the_workers_go_on_in_every_database() {
    let all = &*UPGRADED;
    let [of_betting, of_metering] = &all.lost;
    for (database, lost) in
        [("betting", of_betting), ("metering", of_metering), ("restored", of_betting)]
    {
        let mut client = all.new.connect(database).unwrap();
        // Due since before the upgrade.
        wait_until_made(&mut client, lost);
        // And once more what comes due now; other tests are at work on sets of alice.
        let again = drop_newest(&mut client, "j.enabled AND j.owner <> 'alice'::regrole");
        wait_until_made(&mut client, &again);
        let of_others: Vec<String> = client.column(
            "SELECT p.partition::text FROM steward.partitions p
              WHERE (SELECT c.relowner FROM pg_class c WHERE c.oid = p.partition)
                    <> (SELECT s.relowner FROM pg_class s WHERE s.oid = p.parent)",
        );
        assert!(of_others.is_empty(), "in {database}, not of their set's owner: {of_others:?}");
        wait_until(SOON, &format!("all is well in {database}"), || {
            client.value::<String>("SELECT message FROM steward.status") == "ok"
        });
    }
}

#[test]
fn a_paused_job_stays_paused_until_it_is_resumed() {
    let all = &*UPGRADED;
    for database in ["betting", "restored"] {
        let mut client = all.new.connect(database).unwrap();
        wait_until_made(&mut client, &all.lost[0]);
        assert!(!exists(&mut client, &all.lost_of_paused), "made in {database}");
        client.run(
            "SELECT steward.resume_job(job_id) FROM steward.jobs
              WHERE target = 'alice.parked'::regclass AND NOT enabled",
        );
        wait_until_made(&mut client, std::slice::from_ref(&all.lost_of_paused));
    }
}

#[test]
fn new_sets_get_numbers_of_their_own_and_are_looked_after() {
    let new = &UPGRADED.new;
    let mut alice = new.connect_as("betting", "alice").unwrap();
    let last: i64 = alice.value("SELECT max(job_id) FROM steward.job_runs");
    alice.refused("42710", "SELECT steward.manage_range('alice.bets')");
    alice.run(
        "CREATE TABLE alice.wins (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('alice.wins', '1 month');
         INSERT INTO alice.wins VALUES (now()); INSERT INTO alice.bets VALUES (now(), 1)",
    );
    assert_eq!(alice.value::<i64>("SELECT count(*) FROM alice.bets"), 2);
    let job: i64 =
        alice.value("SELECT job_id FROM steward.jobs WHERE target = 'alice.wins'::regclass");
    assert!(job > last, "job {job} after job {last}");
    let lost =
        drop_newest(&mut new.connect("betting").unwrap(), "j.target = 'alice.wins'::regclass");
    wait_until_made(&mut alice, &lost);
    // The event trigger is there again, too.
    alice.run("DROP TABLE alice.wins");
    let forgotten = format!("SELECT count(*) = 0 FROM steward.jobs WHERE job_id = {job}");
    assert!(alice.value::<bool>(&forgotten), "job {job} outlives its table");
}
