//! Out of the way: shutdown, DROP DATABASE, DROP EXTENSION, a full house of workers.

use std::fs;
use std::time::Duration;

use pg_test::cluster::{Ask, StopMode, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{
    SOON, make_due, release_brake, set_with_brake, settled_set, stuck_executor, unattended_runs,
};

/// What ends our processes is effective within this.
const EFFECTIVE: Duration = Duration::from_secs(2);

#[test]
fn a_fast_shutdown_waits_for_nobody() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    set_with_brake(&mut client);
    stuck_executor(&cluster, &mut client);
    release_brake(&mut client);
    let log = fs::read_to_string(cluster.log_file()).unwrap();
    cluster.stop(StopMode::Fast).unwrap();
    let log = fs::read_to_string(cluster.log_file()).unwrap().split_off(log.len());
    cluster.start().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    // Its last checkpoint, which is none of ours, comes when all processes have left.
    let [requested, left] = ["received fast shutdown request", "shutting down"]
        .map(|said| log.lines().find(|line| line.ends_with(said)).unwrap().split_at(27).0);
    let lasted: f64 = client.value(&format!(
        "SELECT extract(epoch FROM timestamptz '{left}' - timestamptz '{requested}')::float8"
    ));
    assert!(lasted < EFFECTIVE.as_secs_f64(), "{lasted} s");
    wait_until(SOON, "the run is closed and the work done", || {
        unattended_runs(&mut client, "crashed") == 1
            && unattended_runs(&mut client, "succeeded") == 2
    });
}

#[test]
fn a_cancel_and_a_terminate_end_a_long_step_within_two_seconds() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    set_with_brake(&mut client);
    for (how, status) in [("pg_cancel_backend", "cancelled"), ("pg_terminate_backend", "crashed")] {
        let executor = stuck_executor(&cluster, &mut client);
        // Whoever comes next is not to hang as well.
        release_brake(&mut client);
        client.run(&format!("SELECT {how}({executor})"));
        wait_until(EFFECTIVE, &format!("{how} has ended the step"), || {
            client.value(&format!(
                "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {executor} AND wait_event = 'PgSleep'"
            ))
        });
        wait_until(SOON, "the run says so, and the work is done after all", || {
            unattended_runs(&mut client, status) == 1
                && client
                    .value("SELECT last_status = 'succeeded' AND NOT running FROM steward.jobs")
        });
    }
    // A set that keeps its scheduler there: without one it leaves before anybody has seen it.
    client.run(
        "CREATE TABLE clicks (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('clicks', '5 seconds')",
    );
    for who in ["pg_steward scheduler", "pg_steward launcher"] {
        let mut pid = 0;
        wait_until(SOON, &format!("there is a {who}"), || {
            pid = cluster.pids(who).unwrap().first().copied().unwrap_or(0);
            pid != 0
        });
        client.run(&format!("SELECT pg_terminate_backend({pid})"));
        wait_until(EFFECTIVE, &format!("the {who} has ended"), || {
            client.value(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {pid}"))
        });
    }
}

#[test]
fn a_database_is_dropped_under_a_scheduler_and_an_executor() {
    let cluster = fixtures::cluster().start().unwrap();
    for force in ["", "WITH (FORCE)"] {
        let database = cluster.create_database_with_extension().unwrap();
        let mut client = cluster.connect(&database).unwrap();
        set_with_brake(&mut client);
        stuck_executor(&cluster, &mut client);
        drop(client);
        let mut client = cluster.connect("postgres").unwrap();
        wait_until(SOON, "only ours are connected", || {
            client.value(&format!(
                "SELECT bool_and(backend_type LIKE 'pg_steward%') FROM pg_stat_activity WHERE datname = '{database}'"
            ))
        });
        // It fails if one of ours is still there after 5 s (procarray.c, CountOtherDBBackends).
        client.run(&format!("DROP DATABASE {database} {force}"));
    }
    assert_eq!(cluster.pids("pg_steward launcher").unwrap().len(), 1);
    wait_until(SOON, "nobody works any more", || {
        cluster.pids("pg_steward executor").unwrap().is_empty()
            && cluster.pids("pg_steward scheduler").unwrap().is_empty()
    });
    // The server serves on, and so do we.
    let database = cluster.create_database_with_extension().unwrap();
    settled_set(&mut cluster.connect(&database).unwrap());
}

#[test]
fn the_extension_is_dropped_under_a_running_job() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    set_with_brake(&mut client);
    let executor = stuck_executor(&cluster, &mut client);
    client.run("DROP EXTENSION pg_steward");
    release_brake(&mut client);
    client.run(&format!("SELECT pg_cancel_backend({executor})"));
    wait_until(SOON, "everybody has left", || {
        cluster.pids("pg_steward executor").unwrap().is_empty()
            && cluster.pids("pg_steward scheduler").unwrap().is_empty()
    });
    assert!(!cluster.log_contains("PANIC"), "{}", cluster.log_tail(20));
    client.run("DROP TABLE bets, brake; DROP FUNCTION rolls; CREATE EXTENSION pg_steward");
    settled_set(&mut client);
}

#[test]
fn used_up_workers_are_said_once_and_waited_for() {
    // The server's logical replication launcher, ours, one scheduler, one executor. In the database that
    // comes with the server nobody looks whether it has the extension: that takes a scheduler, too.
    let conf = "max_worker_processes = 4\npg_steward.excluded_databases = 'postgres'";
    let cluster = fixtures::cluster().conf(conf).start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    set_with_brake(&mut client);
    let said = "no free background worker";
    let wait_until_idle = || {
        wait_until(SOON, "all are idle", || {
            cluster.pids("pg_steward scheduler").unwrap().is_empty()
                && cluster.pids("pg_steward executor").unwrap().is_empty()
        });
    };
    wait_until_idle();
    let other = cluster.create_database_with_extension().unwrap();
    let mut elsewhere = cluster.connect(&other).unwrap();
    settled_set(&mut elsewhere);
    wait_until_idle();
    assert!(!cluster.log_contains(said), "{}", cluster.log_tail(20));

    stuck_executor(&cluster, &mut client);
    make_due(&mut elsewhere);
    wait_until(SOON, "it is said", || cluster.log_contains(said));
    // By hand all is well, and nobody is held up.
    let runs = unattended_runs(&mut elsewhere, "succeeded");
    elsewhere.run("CALL steward.maintain('bets')");
    // It tries again every second; three seconds on it has still been said once.
    let since: String = client.value("SELECT clock_timestamp()::text");
    wait_until(SOON, "three seconds have passed", || {
        client
            .value(&format!("SELECT clock_timestamp() > '{since}'::timestamptz + '3 s'::interval"))
    });
    assert_eq!(cluster.log_count(said), 1, "{}", cluster.log_tail(20));
    assert!(cluster.log_contains("raise max_worker_processes"));
    assert_eq!(unattended_runs(&mut elsewhere, "succeeded"), runs);

    release_brake(&mut client);
    make_due(&mut elsewhere);
    client.run("SELECT steward.pause_job(job_id, true) FROM steward.jobs");
    wait_until(SOON, "the other database is worked on", || {
        unattended_runs(&mut elsewhere, "succeeded") > runs
    });
}
