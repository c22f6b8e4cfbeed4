//! A clock that jumps.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{SOON, make_due, signal, unattended_runs};

/// A set that is looked at every minute.
const ORDERS: &str = "
    CREATE TABLE orders (tenant int) PARTITION BY HASH (tenant);
    SELECT steward.manage_hash('orders', 2)";

/// Whether it is complete, and its next look near by the clock of now.
const IS_LOOKED_AT: &str = "
    SELECT s.holes = '{}' AND j.next_run_at < now() + interval '2 minutes'
      FROM steward.partition_sets s, steward.jobs j";

#[test]
fn a_clock_five_months_ahead_gets_the_current_partition_first_then_the_missed_ones() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE wins (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('wins', '1 month', premake => 3, time_zone => 'UTC')",
    );
    wait_until(SOON, "the first unattended run", || unattended_runs(&mut client, "succeeded") == 1);
    let ahead: i64 = client.value(
        "SELECT extract(epoch FROM (now() AT TIME ZONE 'UTC') + interval '5 months'
                                   - (now() AT TIME ZONE 'UTC'))::int8",
    );
    let expected: Vec<String> = client.column(
        "SELECT 'public.wins_' || to_char((now() AT TIME ZONE 'UTC') + months * interval '1 month', 'YYYY_MM')
           FROM unnest(ARRAY[5, 6, 7, 8, 4]) WITH ORDINALITY AS m (months, place) ORDER BY place",
    );
    // What the next look has to find again although its record says that it is not due for weeks.
    cluster.add_conf(&format!("pg_steward.test_clock_offset = {ahead}")).unwrap();
    cluster.reload().unwrap();
    wait_until(SOON, "the set is looked at again", || {
        unattended_runs(&mut client, "succeeded") == 2
    });
    let made: Vec<String> = client.column(
        "SELECT jsonb_array_elements_text(detail->'partitions') FROM steward.job_runs
          WHERE run_id = (SELECT max(run_id) FROM steward.job_runs)",
    );
    assert_eq!(made, expected);

    // And back: what was made stays, and nothing is made twice.
    cluster.add_conf("pg_steward.test_clock_offset = 0").unwrap();
    cluster.reload().unwrap();
    client.run("INSERT INTO wins VALUES (now())");
    client.run("CALL steward.maintain()");
    let partitions: i64 = client.value("SELECT partitions FROM steward.partition_sets");
    assert_eq!(partitions, 9);
    // The workers may be looking just now: the clock was set back.
    let failed: i64 = client.value(
        "SELECT count(*) FROM steward.job_runs WHERE status NOT IN ('succeeded', 'running')",
    );
    assert_eq!(failed, 0);
}

#[test]
fn a_clock_that_was_ahead_and_is_set_back_leaves_no_set_alone_for_years() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(ORDERS);
    // Each time it meets launcher, scheduler and executor at another point.
    for _ in 0..5 {
        cluster.add_conf("pg_steward.test_clock_offset = '300d'").unwrap();
        cluster.reload().unwrap();
        wait_until(SOON, "it is looked at by the wrong clock", || {
            client.value("SELECT next_run_at > now() + interval '200 days' FROM steward.jobs")
        });
        // Before the workers are there again: having looked, they come back a minute later.
        client.run("DROP TABLE orders_p1");
        cluster.add_conf("pg_steward.test_clock_offset = 0").unwrap();
        cluster.reload().unwrap();
        wait_until(SOON, "it is looked at by the right clock", || client.value(IS_LOOKED_AT));
    }
}

#[test]
fn a_clock_that_was_ahead_while_the_launcher_slept_leaves_no_set_alone_for_years() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(ORDERS);
    wait_until(SOON, "the first unattended run", || unattended_runs(&mut client, "succeeded") == 1);
    let configure = |line: &str| {
        cluster.add_conf(line).unwrap();
        cluster.reload().unwrap();
    };
    configure("pg_steward.enabled = off");
    wait_until(SOON, "the scheduler has left", || {
        cluster.pids("pg_steward scheduler").unwrap().is_empty()
    });
    make_due(&mut client);
    drop(client);
    // Who connects to the database now waits for the end of this transaction.
    let mut admin = cluster.connect("postgres").unwrap();
    admin.run(&format!("BEGIN; ALTER DATABASE {database} RENAME TO another"));
    configure("pg_steward.enabled = on");
    let launcher = cluster.pids("pg_steward launcher").unwrap()[0];
    let mut watcher = cluster.connect("postgres").unwrap();
    wait_until(SOON, "the launcher has started a scheduler, and sleeps", || {
        watcher.value(&format!(
            "SELECT count(*) = 1 FROM pg_locks l, pg_stat_activity a
              WHERE l.classid = 'pg_database'::regclass AND NOT l.granted
                AND a.pid = {launcher} AND a.wait_event = 'Extension'"
        ))
    });
    signal("-STOP", launcher);
    configure("pg_steward.test_clock_offset = '300d'");
    admin.run("ROLLBACK");
    let mut client = cluster.connect(&database).unwrap();
    wait_until(SOON, "the set is looked at by the wrong clock, and the scheduler has left", || {
        client.value(
            "SELECT next_run_at > now() + interval '200 days' AND NOT running FROM steward.jobs",
        ) && cluster.pids("pg_steward scheduler").unwrap().is_empty()
    });
    client.run("DROP TABLE orders_p1");
    configure("pg_steward.test_clock_offset = 0");
    signal("-CONT", launcher);
    wait_until(SOON, "it is looked at by the right clock", || client.value(IS_LOOKED_AT));
}
