//! Whose turn it is: owners take turns, a priority counts among one's own, and a set that is locked is let
//! alone for longer each time.

use pg_test::cluster::{Ask, wait_until};

use crate::places_support::{database, let_workers_in, world};
use crate::unattended_support::{SOON, exists, lose_newest};

#[test]
fn a_locked_set_is_let_alone_for_longer_each_time() {
    let (cluster, name, mut client) =
        world("pg_steward.enabled = off\npg_steward.lock_timeout = '300ms'");
    for set in ["shared", "closed"] {
        client.run(&format!(
            "SET ROLE mallory;
             CREATE TABLE mallory.{set} (k bigint NOT NULL) PARTITION BY RANGE (k);
             SELECT steward.manage_range('mallory.{set}', '1000', premake => 1); RESET ROLE"
        ));
        // So that there is something to be attached.
        lose_newest(&mut client, &format!("mallory.{set}"));
    }
    let mut holder = cluster.session_as(&name, "mallory").unwrap();
    // The one can be looked at, but nothing attached; the other cannot even be looked at.
    holder.run(
        "BEGIN; LOCK TABLE ONLY mallory.shared IN SHARE MODE;
         LOCK TABLE ONLY mallory.closed IN ACCESS EXCLUSIVE MODE",
    );
    client.run("UPDATE steward.job SET consecutive_failures = 8, next_run_at = now()");
    let_workers_in(&cluster);
    wait_until(SOON, "both have failed once more", || {
        client.value(
            "SELECT count(*) = 2 FROM steward.jobs
              WHERE NOT running AND last_sqlstate = '55P03' AND last_status IS NOT NULL",
        )
    });
    // 9 in a row: 512 s, less up to a quarter. A set of integers is looked at every minute otherwise.
    let early: Vec<String> = client.column(
        "SELECT format('%s: %s failures, again after %s', target, consecutive_failures, next_run_at - now())
           FROM steward.jobs
          WHERE consecutive_failures <> 9 OR next_run_at <= now() + interval '100 seconds'",
    );
    assert!(early.is_empty(), "{early:#?}");
    let locks: i64 = client.value(&format!(
        "SELECT count(*) FROM pg_locks WHERE pid = {} AND granted AND locktype = 'relation'
            AND relation IN ('mallory.shared'::regclass, 'mallory.closed'::regclass)
            AND mode IN ('ShareLock', 'AccessExclusiveLock')",
        holder.pid()
    ));
    assert_eq!(locks, 2, "they were not locked all along");
}

#[test]
fn priority_counts_among_ones_own_sets_only() {
    let (cluster, _, mut client) =
        world("pg_steward.enabled = off\npg_steward.max_concurrent_jobs = 1");
    for (owner, sets) in [("mallory", 8), ("victim", 3)] {
        client.run(&format!("SET ROLE {owner}"));
        for number in 1..=sets {
            client.run(&format!(
                "CREATE TABLE {owner}.s{number} (at timestamptz NOT NULL) PARTITION BY RANGE (at);
                 SELECT steward.manage_range('{owner}.s{number}', '1 day')"
            ));
        }
        client.run("RESET ROLE");
    }
    // Those made last are the most urgent of hers; victim's are what they are by default.
    client.run(
        "SELECT steward.alter_job(job_id, priority => CASE WHEN target::text ~ '[5-8]$' THEN 100 ELSE 50 END)
           FROM steward.jobs WHERE owner = 'mallory'::regrole;
         UPDATE steward.job SET next_run_at = now() - interval '1 minute'",
    );
    assert_eq!(client.value::<i64>("SELECT count(*) FROM steward.job_run"), 0);
    let_workers_in(&cluster);
    wait_until(SOON, "every set has had its turn", || {
        client.value(
            "SELECT count(*) = 11 FROM steward.jobs WHERE last_status = 'succeeded' AND NOT running",
        )
    });
    let order: Vec<String> = client
        .column("SELECT target_name FROM steward.job_runs ORDER BY started_at, run_id LIMIT 11");
    let first = |owner: &str| order.iter().position(|name| name.starts_with(owner)).unwrap();
    // Each has a worker at once; hers may be ahead by what another process takes to start.
    assert!(first("victim") < 6, "mallory goes before: {order:?}");
    assert!(first("mallory") < 6, "mallory does not come at all: {order:?}");
    // Her own are in the order that she has asked for.
    let is_urgent = |name: &&String| name.ends_with(['5', '6', '7', '8']);
    let hers: Vec<&String> = order.iter().filter(|name| name.starts_with("mallory")).collect();
    assert_eq!(hers.len(), 8, "{order:?}");
    assert!(hers[..4].iter().all(is_urgent) && !hers[4..].iter().any(is_urgent), "{order:?}");
}

#[test]
fn databases_take_turns_at_the_places_of_an_owner() {
    let (cluster, name, mut long) = world(
        "pg_steward.enabled = off\npg_steward.max_concurrent_jobs = 1\npg_steward.lock_timeout = '500ms'",
    );
    let (_, mut short) = database(&cluster);
    // Forty jobs that wait for a lock, three times each, and one that somebody waits for.
    let sets: Vec<String> = (1..=40).map(|number| format!("mallory.s{number}")).collect();
    for set in &sets {
        long.run(&format!(
            "SET ROLE mallory; CREATE TABLE {set} (at timestamptz NOT NULL) PARTITION BY RANGE (at);
             SELECT steward.manage_range('{set}', '1 day'); RESET ROLE"
        ));
        lose_newest(&mut long, set);
    }
    short.run(
        "SET ROLE mallory;
         CREATE TABLE mallory.short (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('mallory.short', '1 day'); RESET ROLE",
    );
    let lost = lose_newest(&mut short, "mallory.short");
    let mut holder = cluster.session_as(&name, "mallory").unwrap();
    holder.run(&format!("BEGIN; LOCK TABLE ONLY {} IN SHARE MODE", sets.join(", ONLY ")));
    long.run("UPDATE steward.job SET next_run_at = now() - interval '1 minute'");
    short.run("UPDATE steward.job SET next_run_at = now() + interval '1 hour'");
    let_workers_in(&cluster);
    let tried = "SELECT count(DISTINCT job_id) FROM steward.job_runs WHERE status = 'failed'";
    wait_until(SOON, "the long work has begun", || long.value::<i64>(tried) > 0);
    short.run(
        "UPDATE steward.job SET next_run_at = now() - interval '1 second'; SELECT steward.wake_at_commit()",
    );
    wait_until(SOON, "its turn comes", || exists(&mut short, &lost));
    let tried: i64 = long.value(tried);
    assert!(tried < 40, "it came last");
}
