//! What the fuzzer has found, by the kind.

use std::time::Duration;

use pg_test::cluster::{Ask, sqlstate};

use crate::range_support::{Database, cluster};

const SOON: Duration = Duration::from_secs(20);

/// Under a timeout so short that it ends a call anywhere: what each call came to.
fn under_a_short_timeout(database: &mut Database, setting: &str, calls: &[&str]) -> Vec<String> {
    database.client.run(&format!("SET statement_timeout = '1ms'; {setting}"));
    let mut states = Vec::new();
    for call in calls.iter().cycle().take(400) {
        if let Err(error) = database.client.batch_execute(call) {
            states.push(sqlstate(&error).to_owned());
        }
        // The timeout is a ROLLBACK's, too.
        while database.client.batch_execute("ROLLBACK").is_err() {
            assert!(!database.client.is_closed(), "the session was ended");
        }
    }
    database.client.run("RESET ALL");
    states.sort();
    states.dedup();
    states
}

#[test]
fn a_cancel_is_not_taken_for_a_wrong_value() {
    let mut database = Database::new();
    database.client.run("CREATE TABLE t (k timestamptz NOT NULL) PARTITION BY RANGE (k)");
    let call = "BEGIN; SELECT steward.manage_range('t', '1 month', start_at => '2026-01-01')";
    let states = under_a_short_timeout(&mut database, "", &[call]);
    assert_eq!(states, ["57014"]);
}

#[test]
fn a_cancel_while_a_subtransaction_ends_leaves_none_behind() {
    let mut database = Database::new();
    database.client.run("CREATE TABLE t (k timestamptz NOT NULL) PARTITION BY RANGE (k)");
    let calls = ["SELECT steward.pause_job(99)", "BEGIN; SELECT steward.manage_range('t')"];
    // At that level a subtransaction tells of its end, and looks for cancels when it has.
    let states = under_a_short_timeout(&mut database, "SET client_min_messages = debug5", &calls);
    assert!(states.iter().all(|state| state == "57014" || state == "42704"), "{states:?}");
    database.client.run("SELECT steward.manage_range('t')");
}

#[test]
fn periods_of_seconds_are_planned_until_the_end_of_times() {
    let mut database = Database::new();
    database.client.run(
        "CREATE TABLE t (k timestamptz NOT NULL) PARTITION BY RANGE (k); SET statement_timeout = '30s';
         SELECT count(*) FROM steward.manage_range('t', '10 seconds', 1, time_zone => 'Europe/Madrid')",
    );
    for at in ["280730-01-01", "294276-12-31 23:59:59.999999"] {
        // In a zone with summer time it took no end.
        database.client.run(&format!("SELECT count(*) FROM steward.plan('t', '{at}+00')"));
    }
}

#[test]
fn a_table_that_is_dropped_while_unmanage_waits_for_it_does_not_exist() {
    let mut database = Database::new();
    database.client.run(
        "CREATE TABLE t (k timestamptz NOT NULL) PARTITION BY RANGE (k); SELECT steward.manage_range('t')",
    );
    let mut other = cluster().session(&database.name).unwrap();
    other.run("SET pg_steward.lock_timeout = '1min'");
    database.client.run("BEGIN; DROP TABLE t");
    other.start("SELECT steward.unmanage('t')");
    other.wait_until_blocked(SOON);
    database.client.run("COMMIT");
    let error = other.finish(SOON).unwrap_err();
    assert_eq!(sqlstate(&error), "42P01", "{error:?}");
}

#[test]
fn the_import_reads_names_and_bounds_whatever_a_backslash_means() {
    let mut database = Database::new();
    database.client.run(
        "CREATE TABLE t (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00');
         SET standard_conforming_strings = off",
    );
    let format: Option<String> =
        database.client.value("SELECT steward.pg_partman_name_format('YYYY_MM\"x\"')");
    assert_eq!(format.as_deref(), Some("{parent}_p%Y_%mx"));
    let bounds: i64 = database.client.value(
        "SELECT count(*) FROM steward.pg_partman_bounds('t', NULL) WHERE lower_bound = '2026-01-01 00:00+00'",
    );
    assert_eq!(bounds, 1);
}

#[test]
fn what_the_owner_of_a_default_partitions_set_lacks_is_hinted_at() {
    let mut database = Database::new();
    let owner = database.own("owner");
    database.client.run(&format!(
        "CREATE SCHEMA s; CREATE ROLE {owner}; GRANT ALL ON SCHEMA s TO {owner}; SET ROLE {owner};
         CREATE TABLE s.t (k timestamptz) PARTITION BY RANGE (k); CREATE TABLE s.d PARTITION OF s.t DEFAULT; RESET ROLE;
         SELECT count(*) FROM steward.manage_range('s.t', '1 day'); INSERT INTO s.t VALUES ('2020-01-01');
         REVOKE CREATE ON SCHEMA s FROM {owner}"
    ));
    let refusal = database.client.refused("42501", "CALL steward.drain_default('s.t')");
    assert!(refusal.hint().is_some_and(|hint| hint.contains("owner")), "{refusal:?}");
}
