//! A call that changes a policy or a job, not committed yet, and a table that gets another owner
//! meanwhile: what the old owner has asked for must not be carried out with the rights of the new one.

use pg_test::cluster::{Ask, Cluster, Session, describe, sqlstate, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_support::SOON;

/// One of the calls; `app.TABLE` stands for the table, `JOB` for its job's number.
struct Call {
    name: &'static str,
    /// What makes the table ready for the call.
    before: &'static str,
    call: &'static str,
}

const RANGE: &str = "CREATE TABLE app.TABLE (k timestamptz NOT NULL) PARTITION BY RANGE (k)";
const HASH: &str = "CREATE TABLE app.TABLE (k int NOT NULL) PARTITION BY HASH (k)";
const MANAGED: &str = "CREATE TABLE app.TABLE (k timestamptz NOT NULL) PARTITION BY RANGE (k);
    SELECT count(*) FROM steward.manage_range('app.TABLE', '1 day', premake => 2)";
const MANAGED_HASH: &str = "CREATE TABLE app.TABLE (k int NOT NULL) PARTITION BY HASH (k);
    SELECT count(*) FROM steward.manage_hash('app.TABLE', 2)";
const RETAINED: &str = "CREATE TABLE app.TABLE (k timestamptz NOT NULL) PARTITION BY RANGE (k);
    SELECT count(*) FROM steward.manage_range('app.TABLE', '1 day', premake => 2);
    SELECT steward.set_retention('app.TABLE', '1000 days')";
const TIERED: &str = "CREATE TABLE app.TABLE (k timestamptz NOT NULL) PARTITION BY RANGE (k);
    SELECT count(*) FROM steward.manage_range('app.TABLE', '1 day', premake => 2);
    SELECT steward.set_tiering('app.TABLE', '1000 days', 'pg_default')";

/// None of the alter_…() takes a step: those lock the table by themselves.
const CALLS: [Call; 12] = [
    Call {
        name: "manage_range",
        before: RANGE,
        call: "SELECT count(*) FROM steward.manage_range('app.TABLE', '1 day', premake => 2)",
    },
    Call {
        name: "alter_range",
        before: MANAGED,
        call: "SELECT count(*) FROM steward.alter_range('app.TABLE', premake => 1)",
    },
    Call {
        name: "manage_hash",
        before: HASH,
        call: "SELECT count(*) FROM steward.manage_hash('app.TABLE', 2)",
    },
    Call {
        name: "alter_hash",
        before: MANAGED_HASH,
        call: "SELECT count(*) FROM steward.alter_hash('app.TABLE', name_format => '{parent}_h{remainder}')",
    },
    Call {
        name: "set_retention",
        before: MANAGED,
        call: "SELECT steward.set_retention('app.TABLE', '1 day')",
    },
    Call {
        name: "clear_retention",
        before: RETAINED,
        call: "SELECT steward.clear_retention('app.TABLE')",
    },
    Call {
        name: "set_tiering",
        before: MANAGED,
        call: "SELECT steward.set_tiering('app.TABLE', '1 day', 'pg_default')",
    },
    Call {
        name: "clear_tiering",
        before: TIERED,
        call: "SELECT steward.clear_tiering('app.TABLE')",
    },
    Call { name: "unmanage", before: MANAGED, call: "SELECT steward.unmanage('app.TABLE')" },
    Call {
        name: "alter_job",
        before: MANAGED,
        call: "SELECT steward.alter_job(JOB, priority => 6)",
    },
    Call { name: "pause_job", before: MANAGED, call: "SELECT steward.pause_job(JOB)" },
    Call { name: "resume_job", before: MANAGED, call: "SELECT steward.resume_job(JOB)" },
];

/// Nothing runs by itself: whoever is waited for is one of the two sessions.
fn world() -> (Cluster, String, Client) {
    let cluster = fixtures::cluster().conf("pg_steward.enabled = off").start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut superuser = cluster.connect(&database).unwrap();
    superuser.run(
        "CREATE ROLE mallory LOGIN; CREATE ROLE victim LOGIN; CREATE SCHEMA app;
         GRANT USAGE, CREATE ON SCHEMA app TO mallory, victim",
    );
    (cluster, database, superuser)
}

/// Makes mallory's table ready for a call, and gives that call with its names filled in.
fn prepare(superuser: &mut Client, mallory: &mut Session, call: &Call, table: &str) -> String {
    let named = |sql: &str| sql.replace("app.TABLE", &format!("app.{table}"));
    mallory.run(&named(call.before));
    let jobs: Vec<i64> = superuser
        .column(&format!("SELECT job_id FROM steward.jobs WHERE target = 'app.{table}'::regclass"));
    let job = jobs.first().map(i64::to_string).unwrap_or_default();
    named(call.call).replace("JOB", &job)
}

/// Waits until the statement under way is done or blocked. None: it was not kept waiting; else by whom.
fn kept_waiting(superuser: &mut Client, session: &mut Session) -> Option<Vec<i32>> {
    wait_until(SOON, "the statement waits, or is done", || {
        session.is_done() || session.is_blocked()
    });
    if session.is_done() {
        return None;
    }
    let by = superuser.column(&format!("SELECT unnest(pg_blocking_pids({}))", session.pid()));
    (!by.is_empty()).then_some(by)
}

#[test]
fn the_table_keeps_its_owner_until_the_call_has_been_committed() {
    let (cluster, database, mut superuser) = world();
    let mut mallory = cluster.session_as(&database, "mallory").unwrap();
    let mut other = cluster.session(&database).unwrap();
    let mut failures = Vec::new();
    for call in &CALLS {
        for end in ["COMMIT", "ROLLBACK"] {
            let (name, table) = (call.name, format!("{}_{}", call.name, end.to_lowercase()));
            let sql = prepare(&mut superuser, &mut mallory, call, &table);
            mallory.run(&format!("BEGIN; {sql}"));
            other.start(&format!("ALTER TABLE app.{table} OWNER TO victim"));
            match kept_waiting(&mut superuser, &mut other) {
                None => {
                    failures.push(format!("{name}, {end}: the table has another owner already"))
                }
                Some(by) if by != [mallory.pid()] => {
                    failures.push(format!("{name}, {end}: waits for {by:?}"));
                }
                Some(_) => {}
            }
            mallory.run(end);
            if let Err(error) = other.finish(SOON) {
                panic!("{name}, {end}: {}", describe(&error));
            }
            // In the end it was handed over all the same: the call keeps nobody out for longer.
            let owner: String = superuser.value(&format!(
                "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'app.{table}'::regclass"
            ));
            assert_eq!(owner, "victim");
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_call_waits_for_a_change_of_owner_and_is_refused_if_it_comes_true() {
    let (cluster, database, mut superuser) = world();
    let mut mallory = cluster.session_as(&database, "mallory").unwrap();
    mallory.run("SET pg_steward.lock_timeout = '30s'");
    let mut other = cluster.session(&database).unwrap();
    let mut failures = Vec::new();
    for call in &CALLS {
        for (end, expected) in [("COMMIT", "42501"), ("ROLLBACK", "done")] {
            let (name, table) = (call.name, format!("{}_{}", call.name, end.to_lowercase()));
            let sql = prepare(&mut superuser, &mut mallory, call, &table);
            other.run(&format!("BEGIN; ALTER TABLE app.{table} OWNER TO victim"));
            mallory.start(&sql);
            match kept_waiting(&mut superuser, &mut mallory) {
                None => failures.push(format!("{name}, {end}: did not wait")),
                Some(by) if by != [other.pid()] => {
                    failures.push(format!("{name}, {end}: waits for {by:?}"));
                }
                Some(_) => {}
            }
            other.run(end);
            let outcome = mallory.finish(SOON);
            let came = outcome.as_ref().map_or_else(sqlstate, |_| "done");
            if came != expected {
                let said = outcome.as_ref().err().map(describe).unwrap_or_default();
                failures.push(format!("{name}, {end}: {came}, not {expected}: {said}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
