//! What the tests of unattended work share.

use std::time::Duration;

use pg_test::cluster::{Ask, Cluster, try_wait_for, wait_until};
use postgres::Client;

/// For what happens by itself, on a busy two-core machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A daily set `bets`, whose first unattended run has been.
pub(crate) fn settled_set(client: &mut Client) {
    client.run(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day')",
    );
    wait_until(SOON, "the first unattended run", || unattended_runs(client, "succeeded") == 1);
}

/// Runs that workers made, by status.
pub(crate) fn unattended_runs(client: &mut Client, status: &str) -> i64 {
    client.value(&format!(
        "SELECT count(*) FROM steward.job_runs WHERE scheduled_at IS NOT NULL AND status = '{status}'"
    ))
}

/// Drops the set's newest partition and gives its name: the next run makes it again. That comes with
/// [`make_due`], for which the job is paused until then, or with a CALL.
pub(crate) fn drop_newest(client: &mut Client, parent: &str) -> String {
    client.run(&format!(
        "UPDATE steward.job SET enabled = false, time_zone = 'drop_newest'
          WHERE target = '{parent}'::regclass AND enabled"
    ));
    lose_newest(client, parent)
}

/// The same, and the job is not paused: the workers, where there are any, make it again at once.
pub(crate) fn lose_newest(client: &mut Client, parent: &str) -> String {
    let newest: String = client.value(&format!(
        "SELECT partition::text FROM steward.partitions
          WHERE parent = '{parent}'::regclass AND NOT is_default ORDER BY lower_bound DESC LIMIT 1"
    ));
    client.run(&format!("DROP TABLE {newest}"));
    newest
}

/// Makes every job due, and tells nobody.
pub(crate) fn make_due_in_silence(client: &mut Client) {
    client.run("UPDATE steward.job SET enabled = true, time_zone = NULL, next_run_at = now()");
}

/// Makes every job due, but those that a test has paused, and tells the workers.
pub(crate) fn make_due(client: &mut Client) {
    client.run(
        "UPDATE steward.job SET enabled = true, time_zone = NULL WHERE time_zone = 'drop_newest';
         UPDATE steward.job SET next_run_at = now(), consecutive_failures = 0;
         SELECT steward.wake_at_commit()",
    );
}

/// Whether a relation is there.
pub(crate) fn exists(client: &mut Client, relation: &str) -> bool {
    client.value(&format!("SELECT to_regclass('{relation}') IS NOT NULL"))
}

/// A set whose steps sleep while the brake is on: its CHECK calls a function that the server
/// evaluates when a partition is attached (ConstraintImpliedByRelConstraint, tablecmds.c).
pub(crate) fn set_with_brake(client: &mut Client) {
    client.run(
        "CREATE TABLE public.brake (is_on boolean); INSERT INTO public.brake VALUES (false);
         CREATE FUNCTION public.rolls(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF (SELECT b.is_on FROM public.brake b) THEN PERFORM pg_catalog.pg_sleep(600); END IF;
             RETURN true;
         END $$;
         CREATE TABLE bets (at timestamptz NOT NULL, CHECK (public.rolls(1))) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day')",
    );
    wait_until(SOON, "the first unattended run", || unattended_runs(client, "succeeded") == 1);
}

/// Puts the brake on, gives the set something to do, and returns the executor that hangs in it.
pub(crate) fn stuck_executor(cluster: &Cluster, client: &mut Client) -> i32 {
    drop_newest(client, "bets");
    client.run("UPDATE public.brake SET is_on = true");
    make_due(client);
    let database: String = client.value("SELECT current_database()");
    try_wait_for(SOON, "an executor is in the middle of a step", || {
        let mut watcher = cluster.connect("postgres")?;
        let found = watcher.query_opt(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_steward executor'
                AND datname = $1 AND wait_event = 'PgSleep'",
            &[&database],
        )?;
        Ok(found.map(|row| row.get(0)))
    })
    .unwrap()
}

/// Lets the set's steps through again.
pub(crate) fn release_brake(client: &mut Client) {
    client.run("UPDATE public.brake SET is_on = false");
}

/// Sends a signal to a process of a test server.
pub(crate) fn signal(name: &str, pid: i32) {
    pg_test::cluster::signal(name.trim_start_matches('-'), pid.try_into().unwrap()).unwrap();
}
