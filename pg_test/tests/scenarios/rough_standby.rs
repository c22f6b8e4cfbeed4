//! The old primary comes back as a standby of the new one.

use pg_test::cluster::{Ask, Cluster, StopMode, try_wait_for, wait_until};
use pg_test::fixtures;
use pg_test::setup::privilege::as_server_account;

use crate::unattended_support::SOON;

/// Workers of ours that the postmaster started, by its own log.
fn workers_started(cluster: &Cluster) -> usize {
    cluster.log_count("starting background worker process \"pg_steward scheduler")
        + cluster.log_count("starting background worker process \"pg_steward executor")
}

/// Makes the stopped `old` a standby of the running `new`.
fn rewind(old: &Cluster, new: &Cluster) {
    // Before 16 pg_rewind reads the source's timeline from its last checkpoint, and that one may be of
    // before the promotion: then it finds nothing to do (documentation, pg_rewind, "How It Works").
    new.connect("postgres").unwrap().run("CHECKPOINT");
    let source = format!("host={} user=postgres dbname=postgres", new.socket_dir().display());
    let output = as_server_account(old.installation().program("pg_rewind"))
        .args(["--no-sync", "--write-recovery-conf", "--source-server", &source, "--target-pgdata"])
        .arg(old.data_dir())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && !said.contains("no rewind required"), "{said}");
    // pg_rewind brings the other one's configuration too.
    old.add_conf(&format!(
        "unix_socket_directories = '{}'\ncluster_name = 'rejoined'",
        old.socket_dir().display()
    ))
    .unwrap();
}

#[test]
fn an_old_primary_that_rejoins_as_a_standby_stays_quiet() {
    let old = fixtures::cluster()
        .conf("log_min_messages = 'debug1'\nwal_log_hints = on\nwal_keep_size = '256MB'")
        .start()
        .unwrap();
    let mut client = old.connect("postgres").unwrap();
    client.run(
        "CREATE EXTENSION pg_steward;
         CREATE TABLE clicks (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('clicks', '2 seconds')",
    );
    let runs = "SELECT count(*) FROM steward.job_runs WHERE status = 'succeeded'";
    wait_until(SOON, "the old primary works", || client.value::<i64>(runs) >= 2);
    let new = old.standby().unwrap();
    old.wait_for_replay(&new).unwrap();
    assert!(workers_started(&old) > 0, "the log does not show workers: the test shows nothing");
    new.promote().unwrap();
    // Both are primaries now, and the old one's work must not survive. Then it loses its power.
    let before: i64 = client.value(runs);
    wait_until(SOON, "the old primary has worked on", || client.value::<i64>(runs) > before);
    old.stop(StopMode::Immediate).unwrap();
    rewind(&old, &new);

    let started_before = workers_started(&old);
    let errors_before = old.log_count("ERROR:") + old.log_count("FATAL:");
    old.start().unwrap();
    let mut reader =
        try_wait_for(SOON, "the old primary takes readers", || old.connect("postgres").map(Some))
            .unwrap();
    let node: String = reader.value("SELECT format('%s %s', role, in_recovery) FROM steward.node");
    assert_eq!(node, "standby t");
    let mut writer = new.connect("postgres").unwrap();
    let before: i64 = writer.value(runs);
    wait_until(SOON, "the new primary works, and the old one shows it", || {
        reader.value::<i64>(runs) >= before + 3
    });
    // Work has fallen due three times before its eyes.
    let status: String =
        reader.value("SELECT format('%s %s', launcher_running, message) FROM steward.status");
    assert!(status.starts_with("t standby"), "{status}");
    assert_eq!(workers_started(&old), started_before, "a worker was started on a standby");
    assert_eq!(
        old.log_count("ERROR:") + old.log_count("FATAL:"),
        errors_before,
        "{}",
        old.log_tail(20)
    );
}
