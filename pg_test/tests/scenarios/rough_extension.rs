//! DROP EXTENSION while the workers are at it.

use std::thread::sleep;
use std::time::Duration;

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{
    SOON, set_with_brake, settled_set, signal, stuck_executor, unattended_runs,
};

/// Locks that workers of ours wait for in this database.
const AWAITED: &str = "SELECT coalesce(string_agg(DISTINCT l.locktype || ' ' ||
                               coalesce(l.classid::regclass::text, l.relation::regclass::text), ', '), '')
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
   WHERE a.datname = current_database() AND a.backend_type LIKE 'pg\\_steward %' AND NOT l.granted";

/// Relations of ours that workers of ours have locked in this database.
const HELD: &str = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    JOIN pg_class c ON c.oid = l.relation AND c.relnamespace = 'steward'::regnamespace
   WHERE a.datname = current_database() AND a.backend_type LIKE 'pg\\_steward %' AND l.granted";

#[test]
fn a_worker_waits_for_an_open_drop_extension_with_no_table_locked_and_goes_on_after_a_rollback() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE clicks (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('clicks', '1 second')",
    );
    wait_until(SOON, "it is looked after", || unattended_runs(&mut client, "succeeded") > 0);
    let mut dropping = cluster.connect(&database).unwrap();
    dropping.run("BEGIN; DROP EXTENSION pg_steward");
    wait_until(SOON, "a worker waits", || client.value::<String>(AWAITED) == "object pg_extension");
    assert_eq!(client.value::<i64>(HELD), 0, "a table locked meanwhile");
    dropping.run("ROLLBACK");
    let before = unattended_runs(&mut client, "succeeded");
    wait_until(SOON, "it goes on", || unattended_runs(&mut client, "succeeded") > before + 1);
    assert_eq!(unattended_runs(&mut client, "failed"), 0);
}

#[test]
fn an_open_drop_extension_in_one_database_stops_no_job_in_another() {
    let cluster = fixtures::cluster().conf("pg_steward.max_concurrent_jobs = 1").start().unwrap();
    let (here, there) = (
        cluster.create_database_with_extension().unwrap(),
        cluster.create_database_with_extension().unwrap(),
    );
    let mut client = cluster.connect(&here).unwrap();
    set_with_brake(&mut client);
    let executor = stuck_executor(&cluster, &mut client);
    let mut dropping = cluster.session(&here).unwrap();
    dropping.run("BEGIN");
    dropping.run("DROP EXTENSION pg_steward");
    // The step ends, and its run cannot be written down.
    signal("-INT", executor);
    let mut other = cluster.connect(&there).unwrap();
    settled_set(&mut other);
    let open: bool = other.value(&format!(
        "SELECT state = 'idle in transaction' FROM pg_stat_activity WHERE pid = {}",
        dropping.pid()
    ));
    assert!(open, "the extension was not being dropped all along");
    dropping.run("ROLLBACK");
    wait_until(SOON, "the first goes on, too", || {
        client.value("SELECT bool_or(status IN ('cancelled', 'crashed')) FROM steward.job_runs")
    });
}

#[test]
fn an_extension_that_comes_and_goes_under_the_workers_meets_no_deadlock() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run("CREATE TABLE clicks (at timestamptz NOT NULL) PARTITION BY RANGE (at)");
    for round in 0..40 {
        client
            .run("CREATE EXTENSION pg_steward; SELECT steward.manage_range('clicks', '1 second')");
        sleep(Duration::from_millis(7 * round));
        client.run("DROP EXTENSION pg_steward");
    }
    assert!(!cluster.log_contains("deadlock detected"));
    client.run("CREATE EXTENSION pg_steward; SELECT steward.manage_range('clicks', '1 second')");
    wait_until(SOON, "it is looked after", || {
        client.value("SELECT count(*) > 2 FROM steward.job_runs WHERE scheduled_at IS NOT NULL")
    });
}
