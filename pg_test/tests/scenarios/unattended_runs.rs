//! What steward.jobs and steward.job_runs say, and how long they keep it.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{SOON, drop_newest, make_due, settled_set, unattended_runs};

#[test]
fn a_run_is_logged_with_what_it_did_when_and_for_how_long() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    settled_set(&mut client);
    let lost = drop_newest(&mut client, "bets");
    let second = drop_newest(&mut client, "bets");
    make_due(&mut client);
    wait_until(SOON, "the second run", || unattended_runs(&mut client, "succeeded") == 2);

    let row = client
        .query_one(
            "SELECT r.detail->>'created', r.detail->>'failed', r.detail->'partitions',
                    r.scheduled_at <= r.started_at AND r.started_at <= r.finished_at,
                    r.duration = r.finished_at - r.started_at, r.sqlstate, r.error_message,
                    r.kind || ' ' || r.target_name || ' ' || (r.target = 'bets'::regclass)
               FROM steward.job_runs r ORDER BY r.run_id DESC LIMIT 1",
            &[],
        )
        .unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("2", "0"));
    let made: String = client
        .value("SELECT detail->>'partitions' FROM steward.job_runs ORDER BY run_id DESC LIMIT 1");
    for partition in [&lost, &second] {
        assert!(made.contains(&format!("public.{partition}")), "{made} lacks {partition}");
    }
    assert!(row.get::<_, bool>(3), "scheduled_at <= started_at <= finished_at");
    assert!(row.get::<_, bool>(4), "duration");
    assert_eq!(row.get::<_, Option<&str>>(5), None);
    assert_eq!(row.get::<_, Option<&str>>(6), None);
    assert_eq!(row.get::<_, &str>(7), "partition public.bets true");

    let job: String = client.value(
        "SELECT format('%s %s %s enabled=%s running=%s %s failures=%s %s',
                       kind, target, owner, enabled, running, last_status, consecutive_failures, circuit)
           FROM steward.jobs",
    );
    assert_eq!(job, "partition bets postgres enabled=t running=f succeeded failures=0 closed");
    assert!(client.value::<bool>(
        "SELECT j.last_run_at = r.started_at AND j.last_duration = r.duration
           FROM steward.jobs j, steward.job_runs r ORDER BY r.run_id DESC LIMIT 1"
    ));
    // A time set is looked at next at its next boundary.
    assert!(client.value::<bool>(
        "SELECT next_run_at = date_trunc('day', now() AT TIME ZONE 'UTC' + '1 day'::interval) AT TIME ZONE 'UTC'
           FROM steward.jobs"
    ));
}

#[test]
fn old_runs_are_trimmed_but_never_the_last_one() {
    let cluster = fixtures::cluster().conf("pg_steward.history_retention = '1h'").start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    settled_set(&mut client);
    wait_until(SOON, "the scheduler has left", || {
        cluster.pids("pg_steward scheduler").unwrap().is_empty()
    });
    client.run(
        "INSERT INTO steward.job_run (job_id, kind, target, target_name, status, scheduled_at, started_at,
                                      finished_at, pid)
         SELECT job_id, kind, target, 'bets', status, at, at, at, 1
           FROM steward.job, unnest(ARRAY['succeeded', 'failed', 'crashed']) status,
                unnest(ARRAY[now() - '61 minutes'::interval, now() - '55 minutes'::interval]) at;
         -- A job's last run stays, however old.
         INSERT INTO steward.job_run (job_id, kind, target, target_name, status, started_at, finished_at, pid)
         VALUES (4711, 'partition', 'bets'::regclass, 'gone', 'failed', '2020-01-01', '2020-01-01', 1)",
    );
    // It is an hour since the last time that somebody trimmed.
    cluster.add_conf("pg_steward.test_clock_offset = '61min'").unwrap();
    cluster.reload().unwrap();
    make_due(&mut client);
    wait_until(SOON, "runs over an hour old are gone", || {
        client.value(
            "SELECT count(*) = 0 FROM steward.job_run
                       WHERE finished_at < now() - '1 hour'::interval AND job_id <> 4711",
        )
    });
    let kept: i64 = client.value(
        "SELECT count(*) FROM steward.job_run WHERE finished_at < now() - '50 minutes'::interval",
    );
    assert_eq!(kept, 4, "three younger ones, and the last one of a job that is gone");
}

#[test]
fn each_due_job_runs_once() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE a (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE b (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE c (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range(t, '1 day') FROM unnest('{a,b,c}'::regclass[]) t",
    );
    wait_until(SOON, "nothing is due any more", || {
        client.value("SELECT bool_and(next_run_at > now() AND NOT running) FROM steward.jobs")
    });
    let runs: Vec<String> = client.column(
        "SELECT format('%s %s', target_name, status) FROM steward.job_runs ORDER BY target_name, run_id",
    );
    assert_eq!(runs, ["public.a succeeded", "public.b succeeded", "public.c succeeded"]);
}
