//! While an archive function runs, in a worker or in a session, nothing of the extension's own is locked.

use pg_test::cluster::{Ask, describe, wait_until};
use postgres::Client;

use crate::places_support::{SLEEPING, endless, retain, world};
use crate::unattended_support::SOON;

/// Relations of ours that a process has locked.
fn locked(client: &mut Client, pid: i32) -> Vec<String> {
    client.column(&format!(
        "SELECT format('%s of %s in %s', l.mode, c.relname, a.backend_type)
           FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a USING (pid)
          WHERE l.pid = {pid} AND c.relnamespace = 'steward'::regnamespace
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ))
}

#[test]
fn drop_extension_and_the_views_wait_for_no_archive_function() {
    let (cluster, name, mut client) = world("pg_steward.retention_pause = 0");
    // One in a worker; one in the session of who calls, which has a default partition.
    endless(&mut client, "worked", "");
    retain(&mut client, "worked");
    wait_until(SOON, "a worker is in her function", || client.value::<i64>(SLEEPING) == 1);
    endless(&mut client, "called", ", default_partition => true");
    client.run(
        "SELECT steward.pause_job(job_id, true) FROM steward.jobs WHERE target = 'mallory.called'::regclass",
    );
    retain(&mut client, "called");
    let mut caller = cluster.session_as(&name, "mallory").unwrap();
    caller.start("CALL steward.maintain('mallory.called')");
    let sleeps = "SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_until(SOON, "a session is in her function, too", || client.value(sleeps));
    let pids: Vec<i32> =
        client.column("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    assert!(pids.contains(&caller.pid()), "{pids:?}");

    let mut failures: Vec<String> = Vec::new();
    for pid in pids {
        failures.extend(locked(&mut client, pid));
    }
    // Somebody drops the extension; in the end for good. Who reads a view meanwhile waits for no more than
    // that transaction, which waits for nobody.
    let mut reader = cluster.connect(&name).unwrap();
    reader.run("SET statement_timeout = '2s'");
    let views: Vec<String> = client.column(
        "SELECT oid::regclass::text FROM pg_class
          WHERE relnamespace = 'steward'::regnamespace AND relkind = 'v' ORDER BY 1",
    );
    assert!(views.len() >= 6, "{views:?}");
    let mut dropper = cluster.session(&name).unwrap();
    for end in ["ROLLBACK", "COMMIT"] {
        for view in &views {
            if let Err(error) = reader.batch_execute(&format!("SELECT * FROM {view}")) {
                failures.push(format!("{view}: {}", describe(&error)));
            }
        }
        dropper.run("BEGIN; SET LOCAL lock_timeout = '5s'");
        dropper.start("DROP EXTENSION pg_steward");
        match dropper.finish(SOON) {
            Ok(_) => drop(dropper.run(end)),
            Err(error) => {
                failures.push(format!("DROP EXTENSION: {}", describe(&error)));
                dropper.run("ROLLBACK");
            }
        }
    }
    assert!(client.value::<bool>(sleeps), "the functions did not run all along");
    assert!(failures.is_empty(), "{failures:#?}");
    let left: i64 = client.value("SELECT count(*) FROM pg_extension WHERE extname = 'pg_steward'");
    assert_eq!(left, 0);
}
