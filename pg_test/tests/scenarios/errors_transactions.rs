//! Refusals because of the state things are in: 25001, 55000 on a standby, 55P03.

use std::time::{Duration, Instant};

use pg_test::cluster::{Ask, describe, sqlstate};
use pg_test::fixtures;

use crate::errors_common::{BETS, assert_nothing_remains, assert_says};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_call_that_commits_is_25001_inside_a_transaction() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(BETS);
    let job: i64 = client.value("SELECT job_id FROM steward.jobs");
    let runs = "SELECT count(*) FROM steward.job_runs WHERE scheduled_at IS NULL";
    for (name, call) in [
        ("maintain", "CALL steward.maintain('bets')".to_owned()),
        ("maintain", "CALL steward.maintain()".to_owned()),
        ("run_job", format!("CALL steward.run_job({job})")),
    ] {
        for inside in [
            format!("BEGIN; {call}"),
            format!("BEGIN; SAVEPOINT s; {call}"),
            format!("SELECT 1; {call}; SELECT 2"),
            format!("BEGIN; DO $$ BEGIN {call}; END $$"),
            format!(
                "CREATE OR REPLACE FUNCTION inside() RETURNS void LANGUAGE plpgsql AS
                 $$ BEGIN {call}; END $$; SELECT inside()"
            ),
        ] {
            let refusal = client.refused("25001", &inside);
            assert_says(&refusal, &format!("steward.{name}()"), "outside BEGIN");
            client.run("ROLLBACK");
        }
    }
    assert_eq!(client.value::<i64>(runs), 0, "a refused call ran all the same");
    // A DO block or a procedure outside a transaction may commit, so these work.
    client.run("DO $$ BEGIN CALL steward.maintain('bets'); END $$");
    client.run(
        "CREATE PROCEDURE nightly() LANGUAGE plpgsql AS
         $$ BEGIN CALL steward.maintain('bets'); COMMIT; CALL steward.maintain(); END $$",
    );
    client.run("CALL nightly()");
    assert_eq!(client.value::<i64>(runs), 3);
}

#[test]
fn a_call_in_a_block_that_catches_exceptions_is_refused_and_leaves_no_lock() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(BETS);
    client.run(
        "DO $$ BEGIN
             BEGIN CALL steward.maintain('bets'); RAISE 'not refused' USING ERRCODE = 'P0099';
             EXCEPTION WHEN active_sql_transaction THEN NULL; END;
         END $$",
    );
    // The next one, in another session, waits for nobody.
    cluster
        .connect(&database)
        .unwrap()
        .run("SET lock_timeout = '5s'; SET statement_timeout = '10s'");
    let mut other = cluster.session(&database).unwrap();
    other.start("CALL steward.maintain('bets')");
    other.finish(SOON).unwrap();
}

#[test]
fn a_lock_not_had_in_time_is_55p03_and_leaves_nothing() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run("CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at)");
    for mode in ["ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE"] {
        let mut holder = cluster.session(&database).unwrap();
        holder.run(&format!("BEGIN; LOCK TABLE bets IN {mode} MODE"));
        let mut caller = cluster.session(&database).unwrap();
        // Long enough to be seen to wait, on a machine that is slow to look.
        caller.run("SET pg_steward.lock_timeout = '3s'; SET statement_timeout = '15s'");
        let started = Instant::now();
        caller.start("SELECT steward.manage_range('bets', '1 day')");
        caller.wait_until_blocked(SOON);
        let error = caller.finish(SOON).unwrap_err();
        assert_eq!(sqlstate(&error), "55P03", "{}", describe(&error));
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        let refusal = error.as_db_error().unwrap();
        assert_says(refusal, "public.bets", "pg_steward.lock_timeout");
        holder.run("COMMIT");
        assert_nothing_remains(&mut client);
        caller.run("SELECT steward.manage_range('bets', '1 day')");
        client.run(
            "SELECT steward.unmanage('bets'); DELETE FROM steward.job_run;
                    DROP TABLE bets;
                    CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at)",
        );
        client.run("DELETE FROM steward.job_run");
    }
}

#[test]
fn maintenance_that_gets_no_lock_says_so_keeps_nobody_waiting_and_succeeds_later() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(BETS);
    client.run("SELECT steward.pause_job(job_id, true) FROM steward.jobs");
    let last: String = client
        .value("SELECT partition::text FROM steward.partitions ORDER BY lower_bound DESC LIMIT 1");
    client.run(&format!("DROP TABLE {last}"));

    let mut holder = cluster.session(&database).unwrap();
    holder.run("BEGIN; LOCK TABLE bets IN SHARE UPDATE EXCLUSIVE MODE");
    let mut caller = cluster.session(&database).unwrap();
    caller.run("SET pg_steward.lock_timeout = '500ms'");
    caller.start("CALL steward.maintain('bets')");
    caller.wait_until_blocked(SOON);
    // Readers and writers pass while it waits: what it asks for does not conflict with them.
    let mut user = cluster.session(&database).unwrap();
    user.run("SET lock_timeout = '1ms'");
    user.run("INSERT INTO bets VALUES (now())");
    user.run("SELECT count(*) FROM bets");
    let error = caller.finish(SOON).unwrap_err();
    assert_eq!(sqlstate(&error), "55P03", "{}", describe(&error));
    let refusal = error.as_db_error().unwrap();
    assert_says(refusal, "public.bets", "pg_steward.lock_timeout");
    assert_eq!(
        client.value::<String>("SELECT last_status || ' ' || last_sqlstate FROM steward.jobs"),
        "failed 55P03"
    );
    holder.run("COMMIT");
    caller.run("CALL steward.maintain('bets')");
    assert!(client.value::<bool>(&format!("SELECT to_regclass('{last}') IS NOT NULL")));
    assert_eq!(client.value::<String>("SELECT last_status FROM steward.jobs"), "succeeded");
}
