//! Refused with words of our own: what is no function, what only reads, what the owner may not do.

use std::process::Stdio;

use pg_test::cluster::{Ask, Cluster, describe, sqlstate};
use pg_test::fixtures;
use pg_test::setup::privilege::as_server_account;
use postgres::Client;

use crate::range_support::{Database, cluster};
use crate::unattended_support::drop_newest;

const MANAGED: &str = "CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at);
    SELECT steward.manage_range('t', '1 day')";

#[test]
fn what_is_no_function_is_no_archive_function() {
    let mut db = Database::new();
    db.client.run(MANAGED);
    db.client.run(
        "CREATE FUNCTION gone(regclass) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE TABLE noted AS SELECT 'gone(regclass)'::regprocedure::oid AS function;
         DROP FUNCTION gone(regclass)",
    );
    let gone: u32 = db.client.value("SELECT function FROM noted");
    for function in ["'-'::regprocedure", "0::regprocedure", &format!("{gone}::regprocedure")] {
        let refusal = db.client.refused(
            "22023",
            &format!("SELECT steward.set_retention('t', '1 day', archive_function => {function})"),
        );
        assert!(refusal.message().contains("archive_function"), "{function}: {refusal}");
        assert!(refusal.hint().is_some(), "{function}: {refusal}");
        let kept: Option<String> = db.client.value("SELECT retention FROM steward.partition_sets");
        assert_eq!(kept, None, "{function}");
    }
}

/// Each of the calls that write; `JOB` stands for the number of a job.
const CALLS: [(&str, &str); 13] = [
    ("manage_range()", "SELECT steward.manage_range('plain')"),
    ("alter_range()", "SELECT steward.alter_range('t', premake => 4)"),
    ("manage_hash()", "SELECT steward.manage_hash('hashed')"),
    ("alter_hash()", "SELECT steward.alter_hash('h', name_format => '{parent}_{remainder}')"),
    ("set_retention()", "SELECT steward.set_retention('t', '1 day')"),
    ("clear_retention()", "SELECT steward.clear_retention('t')"),
    ("set_tiering()", "SELECT steward.set_tiering('t', '1 day', 'pg_default')"),
    ("clear_tiering()", "SELECT steward.clear_tiering('t')"),
    ("unmanage()", "SELECT steward.unmanage('t')"),
    ("alter_job()", "SELECT steward.alter_job(JOB, priority => 6)"),
    ("pause_job()", "SELECT steward.pause_job(JOB)"),
    ("resume_job()", "SELECT steward.resume_job(JOB)"),
    ("acknowledge_alert()", "SELECT steward.acknowledge_alert(1)"),
];

/// Those that cannot run inside of BEGIN; `maintain` would do something for each of several sets.
const PROCEDURES: [(&str, &str); 4] = [
    ("maintain()", "CALL steward.maintain()"),
    ("maintain()", "CALL steward.maintain('t')"),
    ("run_job()", "CALL steward.run_job(JOB)"),
    ("drain_default()", "CALL steward.drain_default('t')"),
];

/// None: refused as a read-only transaction, once and with the call's name; else what came instead.
fn not_read_only(client: &mut Client, name: &str, sql: &str) -> Option<String> {
    let error = match client.batch_execute(sql) {
        Ok(()) => return Some(format!("done: {sql}")),
        Err(error) => error,
    };
    let said = error.as_db_error().unwrap();
    let is_well_said = sqlstate(&error) == "25006"
        && said.message().starts_with("cannot execute ")
        && said.message().ends_with(&format!("{name} in a read-only transaction"))
        && said.hint().is_some();
    (!is_well_said).then(|| format!("{}\n  in: {sql}", describe(&error)))
}

#[test]
fn a_read_only_transaction_is_told_so_once_and_by_the_calls_name() {
    let mut db = Database::new();
    db.client.run(MANAGED);
    db.client.run(
        "SELECT steward.set_retention('t', '1000 days');
         CREATE TABLE u (LIKE t) PARTITION BY RANGE (at); SELECT steward.manage_range('u', '1 day');
         CREATE TABLE h (n int) PARTITION BY HASH (n); SELECT steward.manage_hash('h', 2);
         CREATE TABLE plain (LIKE t) PARTITION BY RANGE (at);
         CREATE TABLE hashed (n int) PARTITION BY HASH (n)",
    );
    // Something to do, and to fail with, for each.
    for set in ["t", "u"] {
        drop_newest(&mut db.client, set);
    }
    db.client.run("DROP TABLE h_p1");
    let job: i64 = db.client.value("SELECT job_id FROM steward.jobs WHERE target = 't'::regclass");
    let mut failures = Vec::new();
    for (name, call) in CALLS {
        let call = call.replace("JOB", &job.to_string());
        failures.extend(not_read_only(&mut db.client, name, &format!("BEGIN READ ONLY; {call}")));
        db.client.run("ROLLBACK");
    }
    let mut reader = db.connect_as("postgres");
    reader.run("SET default_transaction_read_only = on");
    for (name, call) in CALLS.iter().chain(&PROCEDURES) {
        let call = call.replace("JOB", &job.to_string());
        failures.extend(not_read_only(&mut reader, name, &call));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // Nor was anything written down, and what only reads goes on.
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.job_runs"), 0);
    let views: Vec<String> = db.client.column(
        "SELECT oid::regclass::text FROM pg_class
          WHERE relnamespace = 'steward'::regnamespace AND relkind = 'v'",
    );
    for view in views {
        reader.run(&format!("SELECT * FROM {view}"));
    }
    assert_eq!(reader.value::<i64>("SELECT count(*) FROM steward.plan()"), 3);
}

#[test]
fn what_the_import_is_made_of_takes_anything() {
    let mut db = Database::new();
    db.client.run("CREATE TABLE plain (k bigint)");
    let of_nothing: Vec<String> = db.client.column(
        "SELECT format('SELECT %s(%s)', p.oid::regproc,
                       (SELECT string_agg(format('NULL::%s', format_type(a.t, NULL)), ', ' ORDER BY a.n)
                          FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY a(t, n)))
           FROM pg_proc p
          WHERE p.pronamespace = 'steward'::regnamespace AND p.proname ~ '^pg_partman_'
            AND p.pronargs > 0",
    );
    assert!(of_nothing.len() >= 6, "{of_nothing:?}");
    let mut calls = of_nothing;
    for parent in ["NULL", "'plain'", "'pg_class'", "'steward.job'", "1::oid::regclass"] {
        for by_id in ["NULL", "true", "false"] {
            for config in [
                "NULL",
                "'{}'",
                "'{\"partition_interval\": \"10\", \"control\": \"k\", \"premake\": 4}'",
            ] {
                calls.push(format!(
                    "SELECT steward.pg_partman_calendar({parent}, {config}, NULL, {by_id})"
                ));
            }
        }
    }
    let mut failures = Vec::new();
    for call in &calls {
        if let Err(error) = db.client.batch_execute(call) {
            let code = sqlstate(&error);
            if code == "42601" || code.starts_with("XX") {
                failures.push(format!("{}\n  in: {call}", describe(&error)));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), calls.len(), failures.join("\n"));
}

#[test]
fn a_step_that_the_owner_may_not_take_says_who_needs_what() {
    let mut db = Database::new();
    let owner = db.own("poor");
    db.client.run(&format!(
        "CREATE ROLE {owner}; CREATE SCHEMA z; GRANT USAGE, CREATE ON SCHEMA z TO {owner};
         SET ROLE {owner};
         CREATE TABLE z.t (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('z.t', '1 day');
         CREATE TABLE z.u (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         RESET ROLE;
         REVOKE CREATE ON SCHEMA z FROM {owner}"
    ));
    drop_newest(&mut db.client, "z.t");
    for call in [
        "CALL steward.maintain('z.t')",
        "CALL steward.maintain()",
        "SELECT steward.manage_range('z.u')",
    ] {
        let refusal = db.client.refused("42501", call);
        assert!(refusal.message().contains("permission denied for schema z"), "{call}: {refusal}");
        let hint = refusal.hint().unwrap_or_default();
        assert!(hint.contains("GRANT") && hint.contains(&owner), "{call}: {hint:?}");
    }
    db.client.run(&format!("GRANT CREATE ON SCHEMA z TO {owner}"));
    db.client.run("CALL steward.maintain('z.t')");
    db.client.run(&format!("DROP OWNED BY {owner}; DROP ROLE {owner}"));
}

/// A server that has this in its environment; the fixture's own start keeps what is for Rust from it.
fn start_with(name: &str, value: &str) -> Cluster {
    let cluster = fixtures::cluster().conf("pg_steward.enabled = off").create().unwrap();
    let status = as_server_account(cluster.installation().program("pg_ctl"))
        .args(["start", "--silent", "--wait", "--timeout", "60", "--pgdata"])
        .arg(cluster.data_dir())
        .arg("--log")
        .arg(cluster.log_file())
        .env(name, value)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{}", cluster.log_tail(20));
    let postmaster = cluster.postmaster_pid().unwrap();
    let environment = std::fs::read(format!("/proc/{postmaster}/environ")).unwrap();
    let wanted = format!("{name}={value}");
    assert!(environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()));
    cluster
}

#[test]
fn no_detail_is_a_backtrace() {
    let cluster = start_with("RUST_BACKTRACE", "1");
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE FUNCTION raises(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF current_setting('test.raise', true) = 'on' THEN
                 RAISE EXCEPTION 'no' USING ERRCODE = 'P4242', DETAIL = 'A detail.', HINT = 'A hint.';
             END IF;
             RETURN true;
         END $$;
         CREATE TABLE plain (at timestamptz);
         CREATE TABLE owned (at timestamptz) PARTITION BY RANGE (at);
         CREATE TABLE t (at timestamptz NOT NULL, CHECK (raises(1))) PARTITION BY RANGE (at);
         SELECT steward.manage_range('t', '1 day'); CREATE ROLE somebody; GRANT CREATE ON SCHEMA public TO somebody",
    );
    drop_newest(&mut client, "t");
    client.run("CREATE TABLE locked (LIKE t) PARTITION BY RANGE (at); SELECT steward.manage_range('locked', '1 day')");
    let mut holder = cluster.session(&database).unwrap();
    holder.run("BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE");
    let mut failures = Vec::new();
    for sql in [
        // Ours: without a detail and with one.
        "SELECT steward.manage_range('plain')",
        "SELECT steward.manage_range('t')",
        "SELECT steward.manage_range('owned', 'soon')",
        "SELECT steward.alter_job(99)",
        "SELECT steward.manage_range(NULL)",
        "SET ROLE somebody; SELECT steward.unmanage('t')",
        // Caught from SQL, raised again by a function and by a procedure.
        "RESET ROLE; SET test.raise = 'on'; SELECT steward.alter_range('t', premake => 9)",
        "CALL steward.maintain('t')",
        // Not caught by anybody: from tables of ours that somebody has tampered with, from one that reads
        // only, from a lock that is not had, from a cancel.
        "BEGIN; ALTER TABLE steward.job RENAME next_run_at TO gone; SELECT steward.alter_job(1, priority => 6)",
        "BEGIN; ALTER TABLE steward.range_policy RENAME keep TO gone; SELECT steward.set_retention('t', '1 day')",
        "BEGIN READ ONLY; SELECT steward.alter_job(1, priority => 6)",
        "SELECT steward.alter_job(1, max_runtime => '2147483647 days')",
        "SET lock_timeout = '100ms'; SELECT steward.plan('locked')",
        "SET statement_timeout = '100ms'; SELECT steward.plan('locked')",
    ] {
        let error = client.batch_execute(sql).unwrap_err();
        let said = error.as_db_error().unwrap();
        let detail = said.detail().unwrap_or_default();
        if is_backtrace(detail) || is_backtrace(said.message()) || detail.lines().count() > 2 {
            failures.push(format!("{sql}: {detail:.400}"));
        }
        // What was set in the same transaction went with it, unless that was the one before.
        client.run("ROLLBACK; RESET ROLE; SET test.raise = 'on'");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let log = std::fs::read(cluster.log_file()).unwrap();
    let log = String::from_utf8_lossy(&log);
    assert!(log.contains("ERROR:  job 99 does not exist"), "the log is another");
    let first = log.lines().find(|line| is_backtrace(line));
    assert_eq!(first, None, "in the log");
}

/// As `std::backtrace` shows one: frames with numbers, modules and files.
fn is_backtrace(text: &str) -> bool {
    let is_frame = |line: &str| {
        let line = line.trim_start();
        let number = line.split(':').next().unwrap_or_default();
        let is_numbered = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
        (is_numbered && line.contains("::")) || (line.starts_with("at ") && line.contains(".rs:"))
    };
    text.to_lowercase().contains("backtrace") || text.lines().any(is_frame)
}

#[test]
fn the_owner_of_a_database_can_dump_it() {
    let mut db = Database::new();
    let (owner, reader) = (db.own("dumper"), db.own("reader"));
    db.client.run(&format!(
        "CREATE ROLE {owner} LOGIN; CREATE ROLE {reader} LOGIN; ALTER DATABASE {0} OWNER TO {owner};
         GRANT CREATE ON DATABASE {0} TO {owner}",
        db.name
    ));
    let mut client = db.connect_as(&owner);
    client.run(
        "CREATE SCHEMA mine;
         CREATE TABLE mine.bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('mine.bets', '1 day');
         SELECT steward.set_retention('mine.bets', '1000 days');
         CREATE TABLE mine.spread (n int) PARTITION BY HASH (n); SELECT steward.manage_hash('mine.spread', 2)",
    );
    let output = as_server_account(cluster().installation().program("pg_dump"))
        .arg("--host")
        .arg(cluster().socket_dir())
        .args(["--username", &owner, "--dbname", &db.name])
        .output()
        .unwrap();
    let (dump, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    // The rows of a table, as COPY has them.
    let rows = |table: &str| -> Vec<&str> {
        let start =
            dump.find(&format!("COPY steward.{table} (")).unwrap_or_else(|| panic!("no {table}"));
        dump[start..].lines().skip(1).take_while(|line| *line != "\\.").collect()
    };
    let sets = rows("restored");
    assert_eq!(sets.len(), 2, "{sets:?}");
    assert!(
        sets.iter().any(|row| row.starts_with("range\tmine\tbets\t") && row.contains("1000 days"))
    );
    assert!(sets.iter().any(|row| row.starts_with("hash\tmine\tspread\t")));
    assert!(sets.iter().all(|row| row.contains("\"job_id\": ")), "{sets:?}");
    assert!(dump.contains("steward.job_job_id_seq"), "the sequence is not in it");
    // It is the owner's to read, and nobody else's; and nobody's to write.
    let mut other = db.connect_as(&reader);
    for table in ["job", "job_run", "range_policy", "hash_policy", "retired_partition", "restored"]
    {
        other.refused("42501", &format!("TABLE steward.{table}"));
        client.refused("42501", &format!("DELETE FROM steward.{table}"));
    }
    other.refused("42501", "SELECT FROM steward.dumped()");
    other.refused("42501", "SELECT steward.dump_arrives()");
    db.client.run(&format!("GRANT pg_read_all_data TO {reader}"));
    assert_eq!(other.value::<i64>("SELECT count(*) FROM steward.dumped()"), 2);
}
