//! What the fuzzer has found, by the kind.

use std::time::Duration;

use pg_test::cluster::{Ask, sqlstate};

use crate::range_support::{Database, cluster};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_cancel_is_not_taken_for_a_wrong_value() {
    let mut database = Database::new();
    database.client.run("CREATE TABLE t (k timestamptz NOT NULL) PARTITION BY RANGE (k)");
    // So short that it ends a call anywhere.
    database.client.run("SET statement_timeout = '1ms'");
    let call = "BEGIN; SELECT steward.manage_range('t', '1 month', start_at => '2026-01-01')";
    for _ in 0..400 {
        if let Err(error) = database.client.batch_execute(call) {
            assert_eq!(sqlstate(&error), "57014", "{error:?}");
        }
        // The timeout is a ROLLBACK's, too.
        while database.client.batch_execute("ROLLBACK").is_err() {
            assert!(!database.client.is_closed(), "the session was ended");
        }
    }
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
fn a_set_whose_name_is_as_long_as_can_be_has_room_for_years_of_days() {
    let mut database = Database::new();
    let name = "a".repeat(63);
    database
        .client
        .run(&format!("CREATE TABLE {name} (k timestamptz NOT NULL) PARTITION BY RANGE (k)"));
    let made: i64 = database.client.value(&format!(
        "SELECT count(*) FROM steward.manage_range('{name}', '1 day', 1, time_zone => 'UTC',
                                                   start_at => (now() - interval '300 days')::text)"
    ));
    assert_eq!(made, 302);
}

#[test]
fn a_partition_that_is_gone_when_its_rows_are_looked_for_has_none() {
    let mut database = Database::new();
    database.client.run(
        "CREATE TABLE t (k bigint NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
    );
    // Whose snapshot shows it: as a look that was begun just before the drop.
    let mut old = database.connect_as("postgres");
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class");
    database.client.run("DROP TABLE t1");
    assert!(!old.value::<bool>("SELECT steward.pg_partman_has_rows('t')"));
}

#[test]
fn a_client_of_another_encoding_is_told_what_is_wrong() {
    let mut database = Database::new();
    database.client.run("CREATE TABLE plain (k timestamptz)");
    let psql = database.psql().env("PGCLIENTENCODING", "LATIN1");
    let said = psql.command("SELECT steward.manage_range('plain')").unwrap().text;
    assert!(said.contains("is not a partitioned table") && said.contains("HINT:"), "{said}");
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

#[test]
fn a_sqlstate_of_its_own_is_no_internal_error() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         CREATE FUNCTION raises_own(regclass) RETURNS boolean LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'P4242'; END $$;
         SELECT steward.manage_range('t', '1 day', premake => 1, start_at => (current_date - 5)::text);
         SELECT steward.set_retention('t', '3 days', archive_function => 'raises_own(regclass)')",
    );
    db.client.refused("P0001", "CALL steward.maintain('t')");
    let kept: String =
        db.client.value("SELECT sqlstate FROM steward.job_runs ORDER BY run_id DESC LIMIT 1");
    assert_eq!(kept, "P4242");
}

#[test]
fn of_two_primary_keys_the_sets_holds() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (k timestamptz PRIMARY KEY, a int) PARTITION BY RANGE (k);
         CREATE TABLE template (k timestamptz, a int PRIMARY KEY, UNIQUE (k, a)); CREATE INDEX ON template (a);
         SELECT steward.manage_range('t', '1 month', premake => 1, template => 'template')",
    );
    let keys: Vec<String> = db.client.column(
        "SELECT DISTINCT pg_get_constraintdef(oid) FROM pg_constraint
          WHERE conrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 't'::regclass)
            AND contype IN ('p', 'u') ORDER BY 1",
    );
    assert_eq!(keys, ["PRIMARY KEY (k)", "UNIQUE (k, a)"]);
    let indexes: Vec<i64> = db.client.column(
        "SELECT DISTINCT count(*) FROM pg_index WHERE indrelid IN
            (SELECT inhrelid FROM pg_inherits WHERE inhparent = 't'::regclass) GROUP BY indrelid",
    );
    assert_eq!(indexes, [3], "the template's plain index is lost");
}
