//! Between the archive function's true and the drop: nobody's row gets lost there.

use pg_test::cluster::{Ask, Session, sqlstate, wait_until};

use crate::range_support::{Database, cluster};
use crate::retention_archive::{archive_function, attended};
use crate::unattended_support::SOON;

const RETAIN: &str = "SELECT steward.set_retention('mine.bets', '3 days', archive_function => 'mine.archive(regclass)')";

/// Copies the table, then waits until the test lets it go on.
const HELD_UP: &str = "BEGIN
        EXECUTE format('INSERT INTO mine.archive SELECT at FROM %s', gone);
        PERFORM pg_advisory_xact_lock(4711);
        RETURN true;
    END";

/// The table that is to leave, and a time that belongs into it.
fn leaving(database: &mut Database) -> (String, String) {
    let row: String = database.client.value(
        "SELECT partition || '|' || lower_bound FROM steward.partitions
          WHERE state = 'expired' AND level = 1",
    );
    let (table, at) = row.split_once('|').unwrap();
    (table.to_owned(), at.to_owned())
}

/// Maintenance of a set whose archive function, as [`HELD_UP`], has copied a table and waits for the first
/// of these to unlock 4711; the second is the CALL.
fn held_up(database: &mut Database) -> (Session, Session) {
    let mut gate = cluster().session(&database.name).unwrap();
    gate.run("SELECT pg_advisory_lock(4711)");
    let mut call = cluster().session(&database.name).unwrap();
    call.start("CALL steward.maintain('mine.bets')");
    wait_until(SOON, "the function has copied", || {
        database.client.value(
            "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
    });
    (gate, call)
}

#[test]
fn who_waits_for_the_archive_to_end_writes_nothing_that_the_drop_would_take() {
    let (mut database, owner) = attended(HELD_UP);
    database.client.run(&format!(
        "CREATE TABLE mine.archive (at timestamptz); ALTER TABLE mine.archive OWNER TO {owner}; {RETAIN};
         REVOKE USAGE ON SCHEMA steward FROM PUBLIC"
    ));
    let (table, at) = leaving(&mut database);
    let planned: String =
        database.client.value("SELECT sql FROM steward.plan('mine.bets') WHERE action = 'archive'");
    assert!(
        planned.contains(&format!(
            "\nCREATE OR REPLACE TRIGGER pg_steward_archived BEFORE INSERT OR UPDATE ON {table} "
        )),
        "{planned}"
    );
    let (mut gate, mut call) = held_up(&mut database);
    // A reader keeps the drop away for a while.
    let mut reader = cluster().session(&database.name).unwrap();
    reader.run(&format!("BEGIN; SELECT FROM {table}"));
    let mut writer = cluster().session(&database.name).unwrap();
    writer.start(&format!("INSERT INTO {table} VALUES ('{at}'::timestamptz + '1 minute')"));
    writer.wait_until_blocked(SOON);
    gate.run("SELECT pg_advisory_unlock(4711)");
    let refusal = writer.finish(SOON).unwrap_err();
    assert_eq!(sqlstate(&refusal), "55000", "{refusal}");
    let said = refusal.as_db_error().unwrap();
    assert!(said.message().contains(&format!("{table} is archived")), "{said:?}");
    assert!(said.hint().unwrap().contains("DROP TRIGGER"), "{said:?}");
    database.client.refused("55000", &format!("UPDATE {table} SET at = at + '1 second'"));
    // Also what a subscription applies.
    database.client.refused(
        "55000",
        &format!("SET session_replication_role = replica; INSERT INTO {table} VALUES ('{at}')"),
    );
    database.client.run("RESET session_replication_role");
    database.client.run(&format!("DELETE FROM {table}"));
    reader.run("COMMIT");
    call.finish(SOON * 2).unwrap();
    assert!(!database.client.value::<bool>(&format!("SELECT to_regclass('{table}') IS NOT NULL")));
    assert_eq!(database.client.value::<i64>("SELECT count(*) FROM mine.archive"), 1);
}

#[test]
fn nobody_writes_into_a_part_of_a_spread_period_that_is_being_archived() {
    let mut database = Database::new();
    let owner = database.own("archivist");
    database.client.run(&format!(
        "CREATE ROLE {owner}; CREATE SCHEMA mine AUTHORIZATION {owner}; SET ROLE {owner};
         CREATE TABLE mine.archive (at timestamptz);
         CREATE TABLE mine.bets (at timestamptz NOT NULL, id bigint) PARTITION BY RANGE (at);
         SELECT steward.manage_range('mine.bets', '1 day', premake => 1, time_zone => 'UTC',
                                     start_at => (now() - interval '4 days')::text,
                                     subpartition_by => 'id', subpartitions => 1);
         RESET ROLE"
    ));
    archive_function(&mut database.client, &owner, HELD_UP);
    database.client.run(RETAIN);
    let (table, at) = leaving(&mut database);
    let (mut gate, mut call) = held_up(&mut database);
    let mut writer = cluster().session(&database.name).unwrap();
    writer.start(&format!("INSERT INTO {table}_p0 VALUES ('{at}', 1)"));
    writer.wait_until_blocked(SOON);
    gate.run("SELECT pg_advisory_unlock(4711)");
    let refusal = writer.finish(SOON).unwrap_err();
    assert!(["55000", "42P01"].contains(&sqlstate(&refusal)), "{refusal}");
    call.finish(SOON).unwrap();
}

#[test]
fn a_key_that_is_deleted_elsewhere_does_not_meet_an_archived_table() {
    let (mut database, owner) = attended("BEGIN RETURN true; END");
    let client = &mut database.client;
    client.run(&format!(
        "SET ROLE {owner};
         CREATE TABLE mine.customer (id int PRIMARY KEY); INSERT INTO mine.customer VALUES (1), (2);
         ALTER TABLE mine.bets ADD customer int REFERENCES mine.customer ON DELETE SET NULL ON UPDATE CASCADE;
         UPDATE mine.bets SET customer = 1; RESET ROLE; {RETAIN}"
    ));
    let (table, _) = leaving(&mut database);
    let client = &mut database.client;
    // Something keeps it: it is archived, and stays.
    client.run(&format!("CREATE VIEW mine.on_it AS SELECT * FROM {table}"));
    let refusal = client.refused("2BP01", "CALL steward.maintain('mine.bets')");
    assert!(refusal.message().contains("cannot drop table"), "{refusal}");
    let archived = "SELECT count(*) FROM steward.partitions WHERE state = 'detached' AND archived_at IS NOT NULL";
    assert_eq!(client.value::<i64>(archived), 1);
    client.run("UPDATE mine.customer SET id = 3 WHERE id = 1; DELETE FROM mine.customer");
    assert_eq!(
        client.value::<i64>(&format!("SELECT count(*) FROM {table} WHERE customer IS NULL")),
        1
    );
    client.refused("55000", &format!("UPDATE {table} SET customer = NULL"));
    // It stands in nobody's way, and goes with the table.
    client.run("BEGIN; DROP EXTENSION pg_steward; ROLLBACK");
    client.run("DROP VIEW mine.on_it");
    client.run("CALL steward.maintain('mine.bets')");
    assert_eq!(client.value::<i64>(archived), 0);
    assert!(!client.value::<bool>(&format!("SELECT to_regclass('{table}') IS NOT NULL")));
}

#[test]
fn a_table_that_its_function_attaches_to_the_archive_stays_there() {
    let (mut database, owner) = attended(
        "BEGIN EXECUTE format('ALTER TABLE mine.archive ATTACH PARTITION %s DEFAULT', gone); RETURN true; END",
    );
    let client = &mut database.client;
    client.run(&format!(
        "CREATE TABLE mine.archive (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         ALTER TABLE mine.archive OWNER TO {owner}; {RETAIN}"
    ));
    let (table, _) = leaving(&mut database);
    let client = &mut database.client;
    // It is nobody's to drop any more.
    client.refused("55000", "CALL steward.maintain('mine.bets')");
    client.run("CALL steward.maintain('mine.bets')");
    client.run(&format!("INSERT INTO {table} TABLE mine.archive"));
    assert_eq!(client.value::<i64>("SELECT count(*) FROM mine.archive"), 2);
    assert_eq!(
        client.value::<i64>("SELECT count(*) FROM steward.partitions WHERE state = 'detached'"),
        0
    );
}

#[test]
fn a_function_may_leave_a_cursor_open() {
    let (mut database, _) = attended(
        "DECLARE c refcursor; BEGIN OPEN c FOR EXECUTE format('SELECT at FROM %s', gone); RETURN true; END",
    );
    database.client.run(RETAIN);
    let (table, _) = leaving(&mut database);
    database.maintain("mine.bets");
    let client = &mut database.client;
    assert!(!client.value::<bool>(&format!("SELECT to_regclass('{table}') IS NOT NULL")));
}

#[test]
fn another_function_is_asked_of_what_the_old_one_has_archived() {
    let (mut database, owner) = attended("BEGIN RETURN true; END");
    database.client.run(&format!(
        "{RETAIN};
         CREATE FUNCTION mine.better(gone regclass) RETURNS boolean LANGUAGE sql AS 'SELECT false';
         ALTER FUNCTION mine.better OWNER TO {owner}"
    ));
    let (table, _) = leaving(&mut database);
    let client = &mut database.client;
    client.run(&format!("CREATE VIEW mine.on_it AS SELECT * FROM {table}"));
    client.refused("2BP01", "CALL steward.maintain('mine.bets')");
    client.run(&format!("DROP VIEW mine.on_it; {}", RETAIN.replace("archive(", "better(")));
    client.refused("55000", "CALL steward.maintain('mine.bets')");
    let archived: i64 = client.value(
        "SELECT count(archived_at) FROM steward.partitions WHERE state = 'detached' AND archive_failures = 1",
    );
    assert_eq!(archived, 0);
    client.run("CREATE OR REPLACE FUNCTION mine.better(gone regclass) RETURNS boolean LANGUAGE sql AS 'SELECT true'");
    client.run("CALL steward.maintain('mine.bets')");
    assert!(!client.value::<bool>(&format!("SELECT to_regclass('{table}') IS NOT NULL")));
}
