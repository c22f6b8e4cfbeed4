//! What a review feared: locks that get lost, rows that pin a worker, paths that escalate, databases
//! that cannot be renamed, dumps that nobody notices.

use std::process::Command;

use pg_test::cluster::{Ask, Cluster, wait_until};
use pg_test::fixtures;

use crate::unattended_crashes::reconnect_after_crash;
use crate::unattended_support::{
    SOON, drop_newest, exists, make_due, settled_set, stuck_executor, unattended_runs,
};

/// A ten-second set, so that the scheduler stays.
fn busy_set(client: &mut postgres::Client) {
    client.run(
        "CREATE TABLE ticks (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('ticks', '10 seconds', premake => 6)",
    );
    wait_until(SOON, "the first unattended run", || unattended_runs(client, "succeeded") >= 1);
}

#[test]
fn a_database_is_renamed_and_copied_while_a_scheduler_stays_in_it() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    busy_set(&mut cluster.connect(&database).unwrap());
    let mut client = cluster.connect("postgres").unwrap();
    for command in [
        format!("CREATE DATABASE copied TEMPLATE {database}"),
        format!("ALTER DATABASE {database} RENAME TO renamed"),
    ] {
        wait_until(SOON, "a scheduler is there", || {
            !cluster.pids("pg_steward scheduler").unwrap().is_empty()
        });
        // It fails if the scheduler is still there after 5 s (procarray.c, CountOtherDBBackends).
        client.run(&command);
    }
    for database in ["renamed", "copied"] {
        let mut client = cluster.connect(database).unwrap();
        let until: String = client.value("SELECT max(covered_until) FROM steward.partition_sets");
        wait_until(SOON, "work goes on in both", || {
            client.value(&format!(
                "SELECT max(covered_until)::timestamptz > '{until}' FROM steward.partition_sets"
            ))
        });
    }
}

#[test]
fn the_lock_of_a_run_survives_a_step_that_fails() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    settled_set(&mut client);
    let newest = drop_newest(&mut client, "bets");
    // Each attempt misses pg_steward.lock_timeout; between two of them the run still has its lock.
    let mut holder = cluster.session(&database).unwrap();
    holder.run("BEGIN; LOCK TABLE bets IN SHARE UPDATE EXCLUSIVE MODE");
    make_due(&mut client);
    wait_until(SOON, "a run is waiting for the table", || {
        client.value(
            "SELECT count(*) = 1 FROM pg_locks WHERE relation = 'bets'::regclass AND NOT granted",
        )
    });
    wait_until(SOON, "an attempt has failed and the run goes on with its lock", || {
        client.value(
            "SELECT count(*) = 1 FROM pg_locks l JOIN steward.job_runs r ON r.pid = l.pid
              WHERE l.locktype = 'object' AND l.classid = 'steward.job'::regclass
                AND l.objid = 'bets'::regclass AND l.granted AND r.status = 'running'
                AND clock_timestamp() - r.started_at > interval '2.5 s'",
        )
    });
    holder.run("ROLLBACK");
    wait_until(SOON, "the partition is made", || exists(&mut client, &newest));
    assert_eq!(unattended_runs(&mut client, "crashed"), 0);
    assert!(!cluster.log_contains("you don't own a lock"), "{}", cluster.log_tail(20));
}

#[test]
fn an_open_transaction_on_one_policy_pins_no_worker() {
    let cluster = fixtures::cluster().conf("pg_steward.max_concurrent_jobs = 1").start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    settled_set(&mut client);
    client.run(
        "CREATE TABLE wins (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('wins', '1 day')",
    );
    wait_until(SOON, "both have run", || unattended_runs(&mut client, "succeeded") == 2);
    let newest = drop_newest(&mut client, "wins");
    make_due(&mut client);
    let mut owner = cluster.session(&database).unwrap();
    owner.run("BEGIN; SELECT steward.alter_range('bets', premake => 5)");
    let bets_runs = "SELECT count(*) FROM steward.job_runs WHERE target = 'bets'::regclass";
    let before: i64 = client.value(bets_runs);
    wait_until(SOON, "the other set is kept up meanwhile", || exists(&mut client, &newest));
    make_due_of(&mut client, "wins");
    let still: bool = client
        .value("SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'idle in transaction'");
    assert!(still, "the policy was not being changed all along");
    let meanwhile: i64 = client.value(bets_runs);
    assert!(meanwhile - before <= 1, "{before} runs before, {meanwhile} after");
    owner.run("COMMIT");
    wait_until(SOON, "and the changed one after the commit", || {
        client.value("SELECT last_status = 'succeeded' AND next_run_at > now() FROM steward.jobs WHERE target = 'bets'::regclass")
    });
}

/// Makes one set's job due.
fn make_due_of(client: &mut postgres::Client, target: &str) {
    client.run(&format!(
        "UPDATE steward.job SET next_run_at = now() WHERE target = '{target}'::regclass;
         SELECT steward.wake_at_commit()"
    ));
}

#[test]
fn jobs_that_a_restored_dump_brings_are_noticed() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    settled_set(&mut client);
    client.run("SELECT steward.pause_job(job_id) FROM steward.jobs");
    client.run(
        "CREATE TABLE wins (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('wins', '1 month', premake => 7, time_zone => 'Asia/Kathmandu')",
    );
    wait_until(SOON, "its first run", || unattended_runs(&mut client, "succeeded") == 2);
    for kind in ["pg_steward executor", "pg_steward scheduler"] {
        wait_until(SOON, "the workers have left", || cluster.pids(kind).unwrap().is_empty());
    }
    // Overdue in the dump, as after a week; nobody is told of it here.
    client.run("UPDATE steward.job SET next_run_at = '2025-01-01'");
    let policies = "SELECT string_agg(concat_ws(' ', parent, partition_interval, premake, time_zone, partitions, covered_until::timestamptz at time zone 'UTC'), ';' ORDER BY parent::text) FROM steward.partition_sets";
    let before: String = client.value(policies);
    cluster.connect("postgres").unwrap().run("CREATE DATABASE restored");
    dump_and_restore(&cluster, &database, "restored");
    let mut client = cluster.connect("restored").unwrap();
    assert_eq!(client.value::<String>(policies), before);
    wait_until(SOON, "the restored job runs", || unattended_runs(&mut client, "succeeded") == 1);
    let enabled: String = client.value(
        "SELECT string_agg(target || ' ' || enabled, ';' ORDER BY target::text) FROM steward.jobs",
    );
    assert_eq!(enabled, "bets false;wins true");
    // The restored sequence does not give a number twice.
    client.run(
        "CREATE TABLE third (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('third')",
    );
}

fn dump_and_restore(cluster: &Cluster, from: &str, to: &str) {
    let bindir = cluster.installation().bindir.clone();
    let socket = cluster.socket_dir().display().to_string();
    let dump = Command::new(bindir.join("pg_dump"))
        .args(["--host", &socket, "--username", "postgres", from])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &dump.stdout).unwrap();
    let restore = Command::new(bindir.join("psql"))
        .args(["--host", &socket, "--username", "postgres", "--no-psqlrc", "--quiet"])
        .args(["--set", "ON_ERROR_STOP=1", "--dbname", to, "--file"])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
}

#[test]
fn a_planted_operator_is_not_called_by_a_superusers_call() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    settled_set(&mut client);
    client.run(
        "CREATE SCHEMA evil; CREATE TABLE evil.victims (who text);
         CREATE FUNCTION evil.eq(oid, integer) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO evil.victims VALUES (current_user); RETURN false; END $$;
         CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = integer, FUNCTION = evil.eq);
         SET search_path = evil, public, pg_catalog",
    );
    // The trap springs for who walks into it.
    client.run("SELECT 1::oid = 1");
    assert_eq!(client.value::<i64>("SELECT count(*) FROM evil.victims"), 1);
    drop_newest(&mut client, "public.bets");
    client.run("CALL steward.maintain()");
    let job: i64 = client.value("SELECT job_id FROM steward.jobs");
    client.run(&format!("CALL steward.run_job({job})"));
    assert_eq!(client.value::<i64>("SELECT count(*) FROM evil.victims"), 1);
}

#[test]
fn a_killed_server_backs_its_job_off() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    crate::unattended_support::set_with_brake(&mut client);
    let executor = stuck_executor(&cluster, &mut client);
    // The attempt is written down before the step: whoever dies in it has failed once.
    let failures: i32 = client.value("SELECT consecutive_failures FROM steward.job");
    assert_eq!(failures, 1);
    assert_eq!(client.value::<i32>("SELECT consecutive_failures FROM steward.jobs"), 0);
    crate::unattended_support::signal("KILL", executor);
    let mut client = reconnect_after_crash(&cluster, &database, &mut client);
    wait_until(SOON, "the crash is seen", || unattended_runs(&mut client, "crashed") >= 1);
}
