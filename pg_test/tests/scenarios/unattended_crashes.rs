//! Killed processes: what was open is closed as crashed, what was due is done.

use pg_test::cluster::{Ask, Cluster, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_support::{
    SOON, drop_newest, exists, make_due, release_brake, set_with_brake, settled_set, signal,
    stuck_executor,
};

/// A connection to a server that restarts after one of its processes was killed.
pub(crate) fn reconnect(cluster: &Cluster, database: &str) -> Client {
    let mut found = None;
    wait_until(SOON, "the server takes connections again", || {
        found = cluster.connect(database).ok();
        found.as_mut().is_some_and(|client| client.batch_execute("SELECT 1").is_ok())
    });
    found.unwrap()
}

/// The same after a kill that takes every session with it: only when the old one is gone has the
/// server noticed, and a new connection will hold.
pub(crate) fn reconnect_after_crash(cluster: &Cluster, database: &str, old: &mut Client) -> Client {
    wait_until(SOON, "the server has noticed", || old.batch_execute("SELECT 1").is_err());
    reconnect(cluster, database)
}

/// Nothing of ours lies about: each table of the set's name is a partition of it.
#[track_caller]
fn assert_no_orphan(client: &mut Client) {
    let orphans: Vec<String> = client.column(
        "SELECT c.relname::text FROM pg_class c
          WHERE c.relname LIKE 'bets\\_%' AND c.relkind = 'r'
            AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)",
    );
    assert!(orphans.is_empty(), "{orphans:?}");
}

#[test]
fn a_killed_executor_leaves_a_run_that_is_closed_as_crashed_and_the_work_resumes() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    set_with_brake(&mut client);
    let executor = stuck_executor(&cluster, &mut client);
    release_brake(&mut client);
    signal("-KILL", executor);
    let mut client = reconnect_after_crash(&cluster, &database, &mut client);
    let run = format!("FROM steward.job_runs WHERE pid = {executor}");
    wait_until(SOON, "its run is closed", || {
        client.value(&format!("SELECT bool_or(status = 'crashed') {run}"))
    });
    assert!(client.value::<bool>(&format!(
        "SELECT bool_and(finished_at IS NOT NULL AND error_message IS NOT NULL) {run} AND status = 'crashed'"
    )));
    wait_until(SOON, "the work is done", || {
        client.value("SELECT last_status = 'succeeded' AND NOT running FROM steward.jobs")
    });
    assert_eq!(client.value::<i64>("SELECT partitions FROM steward.partition_sets"), 4);
    assert_no_orphan(&mut client);
}

#[test]
fn a_terminated_executor_is_not_restarted_in_a_circle_and_the_work_resumes() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    set_with_brake(&mut client);
    let executor = stuck_executor(&cluster, &mut client);
    release_brake(&mut client);
    client.run(&format!("SELECT pg_terminate_backend({executor})"));
    wait_until(SOON, "the work is done", || {
        client.value("SELECT last_status = 'succeeded' AND NOT running FROM steward.jobs")
    });
    let statuses: Vec<String> =
        client.column("SELECT status FROM steward.job_runs ORDER BY run_id");
    assert_eq!(statuses, ["succeeded", "crashed", "succeeded"]);
    assert_no_orphan(&mut client);
}

#[test]
fn a_killed_scheduler_or_launcher_comes_back_and_the_work_resumes() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    settled_set(&mut client);
    // A set that keeps its scheduler there.
    client.run(
        "CREATE TABLE clicks (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('clicks', '5 seconds')",
    );
    for (how, who) in [
        ("-KILL", "pg_steward scheduler"),
        ("-KILL", "pg_steward launcher"),
        ("-TERM", "pg_steward scheduler"),
        ("-TERM", "pg_steward launcher"),
    ] {
        let mut pids = Vec::new();
        wait_until(SOON, "the process is there", || {
            pids = cluster.pids(who).unwrap();
            pids.len() == 1
        });
        signal(how, pids[0]);
        if how == "-KILL" {
            client = reconnect_after_crash(&cluster, &database, &mut client);
        }
        let lost = drop_newest(&mut client, "bets");
        make_due(&mut client);
        wait_until(SOON, &format!("work goes on after kill {how} of the {who}"), || {
            exists(&mut client, &lost)
        });
        wait_until(SOON, "there is one launcher", || {
            cluster.pids("pg_steward launcher").unwrap().len() == 1
        });
        // An executor that was there already may have done the work before it got the signal.
        wait_until(SOON, "there is another one, or none", || cluster.pids(who).unwrap() != pids);
    }
    wait_until(SOON, "no run is left open", || {
        client.value(
            "SELECT count(*) = 0 FROM steward.job_runs
                       WHERE status = 'running' AND started_at < now() - '5 seconds'::interval",
        )
    });
    assert_no_orphan(&mut client);
}

#[test]
fn a_crash_of_the_server_in_a_step_leaves_nothing_half_done() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    set_with_brake(&mut client);
    stuck_executor(&cluster, &mut client);
    release_brake(&mut client);
    cluster.crash().unwrap();
    cluster.start().unwrap();
    let mut client = reconnect(&cluster, &database);
    wait_until(SOON, "the work is done", || {
        client.value("SELECT last_status = 'succeeded' AND NOT running FROM steward.jobs")
    });
    assert_eq!(
        client.value::<i64>("SELECT count(*) FROM steward.job_runs WHERE status = 'crashed'"),
        1
    );
    assert_eq!(client.value::<i64>("SELECT partitions FROM steward.partition_sets"), 4);
    assert_no_orphan(&mut client);
}

#[test]
fn of_two_schedulers_that_two_launchers_have_started_one_stays() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    // A set that keeps its scheduler there.
    client.run(
        "CREATE TABLE clicks (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('clicks', '1 second', premake => 30)",
    );
    let switch = |on: &str| {
        cluster.add_conf(&format!("pg_steward.enabled = {on}")).unwrap();
        cluster.reload().unwrap();
    };
    let mut admin = cluster.connect("postgres").unwrap();
    let starting = format!(
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.objid
          WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass
            AND d.datname = '{database}' AND NOT l.granted"
    );
    let mut watcher = cluster.connect("postgres").unwrap();
    for round in 0..3 {
        switch("off");
        wait_until(SOON, "the scheduler has left", || {
            cluster.pids("pg_steward scheduler").unwrap().is_empty()
                && cluster.pids("pg_steward executor").unwrap().is_empty()
        });
        drop(client);
        // Whoever connects to it now waits for the end of this transaction.
        admin.run(&format!("BEGIN; ALTER DATABASE {database} RENAME TO another"));
        switch("on");
        wait_until(SOON, "a scheduler is starting", || watcher.value::<i64>(&starting) == 1);
        signal("-TERM", cluster.pids("pg_steward launcher").unwrap()[0]);
        wait_until(SOON, "another launcher has started one, too", || {
            watcher.value::<i64>(&starting) == 2
        });
        admin.run("ROLLBACK");
        client = reconnect(&cluster, &database);
        let runs = "SELECT count(*) FROM steward.job_runs WHERE status = 'succeeded'";
        let before: i64 = client.value(runs);
        wait_until(SOON, "work goes on for some seconds", || {
            client.value::<i64>(runs) > before + 3
        });
        let schedulers = cluster.pids("pg_steward scheduler").unwrap();
        assert_eq!(schedulers.len(), 1, "round {round}: {schedulers:?}");
    }
}
