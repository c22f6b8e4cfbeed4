//! The harness itself: crashes, sessions that block, standbys. Needs no extension.

use std::time::Duration;

use pg_test::cluster::{Ask, StopMode, sqlstate, wait_until};
use pg_test::fixtures;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_crashed_server_starts_again_with_its_data() {
    let cluster = fixtures::cluster().preload(false).start().unwrap();
    cluster.connect("postgres").unwrap().run("CREATE TABLE t AS SELECT 7 AS n");
    cluster.crash().unwrap();
    assert!(cluster.connect("postgres").is_err(), "a crashed server answers");
    cluster.start().unwrap();
    assert_eq!(cluster.connect("postgres").unwrap().value::<i32>("SELECT n FROM t"), 7);
    assert!(cluster.log_contains("database system was not properly shut down"));
    cluster.stop(StopMode::Fast).unwrap();
}

#[test]
fn a_session_that_waits_for_a_lock_is_seen_to_wait() {
    let cluster = fixtures::cluster().preload(false).start().unwrap();
    cluster.connect("postgres").unwrap().run("CREATE TABLE t (n int)");
    let mut holder = cluster.session("postgres").unwrap();
    holder.run("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
    let mut other = cluster.session("postgres").unwrap();
    other.start("INSERT INTO t VALUES (1)");
    other.wait_until_blocked(SOON);
    holder.run("COMMIT");
    other.finish(SOON).unwrap();

    other.start("SELECT 1/0");
    assert_eq!(sqlstate(&other.finish(SOON).unwrap_err()), "22012");
}

#[test]
fn a_promoted_standby_takes_writes() {
    let primary = fixtures::cluster().preload(false).start().unwrap();
    primary.connect("postgres").unwrap().run("CREATE TABLE t AS SELECT 7 AS n");
    let standby = primary.standby().unwrap();
    primary.wait_for_replay(&standby).unwrap();
    let mut client = primary.connect("postgres").unwrap();
    wait_until(SOON, "the base backup's connections are gone, and the standby's is there", || {
        client.column::<String>("SELECT application_name FROM pg_stat_replication") == ["standby"]
    });
    standby.connect("postgres").unwrap().refused("25006", "INSERT INTO t VALUES (8)");
    primary.stop(StopMode::Immediate).unwrap();
    standby.promote().unwrap();
    standby.connect("postgres").unwrap().run("INSERT INTO t VALUES (8)");
}
