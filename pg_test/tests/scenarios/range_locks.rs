//! Locks: creation goes through beside readers and writers, waits no longer than
//! pg_steward.lock_timeout, and every step says truly what it locks.

use std::collections::BTreeSet;
use std::time::Duration;

use pg_test::cluster::{Ask, Session, sqlstate, wait_until};

use crate::range_support::{Database, cluster};

const SOON: Duration = Duration::from_secs(30);

impl Database {
    fn session(&self) -> Session {
        cluster().session(&self.name).unwrap()
    }

    /// Proves that a lock on `table` is held or waited for by that session.
    #[track_caller]
    fn assert_locked(&mut self, session: &Session, table: &str, mode: &str, granted: bool) {
        let found = self.is_locked(session, table, mode, granted);
        assert!(found, "{mode} on {table} is not there");
    }

    fn is_locked(&mut self, session: &Session, table: &str, mode: &str, granted: bool) -> bool {
        self.client.value(&format!(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = {} AND relation = '{table}'::regclass
                             AND mode = '{mode}' AND granted = {granted})",
            session.pid()
        ))
    }
}

#[test]
fn creation_goes_through_beside_a_long_insert_and_a_long_select() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE hand_made PARTITION OF t FOR VALUES FROM (0) TO (100);
         INSERT INTO t VALUES (1)",
    );
    let (mut writer, mut reader) = (db.session(), db.session());
    writer.run("BEGIN; INSERT INTO t VALUES (2)");
    reader.run("BEGIN; DECLARE c CURSOR FOR SELECT * FROM t; FETCH c");
    db.assert_locked(&writer, "t", "RowExclusiveLock", true);
    db.assert_locked(&reader, "t", "AccessShareLock", true);
    db.client.run("SET pg_steward.lock_timeout = '100ms'");
    db.client.run("SELECT steward.manage_range('t', '100', premake => 1)");
    db.client.run("SELECT steward.alter_range('t', premake => 2)");
    db.client.run("INSERT INTO t VALUES (250)");
    db.maintain("t");
    assert_eq!(db.count("t"), 5);
    db.assert_locked(&writer, "t", "RowExclusiveLock", true);
    db.assert_locked(&reader, "t", "AccessShareLock", true);
    writer.run("COMMIT");
    reader.run("COMMIT");
}

#[test]
fn an_exclusive_lock_on_the_parent_is_given_up_on_after_lock_timeout() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE u (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
         SELECT steward.manage_range('t', '100', premake => 1); INSERT INTO t VALUES (100);
         SET pg_steward.lock_timeout = '200ms'",
    );
    let mut holder = db.session();
    holder.run("BEGIN; LOCK TABLE t, u IN ACCESS EXCLUSIVE MODE");
    db.assert_locked(&holder, "t", "AccessExclusiveLock", true);
    for call in [
        "CALL steward.maintain('t')",
        "SELECT steward.manage_range('u', '100')",
        "SELECT steward.alter_range('t', premake => 5)",
        "SELECT steward.plan('t')",
    ] {
        let mut caller = db.session();
        caller.run("SET pg_steward.lock_timeout = '200ms'");
        caller.start(call);
        let error = caller.finish(SOON).unwrap_err();
        assert_eq!(sqlstate(&error), "55P03", "{call}: {error}");
    }
    holder.run("COMMIT");
    assert_eq!((db.count("t"), db.count("u")), (2, 0));
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.partition_sets"), 1);
    db.maintain("t");
    assert_eq!(db.count("t"), 3);
}

#[test]
fn writers_of_the_parent_do_not_queue_behind_a_step_that_waits() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
         SELECT steward.manage_range('t', '100', premake => 1); INSERT INTO t VALUES (100)",
    );
    let (mut holder, mut caller) = (db.session(), db.session());
    holder.run("BEGIN; LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE");
    caller.run("SET pg_steward.lock_timeout = '60s'");
    caller.start("CALL steward.maintain('t')");
    caller.wait_until_blocked(SOON);
    db.assert_locked(&caller, "t", "ShareUpdateExclusiveLock", false);
    db.client.run("SET lock_timeout = '1s'; INSERT INTO t VALUES (101); SELECT count(*) FROM t");
    assert!(!caller.is_done());
    holder.run("COMMIT");
    caller.finish(SOON).unwrap();
    assert_eq!(db.count("t"), 3);
}

#[test]
fn who_queues_behind_a_step_is_let_through_after_lock_timeout() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
         SELECT steward.manage_range('t', '100', premake => 1, default_partition => true);
         INSERT INTO t VALUES (100), (-1)",
    );
    let (mut holder, mut caller, mut writer) = (db.session(), db.session(), db.session());
    // A long SELECT on the default partition: ATTACH wants ACCESS EXCLUSIVE there.
    holder.run("BEGIN; SELECT * FROM t_default");
    caller.run("SET pg_steward.lock_timeout = '1s'");
    caller.start("CALL steward.maintain('t')");
    wait_until(SOON, "the step waits for the default partition", || {
        db.is_locked(&caller, "t_default", "AccessExclusiveLock", false)
    });
    // An attempt may be over just before the writer comes.
    writer.start_until_blocked("BEGIN; INSERT INTO t VALUES (-2); ROLLBACK", SOON);
    // The SELECT is still open; the writer gets through all the same.
    writer.finish(SOON).unwrap();
    db.assert_locked(&holder, "t_default", "AccessShareLock", true);
    let error = caller.finish(SOON).unwrap_err();
    assert_eq!(sqlstate(&error), "55P03", "{error}");
    holder.run("COMMIT");
    db.maintain("t");
    assert_eq!(db.count("t"), 4);
}

/// The tables that a step's SQL locks in a way that somebody could be queued behind, and how
/// strongly, against what the step says.
#[track_caller]
fn assert_lock_is_true(db: &mut Database, what: &str) {
    db.client.run("INSERT INTO t (id) VALUES (100)");
    let (sql, said): (String, String) = {
        let row = db.client.query_one("SELECT sql, lock FROM steward.plan('t')", &[]).unwrap();
        (row.get(0), row.get(1))
    };
    let said: BTreeSet<String> = said.split(", ").map(str::to_owned).collect();
    db.client.run(&format!("BEGIN; {sql}"));
    let found: Vec<String> = db.client.column(
        "SELECT format('%s on %s', m.name, CASE WHEN l.relation = 't_p200'::regclass THEN 'the new partition'
                       ELSE format('%s.%I', c.relnamespace::regnamespace, c.relname) END)
           FROM (SELECT relation, max(strength) AS strength
                   FROM pg_locks JOIN (VALUES ('ShareUpdateExclusiveLock', 4), ('ShareLock', 5),
                        ('ShareRowExclusiveLock', 6), ('ExclusiveLock', 7), ('AccessExclusiveLock', 8))
                        v (mode, strength) USING (mode)
                  WHERE pid = pg_backend_pid() AND locktype = 'relation' GROUP BY relation) l
           JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p')
           JOIN (VALUES (4, 'SHARE UPDATE EXCLUSIVE'), (5, 'SHARE'), (6, 'SHARE ROW EXCLUSIVE'),
                        (7, 'EXCLUSIVE'), (8, 'ACCESS EXCLUSIVE')) m (strength, name) USING (strength)
          WHERE c.relnamespace = 'public'::regnamespace",
    );
    db.client.run("ROLLBACK");
    assert_eq!(
        said,
        found.into_iter().collect(),
        "{what}: left what the step says, right the truth"
    );
}

const MANAGE: &str = "SELECT steward.manage_range('t', '100', premake => 1)";

#[test]
fn the_lock_of_a_step_is_true_for_a_plain_set() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (id bigint PRIMARY KEY, a int) PARTITION BY RANGE (id);
         CREATE INDEX ON t (a); CREATE STATISTICS s ON id, a FROM t; {MANAGE}"
    ));
    assert_lock_is_true(&mut db, "plain");
}

#[test]
fn the_lock_of_a_step_is_true_with_a_default_partition() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE \"rest\" PARTITION OF t DEFAULT; {MANAGE}"
    ));
    assert_lock_is_true(&mut db, "default");
}

#[test]
fn the_lock_of_a_step_is_true_with_a_default_partition_that_is_partitioned() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE rest PARTITION OF t DEFAULT PARTITION BY RANGE (id);
         CREATE TABLE rest_of_rest PARTITION OF rest DEFAULT; {MANAGE}"
    ));
    assert_lock_is_true(&mut db, "partitioned default");
}

#[test]
fn the_lock_of_a_step_is_true_with_foreign_keys_out_of_the_set() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE customer (id int PRIMARY KEY);
         CREATE TABLE place (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE place_1 PARTITION OF place FOR VALUES FROM (0) TO (9);
         CREATE TABLE t (id bigint NOT NULL, customer int REFERENCES customer, place int REFERENCES place)
             PARTITION BY RANGE (id); {MANAGE}"
    ));
    assert_lock_is_true(&mut db, "referenced");
}

mod needs_minors_of_2025 {
    use super::*;

    #[test]
    fn the_lock_of_a_step_is_true_with_foreign_keys_into_the_set() {
        let mut db = Database::new();
        db.client.run(&format!(
            "CREATE TABLE t (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE child (t bigint REFERENCES t);
             CREATE TABLE many (t bigint REFERENCES t) PARTITION BY RANGE (t);
             CREATE TABLE many_1 PARTITION OF many FOR VALUES FROM (0) TO (9); {MANAGE}"
        ));
        assert_lock_is_true(&mut db, "referencing");
    }

    #[test]
    fn the_lock_of_a_step_is_true_with_a_foreign_key_of_the_set_into_itself() {
        let mut db = Database::new();
        db.client.run(&format!(
            "CREATE TABLE t (id bigint PRIMARY KEY, before bigint REFERENCES t) PARTITION BY RANGE (id); {MANAGE}"
        ));
        assert_lock_is_true(&mut db, "itself");
    }
}
