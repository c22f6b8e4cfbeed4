//! Two who want to work on the same set.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{
    SOON, drop_newest, exists, release_brake, set_with_brake, settled_set, signal, stuck_executor,
    unattended_runs,
};

#[test]
fn maintain_waits_for_a_run_in_progress_and_then_runs() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    set_with_brake(&mut client);
    let executor = stuck_executor(&cluster, &mut client);
    let mut caller = cluster.session(&database).unwrap();
    caller.start("CALL steward.maintain('bets')");
    caller.wait_until_blocked(SOON);
    let blockers: Vec<i32> = client.value(&format!("SELECT pg_blocking_pids({})", caller.pid()));
    assert_eq!(blockers, [executor]);
    release_brake(&mut client);
    signal("-INT", executor);
    caller.finish(SOON).unwrap();
    assert_eq!(unattended_runs(&mut client, "cancelled"), 1);
    let last: String = client.value(
        "SELECT format('%s %s', status, scheduled_at IS NULL) FROM steward.job_runs ORDER BY run_id DESC LIMIT 1",
    );
    assert_eq!(last, "succeeded t");
}

#[test]
fn a_cancelled_wait_leaves_no_lock_behind() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    set_with_brake(&mut client);
    let executor = stuck_executor(&cluster, &mut client);
    let mut caller = cluster.session(&database).unwrap();
    caller.start("CALL steward.maintain('bets')");
    caller.wait_until_blocked(SOON);
    client.run(&format!("SELECT pg_cancel_backend({})", caller.pid()));
    assert_eq!(pg_test::cluster::sqlstate(&caller.finish(SOON).unwrap_err()), "57014");
    release_brake(&mut client);
    signal("-INT", executor);
    wait_until(SOON, "nobody holds a set any more", || {
        client.value(
            "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'object'
                       AND classid = 'steward.job'::regclass",
        )
    });
    caller.run("CALL steward.maintain('bets')");
}

#[test]
fn a_maintain_that_is_cancelled_or_killed_in_a_step_leaves_nothing_half_done() {
    let cluster = fixtures::cluster().conf("pg_steward.enabled = off").start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day')",
    );
    let lost = drop_newest(&mut client, "bets");
    for how in ["pg_cancel_backend", "pg_terminate_backend"] {
        let mut holder = cluster.session(&database).unwrap();
        holder.run("BEGIN; LOCK TABLE bets IN SHARE UPDATE EXCLUSIVE MODE");
        let mut caller = cluster.session(&database).unwrap();
        caller.run("SET pg_steward.lock_timeout = '1min'");
        caller.start("CALL steward.maintain('bets')");
        caller.wait_until_blocked(SOON);
        client.run(&format!("SELECT {how}({})", caller.pid()));
        caller.finish(SOON).unwrap_err();
        holder.run("COMMIT");
        assert!(!exists(&mut client, &lost), "{how}: a table without its set");
        wait_until(SOON, "its lock is gone", || {
            client.value(
                "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'object'
                           AND classid = 'steward.job'::regclass",
            )
        });
    }
    client.run("CALL steward.maintain('bets')");
    assert!(exists(&mut client, &lost));
    let statuses: Vec<String> =
        client.column("SELECT status FROM steward.job_runs ORDER BY run_id");
    assert_eq!(statuses, ["cancelled", "crashed", "succeeded"]);
}

#[test]
fn two_sessions_that_call_maintain_at_once_do_not_clash() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    settled_set(&mut client);
    for _ in 0..5 {
        let lost: Vec<String> = (0..3).map(|_| drop_newest(&mut client, "bets")).collect();
        let mut sessions: Vec<_> = (0..4).map(|_| cluster.session(&database).unwrap()).collect();
        for session in &mut sessions {
            session.start("CALL steward.maintain('bets')");
        }
        for session in &mut sessions {
            session.finish(SOON).unwrap();
        }
        assert!(lost.iter().all(|partition| exists(&mut client, partition)));
    }
    let (created, failed): (i64, i64) = {
        let row = client
            .query_one(
                "SELECT coalesce(sum((detail->>'created')::bigint), 0)::bigint,
                        count(*) FILTER (WHERE status <> 'succeeded')
                   FROM steward.job_runs",
                &[],
            )
            .unwrap();
        (row.get(0), row.get(1))
    };
    assert_eq!((created, failed), (15, 0));
}

#[test]
fn a_run_that_waited_for_the_set_sees_what_was_changed_meanwhile() {
    let cluster = fixtures::cluster().conf("pg_steward.enabled = off").start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day')",
    );
    let newest: String = client
        .value("SELECT partition::text FROM steward.partitions ORDER BY lower_bound DESC LIMIT 1");
    let mut holder = cluster.session(&database).unwrap();
    holder.run(&format!("BEGIN; DROP TABLE {newest}"));
    let mut caller = cluster.session(&database).unwrap();
    caller.run("SET pg_steward.lock_timeout = '1min'");
    caller.start("CALL steward.maintain('bets')");
    caller.wait_until_blocked(SOON);
    holder.run("COMMIT");
    caller.finish(SOON).unwrap();
    // Not by the next free name: the name was free again when the lock was had.
    assert!(exists(&mut client, &newest), "{newest} was not made again under its name");
}
