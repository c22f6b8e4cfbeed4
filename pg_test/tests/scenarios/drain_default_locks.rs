//! `CALL steward.drain_default()` beside others: who waits and who does not, what they see, and what a
//! kill leaves.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pg_test::cluster::{Ask, Outcome, Session, describe, signal, sqlstate, wait_until};
use pg_test::fixtures;
use postgres::SimpleQueryMessage;

use crate::drain_default::NUMBERS;
use crate::range_support::{Database, cluster};
use crate::unattended_crashes::reconnect_after_crash;

const SOON: Duration = Duration::from_secs(30);
const CALL: &str = "CALL steward.drain_default('t')";

impl Database {
    fn other(&self) -> Session {
        cluster().session(&self.name).unwrap()
    }

    /// `mode on table` of what a session holds on tables, without what nobody waits for.
    fn held(&mut self, session: &Session) -> Vec<String> {
        self.client.column(&format!(
            "SELECT format('%s on %s', l.mode, c.relname) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
              WHERE l.pid = {} AND l.granted AND c.relnamespace = 'public'::regnamespace
                AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock') ORDER BY 1",
            session.pid()
        ))
    }
}

/// The one number in an answer.
fn number(outcome: Outcome) -> i64 {
    let found = outcome.unwrap().iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).and_then(|text| text.parse().ok()),
        _ => None,
    });
    found.unwrap()
}

/// A set whose row 350 is not copied before the advisory lock 1 is to be had.
fn with_brake(db: &mut Database) {
    db.client.run(NUMBERS);
    db.client.run(
        "CREATE FUNCTION brake() RETURNS boolean LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(1); RETURN true; END $$;
         INSERT INTO t SELECT n, 'old' FROM generate_series(300, 399) n;
         ALTER TABLE t ADD CHECK (id <> 350 OR public.brake()) NOT VALID",
    );
}

/// A call that has begun to copy rows, and the session that holds it up.
fn held_up(db: &Database, lock_timeout: &str) -> (Session, Session) {
    let (mut holder, mut caller) = (db.other(), db.other());
    holder.run("SELECT pg_advisory_lock(1)");
    // Whatever the session's transactions are like otherwise.
    caller.run("SET default_transaction_isolation = 'serializable'");
    caller.run(&format!("SET pg_steward.lock_timeout = '{lock_timeout}'"));
    caller.start(CALL);
    caller.wait_until_blocked(SOON);
    (holder, caller)
}

#[test]
fn nobody_waits_while_rows_are_copied_and_late_rows_go_along() {
    let mut db = Database::new();
    with_brake(&mut db);
    let (mut holder, mut caller) = held_up(&db, "60s");
    let waits: bool = db.client.value(&format!(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = {} AND locktype = 'advisory' AND NOT granted)",
        caller.pid()
    ));
    assert!(waits, "it is not the copy that waits");
    assert_eq!(db.held(&caller), Vec::<String>::new());
    db.client.run("SET lock_timeout = '1s'");
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM t"), 100);
    // Into other partitions, into the default one, and into the very period.
    db.client
        .run("INSERT INTO t VALUES (5, 'x'), (150, 'x'), (950, 'x'), (301, 'late'), (302, 'late')");
    db.client.run("UPDATE t SET note = 'new' WHERE id = 950; DELETE FROM t WHERE id = 150");
    assert!(!caller.is_done());
    holder.run("SELECT pg_advisory_unlock(1)");
    caller.finish(SOON).unwrap();
    assert_eq!(db.rows("t"), ["t_p0 1", "t_p300 102", "t_p900 1"]);
    let late: i64 = db.client.value("SELECT count(*) FROM t_p300 WHERE note = 'late'");
    assert_eq!(late, 2);
}

#[test]
fn rows_that_change_while_they_are_copied_are_moved_as_they_are_then() {
    let mut db = Database::new();
    with_brake(&mut db);
    let (mut holder, mut caller) = held_up(&db, "60s");
    db.client.run(
        "SET lock_timeout = '1s';
         UPDATE t SET note = 'new' WHERE id BETWEEN 300 AND 309;
         UPDATE t SET id = 5 WHERE id = 310; UPDATE t SET id = 311 WHERE id = 312;
         DELETE FROM t WHERE id IN (320, 399); INSERT INTO t VALUES (320, 'again')",
    );
    let truth = "SELECT md5(string_agg(format('%s %s', id, note), ',' ORDER BY id, note)) FROM t";
    let before: String = db.client.value(truth);
    assert!(!caller.is_done());
    holder.run("SELECT pg_advisory_unlock(1)");
    caller.finish(SOON).unwrap();
    assert_eq!(db.client.value::<String>(truth), before);
    assert_eq!(db.rows("t"), ["t_p0 1", "t_p300 98"]);
}

#[test]
fn who_comes_at_the_end_sees_every_row_and_writes_to_the_new_partition() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE customer (id int PRIMARY KEY); INSERT INTO customer VALUES (1);
         CREATE TABLE t (id bigint PRIMARY KEY, customer int REFERENCES customer) PARTITION BY RANGE (id);
         SELECT steward.manage_range('t', '100', premake => 1, default_partition => true);
         INSERT INTO t SELECT n, 1 FROM generate_series(300, 399) n",
    );
    let mut prepared = db.other();
    prepared.run(
        "SET plan_cache_mode = force_generic_plan; PREPARE q AS SELECT count(*) FROM t; EXECUTE q",
    );
    // It has locked the set already when it has to wait for a table that a foreign key points to.
    let (mut holder, mut caller) = (db.other(), db.other());
    holder.run("BEGIN; INSERT INTO customer VALUES (2)");
    caller.run("SET pg_steward.lock_timeout = '60s'");
    caller.start(CALL);
    caller.wait_until_blocked(SOON);
    wait_until(SOON, "it has the set", || {
        db.held(&caller) == ["AccessExclusiveLock on t", "AccessExclusiveLock on t_default"]
    });
    let questions = [
        "SELECT count(*) FROM t",
        "EXECUTE q",
        "WITH u AS (UPDATE t SET customer = 1 WHERE id BETWEEN 300 AND 399 RETURNING 1) SELECT count(*) FROM u",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t",
        "DO $$ BEGIN INSERT INTO t VALUES (205, 1); END $$; SELECT count(*) FROM t WHERE id >= 300",
    ];
    let mut others: Vec<Session> = vec![db.other(), prepared, db.other(), db.other(), db.other()];
    for (other, question) in others.iter_mut().zip(questions) {
        other.start(question);
        other.wait_until_blocked(SOON);
    }
    assert!(!caller.is_done());
    holder.run("COMMIT");
    caller.finish(SOON).unwrap();
    for (other, question) in others.iter_mut().zip(questions) {
        // 205 is nobody's but the default partition's, and may be seen or not.
        let seen = number(other.finish(SOON));
        assert!((100..=101).contains(&seen), "{question}: {seen}");
    }
    others[3].run("COMMIT");
    assert_eq!(db.rows("t"), ["t_default 1", "t_p300 100"]);
}

#[test]
fn readers_that_count_all_the_time_never_see_a_row_less() {
    let mut db = Database::new();
    db.client.run(NUMBERS);
    db.client.run(
        "CREATE INDEX ON t (id);
         CREATE FUNCTION total() RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM t); END';
         INSERT INTO t SELECT n FROM generate_series(1, 6000) n",
    );
    let done = AtomicBool::new(false);
    let name = db.name.clone();
    let counted = thread::scope(|scope| {
        let mut readers = Vec::new();
        for (first, question) in [
            ("SELECT 1", "SELECT count(*) FROM t"),
            (
                "SET plan_cache_mode = force_generic_plan; PREPARE q AS SELECT count(*) FROM t",
                "EXECUTE q",
            ),
            (
                "SET plan_cache_mode = force_custom_plan; PREPARE q AS SELECT count(*) FROM t",
                "EXECUTE q",
            ),
            ("SELECT 1", "SELECT total()"),
            ("SET default_transaction_isolation = 'repeatable read'", "SELECT count(*) FROM t"),
        ] {
            let (done, name) = (&done, &name);
            readers.push(scope.spawn(move || {
                let mut client = cluster().connect(name).unwrap();
                client.run(first);
                let (mut most, mut looks) = (6000, 0);
                while !done.load(Ordering::Relaxed) || looks == 0 {
                    let seen = number(client.simple_query(question));
                    assert!(seen >= most, "{question}: {seen} after {most}");
                    (most, looks) = (seen, looks + 1);
                }
                looks
            }));
        }
        scope.spawn(|| {
            let mut client = cluster().connect(&name).unwrap();
            let mut next = 0;
            while !done.load(Ordering::Relaxed) {
                client.run(&format!("INSERT INTO t VALUES ({}), ({})", next % 200, next % 7000));
                next += 37;
            }
        });
        // Whatever comes of it, the others end.
        let outcome = cluster().connect(&name).unwrap().batch_execute(CALL);
        done.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|error| panic!("{}", describe(&error)));
        readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<i32>>()
    });
    assert!(counted.iter().all(|looks| *looks > 0), "{counted:?}");
    db.drain("t");
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM ONLY t_default"), 0);
    assert_eq!(
        db.client.value::<i64>("SELECT count(DISTINCT id) FROM t WHERE id BETWEEN 1 AND 6000"),
        6000
    );
}

#[test]
fn a_reader_who_stays_makes_the_period_fail_and_holds_nobody_up_for_longer() {
    let mut db = Database::new();
    db.client.run(NUMBERS);
    db.client.run("INSERT INTO t VALUES (350), (450)");
    for holds in ["SELECT count(*) FROM t", "SELECT count(*) FROM t_default"] {
        let (mut reader, mut caller, mut writer) = (db.other(), db.other(), db.other());
        reader.run(&format!("BEGIN; {holds}"));
        caller.run("SET pg_steward.lock_timeout = '1s'");
        caller.start(CALL);
        caller.wait_until_blocked(SOON);
        // An attempt may be over just before the writer comes.
        writer.start_until_blocked("BEGIN; INSERT INTO t VALUES (5); ROLLBACK", SOON);
        // The reader is still there; the writer gets through all the same.
        writer.finish(SOON).unwrap();
        assert!(!caller.is_done());
        let error = caller.finish(SOON).unwrap_err();
        assert_eq!(sqlstate(&error), "55P03", "{}", describe(&error));
        assert!(describe(&error).contains("2 of 2 steps failed"), "{}", describe(&error));
        assert_eq!(db.client.value::<i64>("SELECT count(*) FROM t_default"), 2);
        reader.run("COMMIT");
    }
    db.drain("t");
    assert_eq!(db.rows("t"), ["t_p300 1", "t_p400 1"]);
}

#[test]
fn a_cancelled_call_keeps_what_it_has_done_and_is_logged() {
    let mut db = Database::new();
    with_brake(&mut db);
    db.client.run("INSERT INTO t VALUES (-5)");
    let (_holder, mut caller) = held_up(&db, "60s");
    db.client.run(&format!("SELECT pg_cancel_backend({})", caller.pid()));
    let error = caller.finish(SOON).unwrap_err();
    assert_eq!(sqlstate(&error), "57014");
    assert_eq!(db.rows("t"), ["t_default 100", "t_pm100 1"]);
    let run: String = db.client.value(
        "SELECT format('%s %s %s', status, sqlstate, detail->>'rows_moved') FROM steward.job_runs
          ORDER BY run_id DESC LIMIT 1",
    );
    assert_eq!(run, "cancelled 57014 1");
}

#[test]
fn kill_9_at_any_moment_leaves_all_rows_and_no_half_made_partition() {
    let cluster = fixtures::cluster().conf("pg_steward.enabled = off").start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(NUMBERS);
    let rounds = if std::env::var_os("PG_STEWARD_THOROUGH").is_some() { 30 } else { 6 };
    for round in 1..=rounds {
        client.run(&format!(
            "INSERT INTO t SELECT n FROM generate_series({0} * 10000, {0} * 10000 + 2999) n",
            round
        ));
        let mut caller = cluster.session(&database).unwrap();
        caller.start(CALL);
        let random = RandomState::new().build_hasher().finish() % 400;
        thread::sleep(Duration::from_millis(random)); // the random moment
        signal("KILL", caller.pid().unsigned_abs()).unwrap();
        let _ = caller.finish(SOON);
        client = reconnect_after_crash(&cluster, &database, &mut client);
        let what = format!("round {round}, after {random} ms");
        assert_eq!(client.value::<i64>("SELECT count(*) FROM t"), round * 3000, "{what}");
        let orphans: i64 = client.value(
            "SELECT count(*) FROM pg_class c WHERE c.relname LIKE 't\\_%' AND c.relkind = 'r'
                AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)",
        );
        assert_eq!(orphans, 0, "{what}");
        let crashed: i64 =
            client.value("SELECT count(*) FROM steward.job_run WHERE status = 'crashed'");
        let running: i64 =
            client.value("SELECT count(*) FROM steward.job_run WHERE status = 'running'");
        client.run(CALL);
        assert_eq!(client.value::<i64>("SELECT count(*) FROM ONLY t_default"), 0, "{what}");
        let sum: i64 = client.value("SELECT count(DISTINCT id) FROM t");
        assert_eq!(sum, round * 3000, "{what}");
        let closed = "SELECT count(*) FROM steward.job_run WHERE status = 'crashed'";
        assert_eq!(client.value::<i64>(closed), crashed + running, "{what}");
    }
}
