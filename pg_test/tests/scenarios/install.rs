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
