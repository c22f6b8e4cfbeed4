//! What the tests of shared places have in common: two owners, of whom one is hostile, and a watch on
//! whether the other's 10-second partitions are made in time.

use std::thread;
use std::time::{Duration, Instant};

use pg_test::cluster::{Ask, Cluster, sqlstate, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_support::SOON;

/// How long an attack lasts: with a set of 10 seconds and one period ahead, what was there at its
/// beginning is used up after 20 s.
pub(crate) fn attack_time() -> Duration {
    let thorough = std::env::var_os("PG_STEWARD_THOROUGH").is_some();
    Duration::from_secs(if thorough { 600 } else { 40 })
}

/// Two roles, and their schemas in a database with the extension.
pub(crate) fn world(conf: &str) -> (Cluster, String, Client) {
    let cluster = fixtures::cluster().conf(conf).start().unwrap();
    let mut client = cluster.connect("postgres").unwrap();
    client.run("CREATE ROLE mallory LOGIN; CREATE ROLE victim LOGIN");
    let (name, client) = database(&cluster);
    (cluster, name, client)
}

/// Another database of a cluster that has the roles.
pub(crate) fn database(cluster: &Cluster) -> (String, Client) {
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run(
        "CREATE SCHEMA mallory AUTHORIZATION mallory; CREATE SCHEMA victim AUTHORIZATION victim",
    );
    (name, client)
}

/// Has workers work, from now on.
pub(crate) fn let_workers_in(cluster: &Cluster) {
    cluster.add_conf("pg_steward.enabled = on").unwrap();
    cluster.reload().unwrap();
}

/// Makes `beats`, a set of 10 seconds with one period ahead, and returns when workers have looked at it.
pub(crate) fn beats(client: &mut Client, owner: &str) {
    client.run(&format!(
        "SET ROLE {owner};
         CREATE TABLE {owner}.beats (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('{owner}.beats', '10 seconds', premake => 1); RESET ROLE"
    ));
    wait_until(SOON, "the first unattended run", || {
        client.value(&format!(
            "SELECT count(*) > 0 FROM steward.job_runs WHERE target = '{owner}.beats'::regclass
                AND scheduled_at IS NOT NULL AND status = 'succeeded'"
        ))
    });
}

/// mallory's daily set with past days, and a function for retention that takes for ever.
pub(crate) fn endless(client: &mut Client, set: &str, arguments: &str) {
    client.run(&format!(
        "SET ROLE mallory;
         CREATE OR REPLACE FUNCTION mallory.endless(gone regclass) RETURNS boolean LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(3600); RETURN true; END $$;
         CREATE TABLE mallory.{set} (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('mallory.{set}', '1 day', premake => 1, time_zone => 'UTC',
                                     start_at => (now() - interval '4 days')::text {arguments});
         RESET ROLE"
    ));
}

/// Has retention call that function, from now on.
pub(crate) fn retain(client: &mut Client, set: &str) {
    client.run(&format!(
        "SET ROLE mallory;
         SELECT steward.set_retention('mallory.{set}', '1 day',
                                      archive_function => 'mallory.endless(regclass)');
         RESET ROLE"
    ));
}

/// The executors in which such a function is sleeping.
pub(crate) const SLEEPING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE backend_type = 'pg_steward executor' AND wait_event = 'PgSleep'";

/// Two hundred sets of integers of mallory's, each looked at every minute and before everybody else's.
pub(crate) fn two_hundred_sets(client: &mut Client) {
    client.run("SET ROLE mallory");
    for number in 1..=200 {
        client.run(&format!(
            "CREATE TABLE mallory.s{number} (k bigint NOT NULL) PARTITION BY RANGE (k);
             SELECT steward.manage_range('mallory.s{number}', '1000', premake => 1)"
        ));
    }
    client.run(
        "RESET ROLE;
         SELECT steward.alter_job(job_id, priority => 100) FROM steward.jobs
          WHERE target::text LIKE 'mallory.s%'",
    );
}

/// Locks them all.
pub(crate) fn lock_them() -> String {
    let each = (1..=200).map(|number| format!("mallory.s{number}")).collect::<Vec<_>>().join(", ");
    format!("BEGIN; LOCK TABLE {each} IN ACCESS EXCLUSIVE MODE")
}

/// Inserts into each `(connection, set)` four times a second for so long, and looks around meanwhile.
/// No insert may fail.
#[track_caller]
pub(crate) fn no_insert_fails(
    sets: &mut [(&mut Client, &str)],
    time: Duration,
    mut look_around: impl FnMut(),
) {
    let started = Instant::now();
    let (mut inserts, mut failed) = (0, Vec::new());
    while started.elapsed() < time {
        for (client, set) in sets.iter_mut() {
            inserts += 1;
            let sql = format!("INSERT INTO {set} VALUES (clock_timestamp())");
            if let Err(error) = client.batch_execute(&sql) {
                failed.push(format!("{set} after {:?}: {}", started.elapsed(), sqlstate(&error)));
            }
        }
        look_around();
        thread::sleep(Duration::from_millis(250)); // as often as that, not until something
    }
    assert!(
        failed.is_empty(),
        "{} of {inserts} inserts failed, the first: {}, the last: {}",
        failed.len(),
        failed[0],
        failed[failed.len() - 1]
    );
}
