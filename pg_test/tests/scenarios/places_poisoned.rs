//! A job's `max_runtime`: what may be asked for, what is usual, and a row that holds what it must not.

use pg_test::cluster::{Ask, wait_until};

use crate::places_support::{
    SLEEPING, attack_time, beats, endless, no_insert_fails, retain, world,
};
use crate::range_support::Database;
use crate::unattended_support::SOON;

/// Somebody with the right to has taken away what keeps the table in order.
pub(crate) const FORGET_CHECKS: &str = "DO $$
DECLARE forgotten name;
BEGIN
    FOR forgotten IN SELECT conname FROM pg_constraint
                      WHERE conrelid = 'steward.job'::regclass AND contype = 'c' LOOP
        EXECUTE format('ALTER TABLE steward.job DROP CONSTRAINT %I', forgotten);
    END LOOP;
END $$";

#[test]
fn more_time_than_a_timestamp_holds_is_refused() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('t', '1 day')",
    );
    let before: Option<String> = db.client.value("SELECT max_runtime::text FROM steward.jobs");
    for time in ["106750000 days", "2147483647 days", "178956970 years", "25 days", "-1 second"] {
        let refusal = db.client.refused(
            "22023",
            &format!("SELECT steward.alter_job(job_id, max_runtime => '{time}') FROM steward.jobs"),
        );
        assert!(refusal.message().contains("max_runtime"), "{time}: {refusal}");
        assert!(refusal.hint().is_some(), "{time}: {refusal}");
        let after: Option<String> = db.client.value("SELECT max_runtime::text FROM steward.jobs");
        assert_eq!(after, before, "{time}");
    }
    // What somebody may well want is taken, and so is none at all.
    for (time, kept) in [("24 days", Some("24 days")), ("0", None)] {
        db.client.run(&format!(
            "SELECT steward.alter_job(job_id, max_runtime => '{time}') FROM steward.jobs"
        ));
        let same: Option<bool> = db.client.value(&format!(
            "SELECT max_runtime = '{}'::interval FROM steward.jobs",
            kept.unwrap_or("0")
        ));
        assert_eq!(same, kept.map(|_| true), "{time}");
    }
}

#[test]
fn a_new_job_may_run_for_a_day() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('t', '1 day');
         CREATE TABLE h (n int) PARTITION BY HASH (n);
         SELECT steward.manage_hash('h', 2)",
    );
    let usual: Vec<Option<String>> = db.client.column("SELECT max_runtime::text FROM steward.jobs");
    assert_eq!(usual, vec![Some("1 day".to_owned()); 2]);
}

#[test]
fn a_row_that_cannot_be_reckoned_with_stops_that_job_alone() {
    let (_cluster, _, mut client) = world("pg_steward.retention_pause = 0");
    beats(&mut client, "victim");
    endless(&mut client, "slow", "");
    endless(&mut client, "idle", "");
    retain(&mut client, "slow");
    wait_until(SOON, "her function hangs", || client.value::<i64>(SLEEPING) == 1);
    client.run(FORGET_CHECKS);
    // One that is running, and one that is looked at when it is due.
    client.run(
        "UPDATE steward.job SET max_runtime = '106750000 days' WHERE target = 'mallory.slow'::regclass;
         UPDATE steward.job SET max_runtime = '2147483647 days', next_run_at = now()
          WHERE target = 'mallory.idle'::regclass;
         SELECT steward.wake_at_commit()",
    );
    no_insert_fails(&mut [(&mut client, "victim.beats")], attack_time(), || {});
    let poisoned: i64 =
        client.value("SELECT count(*) FROM steward.job WHERE max_runtime > '100000000 days'");
    assert_eq!(poisoned, 2, "the rows did not stay as they were");
    // The view shows them, and the others.
    assert_eq!(client.value::<i64>("SELECT count(*) FROM steward.jobs"), 3);
}
