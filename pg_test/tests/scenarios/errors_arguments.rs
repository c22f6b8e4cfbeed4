//! Refusals because of an argument's value: 22023, and what NULL means where it says nothing.

use pg_test::cluster::{Ask, describe, sqlstate};
use pg_test::fixtures;

use crate::errors_common::{BETS, assert_nothing_remains, assert_says};

/// Key type; arguments of `manage_range` after the parent; what the message and the hint hold.
const BAD: &[(&str, &str, &str, &str)] = &[
    ("timestamptz", "'often'", "\"often\" is not an interval", "'1 month'"),
    ("timestamptz", "''", "\"\" is not an interval", "'1 month'"),
    ("timestamptz", "'1 month; DROP TABLE t'", "is not an interval", "'1 month'"),
    ("timestamptz", "'1 month 15 days'", "cannot mix months and days", "'15 days'"),
    ("timestamptz", "'1 day 1 hour'", "cannot mix days and time", "'36 hours'"),
    ("timestamptz", "'1 month 1 second'", "cannot mix months and time", "'1 month'"),
    ("timestamptz", "'1 month 1 day 1 hour'", "cannot mix months, days and time", "'1 month'"),
    ("timestamptz", "'0'", "greater than zero", "'1 month'"),
    ("timestamptz", "'0 days'", "greater than zero", "'1 month'"),
    ("timestamptz", "'-1 day'", "greater than zero", "'1 month'"),
    ("timestamptz", "'-10 seconds'", "greater than zero", "'1 month'"),
    ("timestamptz", "'0.5 seconds'", "at least one second", "'1 second'"),
    ("timestamptz", "'1.5 seconds'", "whole number of seconds", "'90 seconds'"),
    ("timestamptz", "'infinity'", "partition_interval", "'1 month'"),
    ("date", "'1 hour'", "whole days", "'1 day'"),
    ("date", "'86400 seconds'", "whole days", "'1 day'"),
    ("bigint", "'1 day'", "whole number", "'1000000'"),
    ("bigint", "'0'", "between 1 and", "'1000000'"),
    ("bigint", "'-5'", "between 1 and", "'1000000'"),
    ("bigint", "'1.5'", "whole number", "'1000000'"),
    ("bigint", "'99999999999999999999999999999999999999999999999999'", "whole number", "'1000000'"),
    ("smallint", "'1 day'", "whole number", "'1000'"),
    ("smallint", "'0'", "between 1 and 32767", "'1000'"),
    ("smallint", "'1000000'", "between 1 and 32767", "'1000'"),
    ("smallint", "'32768'", "between 1 and 32767", "'1000'"),
    ("integer", "'3000000000'", "between 1 and 2147483647", "'1000000'"),
    ("bigint", "'9223372036854775808'", "between 1 and 9223372036854775807", "'1000000'"),
    ("timestamptz", "'300000 years'", "holds less time", "'1 month'"),
    ("timestamp", "'178000000 years'", "holds less time", "'1 month'"),
    ("date", "'6000000 years'", "holds less time", "'1 month'"),
    ("date", "'2147483647 days'", "holds less time", "'1 month'"),
    ("integer", "'200 years', key_encoding => 'epoch_seconds'", "holds less time", "'1 month'"),
    ("uuid", "'10000 years', key_encoding => 'uuidv7'", "holds less time", "'1 month'"),
    ("bigint", "'150 years', key_encoding => 'snowflake'", "holds less time", "'1 month'"),
    ("timestamptz", "'1 day', premake => 0", "premake", "3"),
    ("timestamptz", "'1 day', premake => -1", "-1 is not between 1 and 10000", "3"),
    ("timestamptz", "'1 day', premake => 10001", "10001 is not between 1 and 10000", "3"),
    ("timestamptz", "'1 day', time_zone => 'Mars/Base'", "\"Mars/Base\"", "pg_timezone_names"),
    ("timestamptz", "'1 day', time_zone => ''", "time zone \"\"", "'Europe/Madrid'"),
    ("timestamptz", "'1 day', start_at => 'one day'", "start_at", "2025-01-01"),
    ("timestamptz", "'1 day', start_at => '2025-02-30'", "start_at", "2025-01-01"),
    ("timestamptz", "'1 day', start_at => 'infinity'", "finite", "2025-01-01"),
    ("timestamptz", "'1 day', start_at => '-infinity'", "finite", "2025-01-01"),
    ("bigint", "'1000', start_at => '2025-01-01'", "start_at", "'0'"),
    ("bigint", "'1000', start_at => '1.5'", "start_at", "'0'"),
    ("timestamptz", "'1 day', origin => 'one day'", "invalid origin", "2025-01-01"),
    ("timestamptz", "'1 day', origin => '2025-01-01 00:00:00.5'", "fraction", "2025-01-01 06:00"),
    ("timestamptz", "'1 month', origin => '2025-01-31'", "day 31", "1 to 28"),
    ("date", "'1 day', origin => '2025-01-01 06:00'", "invalid origin", "2025-01-01"),
    ("bigint", "'1000', origin => '2025-01-01'", "invalid origin", "'0'"),
    ("timestamptz", "'1 day', name_format => ''", "name_format", "{parent}_%Y_%m"),
    ("timestamptz", "'1 day', name_format => '{parent'", "name_format", "{parent}_%Y_%m"),
    ("timestamptz", "'1 day', name_format => '{who}_%Y'", "name_format", "{parent}_%Y_%m"),
    ("timestamptz", "'1 day', name_format => '%J'", "name_format", "{parent}_%Y_%m"),
    ("timestamptz", "'1 day', name_format => '{parent}_{lower}'", "name_format", "{parent}_%Y_%m"),
    ("bigint", "'1000', name_format => '{parent}_%Y'", "name_format", "{parent}_"),
    ("timestamptz", "'1 day', key_encoding => 'morse'", "\"morse\"", "epoch_seconds"),
    ("timestamptz", "'1 day', key_encoding => 'epoch_seconds'", "does not suit", "bigint"),
    ("smallint", "'1 day', key_encoding => 'epoch_seconds'", "does not suit", "bigint"),
    ("integer", "'1 day', key_encoding => 'epoch_milliseconds'", "does not suit", "bigint"),
    ("bigint", "'1 day', key_encoding => 'snowflake:soon'", "snowflake:soon", "snowflake"),
    ("text", "'1 day'", "needs a key_encoding", "'ulid'"),
    ("varchar(26)", "'1 day'", "needs a key_encoding", "'ulid'"),
    ("bytea", "'1 day'", "needs a key_encoding", "'ulid'"),
    ("uuid", "'1 day'", "needs a key_encoding", "'uuidv7'"),
    ("text", "'1 day', key_encoding => 'uuidv7'", "does not suit", "uuidv7 for uuid"),
];

#[test]
fn a_bad_argument_is_22023_says_which_and_leaves_nothing() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    let mut wrong = Vec::new();
    for (key, arguments, message, hint) in BAD {
        client.run(&format!("CREATE TABLE t (k {key}) PARTITION BY RANGE (k)"));
        let sql = format!("SELECT steward.manage_range('t', {arguments})");
        match client.batch_execute(&sql) {
            Ok(()) => wrong.push(format!("{key}, {arguments}: accepted")),
            Err(error) => {
                let said = error.as_db_error().unwrap();
                let names_it =
                    said.message().contains("\"public.t\"") || said.message().contains("time zone");
                let right = said.code().code() == "22023"
                    && names_it
                    && said.message().contains(message)
                    && said.hint().is_some_and(|given| given.contains(hint));
                if !right {
                    wrong.push(format!("{key}, {arguments}: {said}, hint {:?}", said.hint()));
                }
                assert_nothing_remains(&mut client);
            }
        }
        client.run("DROP TABLE t");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_no_key_can_be_so_old_as_is_not_kept() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    for (key, arguments, refused, hint, longest) in [
        (
            "timestamptz",
            "'1 month'",
            &["2147483647 days", "178000000 years", "6800 years"][..],
            "'12 months'",
            "6700 years",
        ),
        ("date", "'1 month'", &["2147483647 days", "6800 years"], "'12 months'", "6700 years"),
        ("timestamp", "'1 month'", &["infinity", "6800 years"], "'12 months'", "6700 years"),
        (
            "integer",
            "'1 month', key_encoding => 'epoch_seconds'",
            &["150 years"],
            "'12 months'",
            "130 years",
        ),
        (
            "bigint",
            "'1 month', key_encoding => 'snowflake'",
            &["150 years"],
            "'12 months'",
            "130 years",
        ),
        ("smallint", "'1000'", &["1000000", "65536"], "'1000'", "65535"),
        ("integer", "'1000'", &["5000000000"], "'1000'", "4000000000"),
        ("bigint", "'1000'", &["99999999999999999999999"], "'1000'", "9223372036854775807"),
        (
            "numeric",
            "'1000'",
            &["1.5", "99999999999999999999999999999999999999999"],
            "'1000000'",
            "99999999999999999999999",
        ),
    ] {
        client.run(&format!(
            "CREATE TABLE t (k {key}) PARTITION BY RANGE (k); SELECT steward.manage_range('t', {arguments})"
        ));
        for keep in refused {
            for call in [
                format!("SELECT steward.set_retention('t', '{keep}')"),
                format!("SELECT steward.set_tiering('t', '{keep}', 'pg_default')"),
            ] {
                let refusal = client.refused("22023", &call);
                assert_says(&refusal, "\"public.t\"", hint);
            }
        }
        // What is just possible does no harm, at whatever instant, and to a period that ends with all times.
        client.run(&format!("SELECT steward.set_retention('t', '{longest}')"));
        client.run("CALL steward.maintain('t')");
        if key == "timestamptz" {
            client.run("CREATE TABLE last PARTITION OF t FOR VALUES FROM ('294000-01-01') TO ('294276-12-31')");
        }
        for at in ["4713-01-01 BC", "0001-01-01", "2097-01-01", "-infinity"] {
            client.run(&format!("SELECT count(*) FROM steward.plan('t', '{at}'::timestamptz)"));
        }
        client.run("TABLE steward.partition_sets");
        client.run("CALL steward.maintain('t')");
        client.run("DROP TABLE t");
    }
}

#[test]
fn a_bad_argument_of_alter_range_changes_nothing() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(BETS);
    let state =
        "SELECT (SELECT p::text FROM steward.range_policy p) || (SELECT count(*) FROM pg_inherits)";
    let before: String = client.value(state);
    for arguments in [
        "partition_interval => 'often'",
        "partition_interval => '1 month 15 days'",
        "partition_interval => '0 days'",
        "partition_interval => '0.5 seconds'",
        "premake => 0",
        "premake => -1",
        "premake => 10001",
        "time_zone => 'Mars/Base'",
        "start_at => 'one day'",
        "name_format => '{who}'",
        "key_encoding => 'ulid'",
        // One good argument before a bad one.
        "premake => 20, time_zone => 'Mars/Base'",
    ] {
        let refusal =
            client.refused("22023", &format!("SELECT steward.alter_range('bets', {arguments})"));
        assert!(refusal.hint().is_some(), "{arguments}: {refusal} without hint");
        assert_eq!(client.value::<String>(state), before, "{arguments}");
    }
}

#[test]
fn the_hinted_values_are_accepted() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    for (key, arguments) in [
        ("timestamptz", "'1 month'"),
        ("timestamptz", "'15 days'"),
        ("timestamptz", "'36 hours'"),
        ("timestamptz", "'90 seconds'"),
        ("timestamptz", "'15 minutes'"),
        ("timestamptz", "'1 day', premake => 3"),
        ("timestamptz", "'1 day', time_zone => 'Europe/Madrid'"),
        ("timestamptz", "'1 month', start_at => '2025-01-01'"),
        ("timestamptz", "'1 month', name_format => '{parent}_%Y_%m'"),
        ("date", "'1 day'"),
        ("bigint", "'1000000', start_at => '0'"),
        ("smallint", "'1000'"),
        ("text", "'1 day', key_encoding => 'ulid'"),
        ("bytea", "'1 day', key_encoding => 'ulid'"),
        ("uuid", "'1 day', key_encoding => 'uuidv7'"),
    ] {
        client.run(&format!("CREATE TABLE t (k {key}) PARTITION BY RANGE (k)"));
        let made: i64 =
            client.value(&format!("SELECT count(*) FROM steward.manage_range('t', {arguments})"));
        assert!(made >= 4, "{key}, {arguments}: {made} partitions");
        client.run("DROP TABLE t");
    }
}

#[test]
fn null_where_a_value_is_needed_is_22004_and_the_server_lives() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run("CREATE TABLE t (at timestamptz) PARTITION BY RANGE (at)");
    let postmaster: String = client.value("SELECT pg_postmaster_start_time()::text");
    let backend: i32 = client.value("SELECT pg_backend_pid()");
    for (call, argument) in [
        ("SELECT steward.manage_range(NULL)", "parent"),
        ("SELECT steward.manage_range('t', NULL)", "partition_interval"),
        ("SELECT steward.manage_range('t', premake => NULL)", "premake"),
        ("SELECT steward.manage_range('t', default_partition => NULL)", "default_partition"),
        ("SELECT steward.alter_range(NULL, premake => 3)", "parent"),
        ("SELECT steward.plan('t', NULL)", "at"),
        ("SELECT steward.plan(NULL, NULL)", "at"),
        ("CALL steward.run_job(NULL)", "job_id"),
    ] {
        let refusal = client.refused("22004", call);
        assert_says(&refusal, argument, "");
        assert!(refusal.hint().is_some(), "{call}: {refusal} without hint");
    }
    assert_nothing_remains(&mut client);
    // STRICT functions: NULL in, NULL out, nothing done.
    for call in [
        "SELECT steward.unmanage(NULL)",
        "SELECT steward.pause_job(NULL)",
        "SELECT steward.pause_job(1, NULL)",
        "SELECT steward.resume_job(NULL)",
        "SELECT count(*) FROM steward.range_partitions(NULL, now())",
        "SELECT count(*) FROM steward.range_partitions('t', NULL)",
        "SELECT count(*) FROM steward.range_summary(NULL, NULL)",
        "SELECT count(*) FROM steward.plan(NULL)",
        "CALL steward.maintain(NULL)",
        "CALL steward.maintain()",
    ] {
        client.run(call);
    }
    assert_eq!(client.value::<i32>("SELECT pg_backend_pid()"), backend);
    assert_eq!(client.value::<String>("SELECT pg_postmaster_start_time()::text"), postmaster);
}

#[test]
fn extreme_instants_do_no_harm() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(BETS);
    client.run(
        "CREATE TABLE numbers (id bigint) PARTITION BY RANGE (id);
         SELECT steward.manage_range('numbers', '9223372036854775807');
         SET statement_timeout = '20s'",
    );
    let state = "SELECT count(*) FROM pg_inherits";
    let before: i64 = client.value(state);
    for at in ["infinity", "-infinity", "294276-12-31", "4713-01-01 BC"] {
        for parent in ["'bets'", "'numbers'", "NULL"] {
            let call = format!("SELECT count(*) FROM steward.plan({parent}, '{at}'::timestamptz)");
            if let Err(error) = client.batch_execute(&call) {
                let code = sqlstate(&error);
                assert!(!["", "XX000", "57014"].contains(&code), "{call}: {}", describe(&error));
            }
        }
    }
    assert_eq!(client.value::<i64>(state), before);
}

#[test]
fn a_start_in_another_age_is_refused_and_leaves_nothing() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run("CREATE TABLE t (at timestamptz) PARTITION BY RANGE (at)");
    let call = "SELECT steward.manage_range('t', '1 second', start_at => '1970-01-01')";
    let refusal = client.refused("54000", call);
    assert_says(&refusal, "\"public.t\"", "partition_interval");
    assert_nothing_remains(&mut client);
}
