//! One owner takes up what all share: functions that take for ever, sets that are locked, a job whose row
//! cannot be read. The others' partitions are made in time all the same.

use std::time::Instant;

use pg_test::cluster::{Ask, Cluster, Session, describe, sqlstate, wait_until};
use postgres::Client;

use crate::places_poisoned::FORGET_CHECKS;
use crate::places_support::{
    SLEEPING, attack_time, beats, database, endless, lock_them, no_insert_fails, retain,
    two_hundred_sets, world,
};
use crate::unattended_support::{SOON, make_due};

/// Room for six errands, too: that there are fewer is not for want of processes.
const FOUR: &str =
    "pg_steward.max_concurrent_jobs = 4\nmax_worker_processes = 32\npg_steward.retention_pause = 0";

/// Six sessions of mallory's, each of which waits for a worker of its own: that takes a partition out of a
/// set, CONCURRENTLY, and then calls a function that takes for ever. The sets' own jobs are paused.
fn six_errands(cluster: &Cluster, name: &str, client: &mut Client) -> Vec<Session> {
    let sets: Vec<String> = (1..=6).map(|number| format!("errand_{number}")).collect();
    for set in &sets {
        endless(client, set, "");
        client.run(&format!(
            "SELECT steward.pause_job(job_id) FROM steward.jobs WHERE target = 'mallory.{set}'::regclass"
        ));
        retain(client, set);
    }
    let call = |set: &String| {
        let mut session = cluster.session_as(name, "mallory").unwrap();
        session.start(&format!("CALL steward.maintain('mallory.{set}')"));
        session
    };
    sets.iter().map(call).collect()
}

#[test]
fn functions_that_take_for_ever_do_not_keep_partitions_from_being_made() {
    let (cluster, name, mut client) = world(FOUR);
    let (_, mut elsewhere) = database(&cluster);
    beats(&mut client, "victim");
    beats(&mut client, "mallory");
    beats(&mut elsewhere, "victim");
    (1..=4).for_each(|number| endless(&mut client, &format!("endless_{number}"), ""));
    (1..=4).for_each(|number| retain(&mut client, &format!("endless_{number}")));
    wait_until(SOON, "a function hangs", || client.value::<i64>(SLEEPING) > 0);
    let _callers = six_errands(&cluster, &name, &mut client);

    let mut watcher = cluster.connect("postgres").unwrap();
    let mut fewest_asleep = i64::MAX;
    no_insert_fails(
        &mut [
            (&mut client, "victim.beats"),
            (&mut elsewhere, "victim.beats"),
            (&mut cluster.connect(&name).unwrap(), "mallory.beats"),
        ],
        attack_time(),
        || fewest_asleep = fewest_asleep.min(watcher.value(SLEEPING)),
    );
    assert!(fewest_asleep > 0, "nothing hung all along: the test shows nothing");
}

#[test]
fn errands_count_among_the_jobs_that_may_run_at_once() {
    let (cluster, name, mut client) = world(FOUR);
    (1..=4).for_each(|number| endless(&mut client, &format!("endless_{number}"), ""));
    (1..=4).for_each(|number| retain(&mut client, &format!("endless_{number}")));
    wait_until(SOON, "a function hangs", || client.value::<i64>(SLEEPING) > 0);
    let mut callers = six_errands(&cluster, &name, &mut client);
    let started = Instant::now();
    let mut most = 0;
    // Those that are let in are so at once; nobody tells when no more will be.
    wait_until(SOON, "it was looked at for long", || {
        let executors: i64 = client.value(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_steward executor'",
        );
        most = most.max(executors);
        started.elapsed() > attack_time() / 4
    });
    assert!(most <= 4 + 1, "{most} executors at once, of 4 allowed and one");
    for session in &mut callers {
        // Those that are not done have a worker, or wait for one.
        if session.is_done() {
            let error = session.finish(SOON).unwrap_err();
            assert_eq!(sqlstate(&error), "53400", "{}", describe(&error));
            assert!(error.as_db_error().unwrap().hint().is_some(), "{}", describe(&error));
        }
    }
    assert!(client.value::<i64>(SLEEPING) > 0, "nothing hung all along: the test shows nothing");
}

fn settled_two_hundred(client: &mut Client) {
    two_hundred_sets(client);
    wait_until(SOON * 4, "all of mallory's sets have had their run", || {
        client.value(
            "SELECT count(*) = 200 FROM steward.jobs WHERE priority = 100 AND last_status = 'succeeded'",
        )
    });
}

#[test]
fn locked_sets_do_not_keep_partitions_from_being_made() {
    let (cluster, name, mut client) =
        world("max_worker_processes = 32\nmax_locks_per_transaction = 512");
    settled_two_hundred(&mut client);
    beats(&mut client, "victim");
    let mut holder = cluster.session_as(&name, "mallory").unwrap();
    holder.run(&lock_them());
    let mut reader = cluster.session(&name).unwrap();
    reader.start("SELECT count(*) FROM mallory.s200");
    reader.wait_until_blocked(SOON);
    make_due(&mut client);
    no_insert_fails(&mut [(&mut client, "victim.beats")], attack_time(), || {});
    assert!(!reader.is_done(), "the sets were not locked all along");
    let tried: i64 = client.value(
        "SELECT count(*) FROM steward.jobs WHERE priority = 100 AND consecutive_failures > 0",
    );
    assert!(tried > 0, "nobody tried a locked set: the test shows nothing");
}

#[test]
fn all_of_it_at_once() {
    let (cluster, name, mut client) = world(&format!("{FOUR}\nmax_locks_per_transaction = 512"));
    let (_, mut elsewhere) = database(&cluster);
    beats(&mut client, "victim");
    beats(&mut elsewhere, "victim");
    settled_two_hundred(&mut client);
    let mut holder = cluster.session_as(&name, "mallory").unwrap();
    holder.run(&lock_them());
    endless(&mut client, "poisoned", "");
    client.run(FORGET_CHECKS);
    client.run(
        "UPDATE steward.job SET max_runtime = '106750000 days' WHERE target = 'mallory.poisoned'::regclass",
    );
    retain(&mut client, "poisoned");
    (1..=4).for_each(|number| endless(&mut client, &format!("endless_{number}"), ""));
    (1..=4).for_each(|number| retain(&mut client, &format!("endless_{number}")));
    wait_until(SOON, "a function hangs", || client.value::<i64>(SLEEPING) > 0);
    make_due(&mut client);
    let mut asleep = cluster.connect("postgres").unwrap();
    let mut fewest_asleep = i64::MAX;
    no_insert_fails(
        &mut [(&mut client, "victim.beats"), (&mut elsewhere, "victim.beats")],
        attack_time(),
        || fewest_asleep = fewest_asleep.min(asleep.value(SLEEPING)),
    );
    assert!(fewest_asleep > 0, "nothing hung all along: the test shows nothing");
    let held: i64 = client.value(&format!(
        "SELECT count(DISTINCT relation) FROM pg_locks WHERE pid = {} AND granted
            AND mode = 'AccessExclusiveLock' AND locktype = 'relation'",
        holder.pid()
    ));
    assert!(held >= 200, "{held} were locked to the end");
}
