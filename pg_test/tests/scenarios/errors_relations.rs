//! Refusals because of what a relation is, or is not: 42P01, 42809, 55000, 42710, 42704.

use pg_test::cluster::Ask;
use pg_test::fixtures;

use crate::errors_common::{BETS, assert_nothing_remains, assert_says, hinted};

/// Each call that takes a set, for `{}`.
const CALLS: [&str; 5] = [
    "SELECT steward.manage_range({})",
    "SELECT steward.alter_range({}, premake => 4)",
    "SELECT steward.unmanage({})",
    "SELECT steward.plan({})",
    "CALL steward.maintain({})",
];

#[test]
fn a_relation_that_does_not_exist_is_42p01() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    for call in CALLS {
        let refusal = client.refused("42P01", &call.replace("{}", "'nowhere'"));
        assert!(refusal.message().contains("\"nowhere\""), "{refusal}");
        // A regclass may name what is gone meanwhile.
        let refusal = client.refused("42P01", &call.replace("{}", "4000000000::oid::regclass"));
        assert!(refusal.message().contains("4000000000"), "{refusal}");
        assert_says(&refusal, "4000000000", "pg_class");
    }
    assert_nothing_remains(&mut client);
}

#[test]
fn a_relation_of_the_wrong_kind_is_42809() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE plain (at timestamptz);
         CREATE VIEW looks AS SELECT * FROM plain;
         CREATE MATERIALIZED VIEW seen AS SELECT * FROM plain;
         CREATE SEQUENCE numbers;
         CREATE INDEX plain_at ON plain (at);
         CREATE TABLE by_hash (id bigint) PARTITION BY HASH (id);
         CREATE TABLE by_list (kind text) PARTITION BY LIST (kind);
         CREATE TEMPORARY TABLE passing (at timestamptz) PARTITION BY RANGE (at)",
    );
    let refusal = client.refused("42809", "SELECT steward.manage_range('passing')");
    assert_says(&refusal, "passing", "temporary");
    for (relation, hint) in [
        ("plain", "LIKE public.plain INCLUDING ALL"),
        ("looks", "PARTITION BY RANGE"),
        ("seen", "PARTITION BY RANGE"),
        ("numbers", "PARTITION BY RANGE"),
        ("plain_at", "PARTITION BY RANGE"),
        ("by_list", "PARTITION BY RANGE"),
    ] {
        for call in CALLS.iter().filter(|call| !call.contains("unmanage")) {
            let refusal = client.refused("42809", &call.replace("{}", &format!("'{relation}'")));
            assert_says(&refusal, &format!("\"public.{relation}\""), hint);
        }
        let refusal = client.refused("42704", &format!("SELECT steward.unmanage('{relation}')"));
        assert!(refusal.message().contains(&format!("public.{relation}")), "{refusal}");
    }
    for call in ["manage_range", "alter_range"] {
        let refusal = client.refused("42809", &format!("SELECT steward.{call}('by_hash')"));
        assert_says(&refusal, "\"public.by_hash\" is partitioned by hash", "manage_hash()");
    }
    // What these want is a policy; a hash set may have one.
    for call in ["SELECT steward.plan('by_hash')", "CALL steward.maintain('by_hash')"] {
        let refusal = client.refused("42704", call);
        assert_says(&refusal, "\"public.by_hash\"", "steward.manage_hash('public.by_hash')");
    }
    let refusal = client.refused("42809", "SELECT steward.manage_range('by_list')");
    assert!(refusal.message().contains("by list"), "{refusal}");
    assert_nothing_remains(&mut client);
}

#[test]
fn a_template_of_the_wrong_kind_is_42809() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE t (at timestamptz) PARTITION BY RANGE (at);
         CREATE VIEW looks AS SELECT * FROM t",
    );
    for template in ["looks", "t"] {
        let call = format!("SELECT steward.manage_range('t', template => '{template}')");
        let refusal = client.refused("42809", &call);
        assert_says(&refusal, &format!("\"public.{template}\""), "LIKE");
    }
    let gone = "SELECT steward.manage_range('t', template => 4000000000::oid)";
    assert!(client.refused("42P01", gone).message().contains("4000000000"));
    assert_nothing_remains(&mut client);
}

#[test]
fn a_key_of_several_columns_or_an_expression_is_55000() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE two (at timestamptz, id int) PARTITION BY RANGE (at, id);
         CREATE TABLE expression (at timestamp) PARTITION BY RANGE (date_trunc('day', at))",
    );
    for relation in ["two", "expression"] {
        for call in CALLS.iter().filter(|call| !call.contains("unmanage")) {
            let refusal = client.refused("55000", &call.replace("{}", &format!("'{relation}'")));
            assert_says(
                &refusal,
                &format!("\"public.{relation}\""),
                "PARTITION BY RANGE (created_at)",
            );
        }
    }
    let refusal = client.refused("55000", "SELECT steward.manage_range('two')");
    assert!(refusal.message().contains("2 columns"), "{refusal}");
    assert_nothing_remains(&mut client);
}

#[test]
fn a_key_of_a_type_that_holds_no_time_is_22023() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run("CREATE TABLE t (at inet) PARTITION BY RANGE (at)");
    let refusal = client.refused("22023", "SELECT steward.manage_range('t')");
    assert_says(&refusal, "\"public.t\"", "timestamptz");
    assert!(refusal.message().contains("inet"), "{refusal}");
    assert_nothing_remains(&mut client);
}

#[test]
fn what_is_managed_already_is_42710_and_both_hinted_calls_work() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    // A name that needs every kind of quoting.
    let odd = "\"It's \"\"odd\"\"\"";
    client.run(&format!(
        "CREATE TABLE {odd} (at timestamptz) PARTITION BY RANGE (at);
         CREATE FUNCTION managed() RETURNS text LANGUAGE sql
             AS 'SELECT string_agg(p::text, '';'' ORDER BY p.parent::oid) FROM steward.range_policy p'"
    ));
    let parent = format!("{}::regclass", quoted(odd));
    client.run(&format!("SELECT steward.manage_range({parent}, '1 day')"));
    let before: String = client.value("SELECT managed()");
    let refusal =
        client.refused("42710", &format!("SELECT steward.manage_range({parent}, '1 week')"));
    assert_says(&refusal, "odd", "steward.alter_range(");
    assert_eq!(
        client.value::<String>("SELECT managed()"),
        before,
        "the refused call changed the policy"
    );

    let alter = hinted(&refusal, "steward.alter_range(", "...)").replace("...", "premake => 5");
    client.run(&format!("SELECT {alter}"));
    assert_eq!(client.value::<i32>("SELECT premake FROM steward.partition_sets"), 5);
    client.run(&format!("SELECT {}", hinted(&refusal, "steward.unmanage(", "')")));
    assert_eq!(client.value::<i64>("SELECT count(*) FROM steward.jobs"), 0);
    client.run(&format!("SELECT steward.manage_range({parent}, '1 week')"));
}

#[test]
fn what_is_not_managed_is_42704_and_the_hinted_call_works() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run("CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at)");
    for call in CALLS.iter().filter(|call| !call.contains("manage_range")) {
        let refusal = client.refused("42704", &call.replace("{}", "'bets'"));
        assert_says(&refusal, "\"public.bets\"", "steward.manage_range('public.bets')");
    }
    assert_nothing_remains(&mut client);
    let refusal = client.refused("42704", "SELECT steward.unmanage('bets')");
    client.run(&format!("SELECT {}", hinted(&refusal, "steward.manage_range(", ")")));
    assert_eq!(client.value::<i64>("SELECT count(*) FROM steward.jobs"), 1);
}

#[test]
fn a_job_that_does_not_exist_is_42704() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(BETS);
    for call in [
        "SELECT steward.pause_job(4711)",
        "SELECT steward.resume_job(4711)",
        "CALL steward.run_job(4711)",
    ] {
        let refusal = client.refused("42704", call);
        assert_says(&refusal, "job 4711", "steward.jobs");
        client.run(refusal.hint().unwrap());
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
