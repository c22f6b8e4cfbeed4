//! Somebody holds a lock for far longer than `pg_steward.lock_timeout` while a set needs work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pg_test::cluster::{Ask, Cluster, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_support::{SOON, drop_newest, exists, make_due};

const LOCK_TIMEOUT: &str = "pg_steward.lock_timeout = '300ms'";
/// How long a lock is held: many lock_timeouts.
const HELD: Duration = Duration::from_secs(8);
const HELD_LONG: Duration = Duration::from_secs(60);
/// What nobody waits for longer: one lock_timeout and a busy machine.
const BRIEFLY: Duration = Duration::from_millis(1500);

fn database(cluster: &Cluster, default_partition: bool) -> (String, Client) {
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(&format!(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day', default_partition => {default_partition});
         CREATE TABLE wins (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('wins', '1 day')"
    ));
    wait_until(SOON, "both have had their first run", || {
        client.value("SELECT bool_and(last_status IS NOT DISTINCT FROM 'succeeded' AND NOT running) FROM steward.jobs")
    });
    (database, client)
}

/// Failed runs on `bets`.
fn failures(client: &mut Client) -> i64 {
    client.value(
        "SELECT count(*) FROM steward.job_run WHERE target_name = 'public.bets' AND status = 'failed'",
    )
}

/// While the holder keeps its lock: how long an executor was seen to wait for a lock, at most.
fn longest_wait(
    client: &mut Client,
    held: Duration,
    holder: i32,
    mode: &str,
    relation: &str,
) -> Duration {
    let started = Instant::now();
    let mut longest = 0.0_f64;
    wait_until(SOON + held, "the lock was held for long and runs have failed", || {
        let waited: Option<f64> = client.value(
            "SELECT max(extract(epoch FROM clock_timestamp() - l.waitstart))::float8
               FROM pg_locks l JOIN pg_stat_activity a USING (pid)
              WHERE NOT l.granted AND a.backend_type = 'pg_steward executor'",
        );
        longest = longest.max(waited.unwrap_or(0.0));
        started.elapsed() > held && failures(client) >= 2
    });
    assert!(longest > 0.0, "no executor was seen to wait");
    let held: bool = client.value(&format!(
        "SELECT count(*) = 1 FROM pg_locks WHERE pid = {holder} AND granted
            AND relation = '{relation}'::regclass AND mode = '{mode}'"
    ));
    assert!(held, "the lock was not held all along");
    Duration::from_secs_f64(longest)
}

/// Every failed run on `bets` says what it could not have.
#[track_caller]
fn assert_failed_by_the_lock(client: &mut Client, each_within: Duration) {
    let said: Vec<String> = client.column(
        "SELECT DISTINCT sqlstate || ' ' || error_message FROM steward.job_run
          WHERE target_name = 'public.bets' AND status NOT IN ('succeeded', 'running')",
    );
    assert!(!said.is_empty());
    for said in said {
        assert!(said.starts_with("55P03 ") && said.contains("bets"), "{said}");
    }
    let slowest: f64 = client.value(
        "SELECT max(extract(epoch FROM finished_at - started_at))::float8 FROM steward.job_run
          WHERE target_name = 'public.bets' AND status = 'failed'",
    );
    assert!(slowest < each_within.as_secs_f64(), "a run held on for {slowest} s");
}

fn wait_for_recovery(client: &mut Client, lost: &str) {
    // The pause between two runs has doubled meanwhile.
    wait_until(SOON + HELD_LONG, "the retry succeeds after the release", || {
        exists(client, lost)
            && client.value(
                "SELECT bool_and(last_status = 'succeeded' AND consecutive_failures = 0)
                   FROM steward.jobs",
            )
    });
}

#[test]
fn a_long_exclusive_lock_on_the_parent_is_let_alone_and_the_retry_succeeds() {
    let cluster = fixtures::cluster().conf(LOCK_TIMEOUT).start().unwrap();
    let (database, mut client) = database(&cluster, false);
    let lost = drop_newest(&mut client, "bets");
    let elsewhere = drop_newest(&mut client, "wins");
    let (mut holder, mut reader) =
        (cluster.session(&database).unwrap(), cluster.session(&database).unwrap());
    holder.run("BEGIN; LOCK TABLE ONLY bets IN ACCESS EXCLUSIVE MODE");
    reader.start("SELECT count(*) FROM bets");
    reader.wait_until_blocked(SOON);
    make_due(&mut client);
    let waited = longest_wait(&mut client, HELD_LONG, holder.pid(), "AccessExclusiveLock", "bets");
    assert!(waited < BRIEFLY, "an executor waited {waited:?}");
    assert!(!reader.is_done(), "the lock did not keep a reader out");
    // Whoever waits, waits for the holder and not for us.
    let blockers: Vec<i32> =
        client.column(&format!("SELECT unnest(pg_blocking_pids({}))", reader.pid()));
    assert_eq!(blockers, [holder.pid()]);
    assert_failed_by_the_lock(&mut client, BRIEFLY);
    assert!(exists(&mut client, &elsewhere), "another set waited along");
    holder.run("ROLLBACK");
    reader.finish(SOON).unwrap();
    wait_for_recovery(&mut client, &lost);
}

#[test]
fn a_long_vacuum_like_lock_on_the_parent_fails_runs_but_keeps_no_writer_waiting() {
    let cluster = fixtures::cluster().conf(LOCK_TIMEOUT).start().unwrap();
    let (database, mut client) = database(&cluster, false);
    let lost = drop_newest(&mut client, "bets");
    let mut holder = cluster.session(&database).unwrap();
    holder.run("BEGIN; LOCK TABLE ONLY bets IN SHARE UPDATE EXCLUSIVE MODE");
    make_due(&mut client);
    let (waited, writes) = while_somebody_writes(&cluster, &database, || {
        longest_wait(&mut client, HELD, holder.pid(), "ShareUpdateExclusiveLock", "bets")
    });
    assert!(waited < BRIEFLY, "an executor waited {waited:?}");
    assert!(writes.slowest < BRIEFLY, "a writer waited {:?}", writes.slowest);
    assert!(writes.count > 50, "only {} writes", writes.count);
    // Three attempts with pauses of 400 and 800 ms at most between them.
    assert_failed_by_the_lock(&mut client, BRIEFLY * 3);
    assert!(!exists(&mut client, &lost));
    holder.run("ROLLBACK");
    wait_for_recovery(&mut client, &lost);
}

#[test]
fn writers_queued_behind_an_executor_are_let_through_after_lock_timeout() {
    let cluster = fixtures::cluster().conf(LOCK_TIMEOUT).start().unwrap();
    let (database, mut client) = database(&cluster, true);
    let lost = drop_newest(&mut client, "bets");
    let mut holder = cluster.session(&database).unwrap();
    // ATTACH wants ACCESS EXCLUSIVE on the default partition, and a long SELECT is in its way.
    holder.run("BEGIN; SELECT count(*) FROM bets_default");
    let (waited, writes) = while_somebody_writes(&cluster, &database, || {
        make_due(&mut client);
        longest_wait(&mut client, HELD, holder.pid(), "AccessShareLock", "bets_default")
    });
    assert!(waited < BRIEFLY, "an executor waited {waited:?}");
    assert!(
        writes.slowest > Duration::from_millis(150),
        "nobody was queued: the test shows nothing"
    );
    assert!(writes.slowest < BRIEFLY, "a writer waited {:?}", writes.slowest);
    assert_failed_by_the_lock(&mut client, BRIEFLY * 3);
    assert!(!exists(&mut client, &lost));
    holder.run("ROLLBACK");
    wait_for_recovery(&mut client, &lost);
}

struct Writes {
    count: usize,
    slowest: Duration,
}

/// One session inserts into `bets`, where its default partition takes it if there is one, until
/// `work` is done.
fn while_somebody_writes<T>(
    cluster: &Cluster,
    database: &str,
    work: impl FnOnce() -> T,
) -> (T, Writes) {
    let mut writer = cluster.connect(database).unwrap();
    let into_default: bool = writer.value("SELECT to_regclass('bets_default') IS NOT NULL");
    let at = if into_default { "'1999-01-01'" } else { "now()" };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writes = scope.spawn(|| {
            let mut writes = Writes { count: 0, slowest: Duration::ZERO };
            while !done.load(Ordering::Relaxed) {
                let started = Instant::now();
                writer.run(&format!("INSERT INTO bets VALUES ({at})"));
                writes.slowest = writes.slowest.max(started.elapsed());
                writes.count += 1;
            }
            writes
        });
        // Set also when `work` panics, or the scope would wait for the writer for ever.
        let _stop = Stop(&done);
        let outcome = work();
        done.store(true, Ordering::Relaxed);
        (outcome, writes.join().unwrap())
    })
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
