//! Whatever a session has set, every call means the same: partitions, bounds, steps and views.

use pg_test::cluster::Ask;

use crate::range_support::Database;

/// What people, drivers and other tools set.
const SETTINGS: [&str; 16] = [
    "DateStyle = 'german'",
    "DateStyle = 'SQL, DMY'",
    "IntervalStyle = 'sql_standard'",
    "IntervalStyle = 'iso_8601'",
    "extra_float_digits = -15",
    "search_path = ''",
    "row_security = off",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_isolation = 'repeatable read'",
    "default_transaction_deferrable = on",
    "session_replication_role = replica",
    "quote_all_identifiers = on",
    "array_nulls = off",
    "transform_null_equals = on",
    "standard_conforming_strings = off",
    "bytea_output = 'escape'",
];

/// Each kind of call, in an order in which all can be made; `%` stands for the schema.
const CALLS: [&str; 20] = [
    "SELECT count(*) FROM steward.manage_range('%.t', '1 day', 2, time_zone => 'UTC', start_at => '2024-02-28')",
    "SELECT count(*) FROM steward.manage_range('%.n', '10', 2, default_partition => true)",
    "SELECT count(*) FROM steward.manage_range('%.b', '1 day', 1, key_encoding => 'ulid', time_zone => 'UTC')",
    "SELECT count(*) FROM steward.manage_hash('%.h', 4)",
    "SELECT count(*) FROM steward.alter_range('%.t', premake => 3)",
    "SELECT count(*) FROM steward.alter_hash('%.h', name_format => '{parent}_{remainder}')",
    "SELECT steward.set_retention('%.t', '1 year 2 mons 3 days 04:05:06', 'detach')",
    "SELECT steward.set_tiering('%.t', '5 years', 'pg_default')",
    "CALL steward.maintain('%.t')",
    "CALL steward.maintain('%.n')",
    "CALL steward.maintain('%.b')",
    "CALL steward.maintain('%.h')",
    "CALL steward.drain_default('%.n')",
    "SELECT steward.alter_job(job_id, priority => 7, max_runtime => '1 day 02:00:00') FROM steward.jobs",
    "SELECT steward.pause_job(job_id) FROM steward.jobs",
    "SELECT steward.resume_job(job_id) FROM steward.jobs",
    "SELECT steward.clear_tiering('%.t')",
    "SELECT steward.clear_retention('%.t')",
    "SELECT * FROM steward.plan()",
    "SELECT * FROM steward.jobs, steward.status, steward.node LIMIT 1",
];

/// What is there then, but for names that tell when.
const OUTCOME: &str = "
SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT concat_ws(' ', 'partition', replace(partition::text, '%.', ''), lower_bound, upper_bound, state,
                     modulus, remainder) AS line FROM steward.partitions
    UNION ALL
    SELECT concat_ws(' ', 'set', replace(parent::text, '%.', ''), partition_key, partition_interval, premake, time_zone,
                     start_at, partitions, covered_from, covered_until, holes) FROM steward.partition_sets
    UNION ALL
    SELECT concat_ws(' ', 'job', priority, extract(epoch FROM max_runtime), last_status) FROM steward.jobs
    UNION ALL
    SELECT concat_ws(' ', 'plan', action, replace(sql, '%.', '')) FROM steward.plan('%.t', '2029-01-01 00:00+00')) l";

fn outcome(setting: Option<&str>) -> String {
    let mut database = Database::new();
    database.client.run(
        "CREATE SCHEMA s; CREATE TABLE s.t (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE s.n (k bigint NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE s.b (k bytea NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE s.h (k int) PARTITION BY HASH (k)",
    );
    if let Some(setting) = setting {
        database.client.run(&format!("SET {setting}"));
    }
    for call in CALLS {
        // By itself: what is set to be serializable may have to be tried again, but nobody else is there.
        if let Err(error) = database.client.batch_execute(&call.replace('%', "s")) {
            panic!("under {setting:?}: {call}: {error:?}");
        }
        if call.contains("manage_range('%.n'") {
            database.client.run("INSERT INTO s.n VALUES (3), (15)");
        }
    }
    // Looked at from a session that has set nothing, and from this one.
    let mut plain = database.connect_as("postgres");
    plain.run("SET TimeZone = 'UTC'; SET search_path = pg_catalog");
    let plainly: String = plain.value(&OUTCOME.replace('%', "s"));
    plainly
}

#[test]
fn every_call_means_the_same_under_every_setting() {
    let expected = outcome(None);
    assert!(expected.contains("partition t_2024_02_29 2024-02-29 00:00:00+00"), "{expected}");
    let mut differing = Vec::new();
    for setting in SETTINGS {
        let found = outcome(Some(setting));
        if found != expected {
            differing.push(format!("{setting}:\n{found}"));
        }
    }
    assert!(differing.is_empty(), "{}\nand not\n{expected}", differing.join("\n"));
}

#[test]
fn views_show_the_same_bounds_under_every_setting() {
    let mut database = Database::new();
    database.client.run(
        "CREATE TABLE t (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         SELECT count(*) FROM steward.manage_range('t', '1 month', 1, time_zone => 'UTC', start_at => '2024-02-28')",
    );
    const BOUNDS: &str =
        "SELECT string_agg(lower_bound || ' ' || upper_bound, ', ' ORDER BY lower_bound)
                            FROM steward.partitions";
    let expected: String = database.client.value(BOUNDS);
    for setting in SETTINGS {
        database.client.run(&format!("SET {setting}"));
        assert_eq!(database.client.value::<String>(BOUNDS), expected, "{setting}");
        database.client.run("RESET ALL; SET TimeZone = 'UTC'");
    }
}
