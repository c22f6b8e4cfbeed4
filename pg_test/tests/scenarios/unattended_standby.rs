//! Standbys, promotion, and what a node says it is.

use std::time::Duration;

use pg_test::cluster::{Ask, Cluster, StopMode, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{
    SOON, drop_newest, exists, make_due_in_silence, release_brake, set_with_brake, settled_set,
    stuck_executor, unattended_runs,
};

/// The contract's "takes over within 5 seconds".
const TAKEN_OVER: Duration = Duration::from_secs(5);

fn role(cluster: &Cluster) -> String {
    cluster.connect("postgres").unwrap().value("SELECT role FROM steward.node")
}

#[test]
fn a_standby_shows_everything_changes_nothing_and_works_once_promoted() {
    let primary = fixtures::cluster().start().unwrap();
    let mut client = primary.connect("postgres").unwrap();
    client.run("CREATE EXTENSION pg_steward");
    settled_set(&mut client);
    let job: i64 = client.value("SELECT job_id FROM steward.jobs");
    let standby = primary.standby().unwrap();
    // Due, but not on the primary, which is switched off.
    primary.add_conf("pg_steward.enabled = off").unwrap();
    primary.reload().unwrap();
    wait_until(SOON, "the primary's scheduler has left", || {
        primary.pids("pg_steward scheduler").unwrap().is_empty()
    });
    let lost = drop_newest(&mut client, "bets");
    make_due_in_silence(&mut client);
    primary.wait_for_replay(&standby).unwrap();

    let mut reader = standby.connect("postgres").unwrap();
    for view in ["jobs", "job_runs", "partition_sets", "partitions"] {
        let rows = format!("SELECT v::text FROM steward.{view} v ORDER BY 1");
        assert_eq!(reader.column::<String>(&rows), client.column::<String>(&rows), "{view}");
    }
    assert_eq!(
        reader.column::<String>("SELECT sql FROM steward.plan()"),
        client.column::<String>("SELECT sql FROM steward.plan()")
    );
    wait_until(SOON, "its launcher is there", || {
        reader.value("SELECT launcher_running FROM steward.status")
    });
    let status: String =
        reader.value("SELECT format('%s %s', preloaded, message) FROM steward.status");
    assert!(status.starts_with("t standby"), "{status}");
    for call in [
        "SELECT steward.manage_range('bets')".to_owned(),
        "SELECT steward.alter_range('bets', premake => 4)".to_owned(),
        "SELECT steward.unmanage('bets')".to_owned(),
        "CALL steward.maintain('bets')".to_owned(),
        "CALL steward.maintain()".to_owned(),
        format!("CALL steward.run_job({job})"),
        format!("SELECT steward.pause_job({job}, true)"),
        format!("SELECT steward.resume_job({job})"),
    ] {
        let refusal = reader.refused("55000", &call);
        assert!(refusal.message().contains("on a standby"), "{call}: {refusal}");
        assert_eq!(refusal.hint(), Some("Call it on the primary."), "{call}");
    }
    assert!(standby.pids("pg_steward scheduler").unwrap().is_empty());
    assert!(standby.pids("pg_steward executor").unwrap().is_empty());

    primary.stop(StopMode::Immediate).unwrap();
    standby.promote().unwrap();
    wait_until(TAKEN_OVER, "the new primary works", || exists(&mut reader, &lost));
    assert_eq!(role(&standby), "primary");
    assert_eq!(reader.value::<i32>("SELECT timeline FROM steward.node"), 2);
    assert_eq!(reader.value::<String>("SELECT message FROM steward.status"), "ok");
}

#[test]
fn a_run_that_the_old_primary_left_open_is_closed_as_crashed_after_the_promotion() {
    let primary = fixtures::cluster().start().unwrap();
    let mut client = primary.connect("postgres").unwrap();
    client.run("CREATE EXTENSION pg_steward");
    set_with_brake(&mut client);
    let standby = primary.standby().unwrap();
    stuck_executor(&primary, &mut client);
    primary.wait_for_replay(&standby).unwrap();
    let mut reader = standby.connect("postgres").unwrap();
    assert_eq!(unattended_runs(&mut reader, "running"), 1, "the standby does not see the run");
    primary.stop(StopMode::Immediate).unwrap();
    standby.promote().unwrap();
    release_brake(&mut reader);
    wait_until(TAKEN_OVER, "the open run is closed", || {
        unattended_runs(&mut reader, "crashed") == 1
    });
    wait_until(SOON, "the work is done", || unattended_runs(&mut reader, "succeeded") == 2);
    assert!(reader.value::<bool>(
        "SELECT error_message IS NOT NULL AND finished_at IS NOT NULL
           FROM steward.job_runs WHERE status = 'crashed'"
    ));
}

#[test]
fn a_node_says_what_it_is() {
    let primary = fixtures::cluster().start().unwrap();
    primary.connect("postgres").unwrap().run("CREATE EXTENSION pg_steward");
    let middle = primary.standby_named("middle", "").unwrap();
    primary.wait_for_replay(&middle).unwrap();
    assert_eq!((role(&primary), role(&middle)), ("primary".into(), "standby".into()));
    let last = middle.standby_named("last", "").unwrap();
    wait_until(SOON, "the last one streams from the middle", || {
        middle.connect("postgres").unwrap().value("SELECT count(*) > 0 FROM pg_stat_replication")
    });
    primary.wait_for_replay(&last).unwrap();
    assert_eq!(role(&middle), "cascading standby");
    assert_eq!(role(&last), "standby");
    for (cluster, in_recovery) in [(&primary, false), (&middle, true), (&last, true)] {
        let mut client = cluster.connect("postgres").unwrap();
        assert!(client.value::<bool>(&format!(
            "SELECT count(*) = 1 AND bool_and(in_recovery = {in_recovery} AND timeline = 1
                    AND started_at = pg_postmaster_start_time()
                    AND wal_level = current_setting('wal_level') AND archive_mode = 'off'
                    AND server_version = current_setting('server_version'))
               FROM steward.node"
        )));
    }
    // Read by anybody.
    primary.connect("postgres").unwrap().run("CREATE ROLE nobody LOGIN");
    primary.wait_for_replay(&last).unwrap();
    for (cluster, role) in
        [(&primary, "primary"), (&middle, "cascading standby"), (&last, "standby")]
    {
        let mut nobody = cluster.connect_as("postgres", "nobody").unwrap();
        assert_eq!(nobody.value::<String>("SELECT role FROM steward.node"), role);
    }
}
