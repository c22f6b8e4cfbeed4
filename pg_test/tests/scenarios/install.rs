//! The extension installs, and says how it is.

use std::time::Duration;

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn the_extension_installs_into_its_schema_and_leaves_nothing_when_dropped() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    let elsewhere: i64 = client.value(
        "SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
         JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
         WHERE e.extname = 'pg_steward' AND d.deptype = 'e'
         AND p.pronamespace <> 'steward'::regnamespace",
    );
    assert_eq!(elsewhere, 0, "functions outside the schema");
    client.run("DROP EXTENSION pg_steward CASCADE");
    // The schema is the control file's, and by PostgreSQL's rules stays, empty.
    let left: i64 = client.value(
        "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('steward'))
              + (SELECT count(*) FROM pg_proc WHERE pronamespace = to_regnamespace('steward'))
              + (SELECT count(*) FROM pg_type WHERE typnamespace = to_regnamespace('steward'))",
    );
    assert_eq!(left, 0);
}

#[test]
fn status_says_that_the_launcher_runs() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    assert!(client.value::<bool>("SELECT preloaded FROM steward.status"));
    wait_until(SOON, "the launcher runs", || {
        client.value("SELECT launcher_running FROM steward.status")
    });
    assert_eq!(cluster.pids("pg_steward launcher").unwrap().len(), 1);
}

#[test]
fn without_the_preload_status_says_that_nothing_runs_unattended() {
    let cluster = fixtures::cluster().preload(false).start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    assert!(!client.value::<bool>("SELECT preloaded FROM steward.status"));
    let message: String = client.value("SELECT message FROM steward.status");
    assert!(message.contains("shared_preload_libraries"), "{message}");
}

/// One that nobody reads would be taken for one that is in force.
#[test]
fn a_mistyped_setting_is_told_where_it_was_written_down_and_refused_where_it_is_set() {
    let cluster = fixtures::cluster().conf("pg_steward.lock_timout = 1").start().unwrap();
    let told = "invalid configuration parameter name \"pg_steward.lock_timout\", removing it";
    assert!(cluster.log_contains(&format!("WARNING:  {told}")), "{}", cluster.log_tail(20));
    let mut client = cluster.connect("postgres").unwrap();
    let refusal = client.refused("42602", "SET pg_steward.lock_timout = 1");
    assert!(refusal.message().contains("\"pg_steward.lock_timout\""), "{refusal}");
    client.refused("42602", "ALTER DATABASE postgres SET pg_steward.lock_timout = 1");
    client.run("SET pg_steward.lock_timeout = 100");

    // What else a reload brings is in force all the same.
    cluster.add_conf("pg_steward.enabled = off").unwrap();
    cluster.reload().unwrap();
    wait_until(SOON, "the setting is in force", || {
        client.value::<String>("SHOW pg_steward.enabled") == "off"
    });
}

#[test]
fn a_session_that_loads_the_library_is_told_of_a_mistyped_setting() {
    let cluster = fixtures::cluster().preload(false).start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let told = cluster
        .psql(&database)
        .command("SET pg_steward.lock_timout = 1; SELECT message IS NOT NULL FROM steward.status")
        .unwrap();
    assert!(told.text.contains("pg_steward.lock_timout"), "{}", told.text);
}
