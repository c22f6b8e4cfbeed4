//! Sets that foreign keys point to: a period leaves when no row points into it any more, and nobody waits long
//! for us to see that.

use pg_test::cluster::{Ask, sqlstate};

use crate::range_support::{Database, cluster};
use crate::unattended_support::SOON;

/// A set of keys by tens, of which those up to 20 may go, and what is left of it.
fn keys(db: &mut Database) {
    db.client.run(
        "CREATE TABLE keys (id bigint PRIMARY KEY, note text) PARTITION BY RANGE (id);
         SELECT steward.manage_range('keys', '10', premake => 6);
         INSERT INTO keys SELECT generate_series(1, 41);
         SELECT steward.set_retention('keys', '20')",
    );
}

fn left(db: &mut Database) -> Vec<String> {
    db.client.column(
        "SELECT lower_bound FROM steward.partitions WHERE parent = 'keys'::regclass AND state <> 'future'
          ORDER BY lower_bound::int",
    )
}

#[test]
fn a_period_leaves_when_no_row_points_into_it() {
    let mut db = Database::new();
    keys(&mut db);
    db.client.run("CREATE TABLE pointing (k bigint REFERENCES keys); INSERT INTO pointing VALUES (12), (NULL), (35)");
    let plan: Vec<String> = db.client.column(
        "SELECT format('%s %s; %s', action, lock, reason) FROM steward.plan('keys') WHERE action = 'detach'",
    );
    assert_eq!(plan.len(), 2, "{plan:?}");
    for step in &plan {
        assert!(step.contains("ACCESS EXCLUSIVE on public.keys and on"), "{step}");
        assert!(step.contains("SHARE on public.pointing"), "{step}");
        assert!(step.contains("if no row of public.pointing points into it"), "{step}");
    }
    // 0 to 10 has none, 10 to 20 one.
    let refusal = db.client.refused("2BP01", "CALL steward.maintain('keys')");
    assert!(refusal.message().contains("public.keys_p10"), "{refusal}");
    assert!(
        refusal.hint().unwrap().contains("when no row of public.pointing points into it"),
        "{refusal}"
    );
    assert_eq!(left(&mut db), ["10", "20", "30", "40"]);
    db.client.run("DELETE FROM pointing WHERE k = 12");
    db.maintain("keys");
    assert_eq!(left(&mut db), ["20", "30", "40"]);
    // The key holds for the rest.
    db.client.refused("23503", "DELETE FROM keys WHERE id = 35");
    db.client.refused("23503", "INSERT INTO pointing VALUES (12)");
    db.client.run("INSERT INTO pointing VALUES (36)");
}

#[test]
fn by_several_columns_and_from_a_partitioned_table() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE keys (\"A b\" text, id bigint, PRIMARY KEY (id, \"A b\")) PARTITION BY RANGE (id);
         SELECT steward.manage_range('keys', '10', premake => 6);
         INSERT INTO keys SELECT 'x', generate_series(1, 41);
         SELECT steward.set_retention('keys', '20');
         CREATE TABLE pointing (k bigint, \"of Keys\" text, FOREIGN KEY (k, \"of Keys\") REFERENCES keys (id, \"A b\")) PARTITION BY LIST (k);
         CREATE TABLE pointing_some PARTITION OF pointing FOR VALUES IN (5, 6);
         CREATE TABLE pointing_rest PARTITION OF pointing DEFAULT;
         INSERT INTO pointing VALUES (5, 'x'), (25, 'x'), (15, NULL)",
    );
    let refusal = db.client.refused("2BP01", "CALL steward.maintain('keys')");
    assert!(refusal.message().contains("public.keys_p0"), "{refusal}");
    assert_eq!(left(&mut db), ["0", "20", "30", "40"]);
    db.client.run("DELETE FROM pointing WHERE k = 5");
    db.maintain("keys");
    assert_eq!(left(&mut db), ["20", "30", "40"]);
}

#[test]
fn a_writer_of_the_other_table_is_not_made_to_fail() {
    let mut db = Database::new();
    keys(&mut db);
    db.client.run("CREATE TABLE pointing (k bigint REFERENCES keys)");
    let mut writer = cluster().session(&db.name).unwrap();
    writer.run("BEGIN; INSERT INTO pointing VALUES (35)");
    // It has both tables; neither is had, and nothing is held while the other is waited for.
    let refusal = db.client.refused("55P03", "CALL steward.maintain('keys')");
    assert!(refusal.hint().is_some(), "{refusal}");
    writer.run("INSERT INTO pointing VALUES (36)");
    writer.run("COMMIT");
    // A reader of the set that then writes into the other table: a deadlock in the making, and we give it up.
    let mut reader = cluster().session(&db.name).unwrap();
    reader.run("BEGIN; SELECT count(*) FROM keys");
    let mut caller = cluster().session(&db.name).unwrap();
    caller.start_until_blocked("CALL steward.maintain('keys')", SOON);
    reader.start("INSERT INTO pointing VALUES (37)");
    reader.finish(SOON).unwrap();
    reader.run("COMMIT");
    // It is tried three times: the last may have had its turn.
    if let Err(error) = caller.finish(SOON) {
        assert_eq!(sqlstate(&error), "55P03");
        db.maintain("keys");
    }
    assert_eq!(left(&mut db), ["20", "30", "40"]);
}

#[test]
fn what_takes_too_long_to_see_keeps_nobody_waiting() {
    let mut db = Database::new();
    keys(&mut db);
    // 0 and 10 are full, and nothing points there; the server would look at every row.
    db.client.run(
        "CREATE TABLE pointing (k bigint REFERENCES keys);
         CREATE FUNCTION slowly(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.01); RETURN $1 = $2; END $$;
         INSERT INTO pointing SELECT 35 FROM generate_series(1, 400000);
         ALTER TABLE pointing SET (parallel_workers = 0);
         SET pg_steward.lock_timeout = '10ms'",
    );
    let refusal = db.client.refused("55000", "CALL steward.maintain('keys')");
    assert!(refusal.message().contains("could not be seen within 10 ms"), "{refusal}");
    assert!(refusal.hint().unwrap().contains("public.pointing"), "{refusal}");
    assert_eq!(left(&mut db)[0], "0");
    db.client.run("RESET pg_steward.lock_timeout; CREATE INDEX ON pointing (k); ANALYZE pointing");
    db.maintain("keys");
    assert_eq!(left(&mut db), ["20", "30", "40"]);
}

#[test]
fn another_owners_table_and_the_set_itself_are_not_looked_into() {
    let mut db = Database::new();
    keys(&mut db);
    let other = db.own("other");
    db.client.run(&format!(
        "CREATE ROLE {other}; CREATE TABLE pointing (k bigint REFERENCES keys); ALTER TABLE pointing OWNER TO {other};
         CREATE TABLE seen (who text); GRANT INSERT ON seen TO PUBLIC;
         CREATE FUNCTION note() RETURNS int LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO public.seen VALUES (current_user); RETURN 0; END $$;
         CREATE FUNCTION zero(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
             $$ DECLARE x int; BEGIN SELECT public.note() INTO x; RETURN 0; END $$;
         CREATE INDEX ON pointing ((k + zero(1))); TRUNCATE seen"
    ));
    let refusal = db.client.refused("2BP01", "CALL steward.maintain('keys')");
    assert!(refusal.hint().unwrap().contains("code of another owner"), "{refusal}");
    let seen: i64 = db.client.value("SELECT count(*) FROM seen");
    assert_eq!(seen, 0, "the other owner's code was called");
    db.client.run("DROP TABLE pointing; ALTER TABLE keys ADD before bigint REFERENCES keys");
    let refusal = db.client.refused("2BP01", "CALL steward.maintain('keys')");
    assert!(refusal.hint().unwrap().contains("drop the foreign key"), "{refusal}");
    assert_eq!(left(&mut db)[0], "0");
}

#[test]
fn a_sessions_own_statement_timeout_holds_on() {
    let mut db = Database::new();
    keys(&mut db);
    db.client.run(
        "CREATE TABLE pointing (k bigint REFERENCES keys);
         CREATE FUNCTION hangs(regclass) RETURNS boolean LANGUAGE sql AS 'SELECT pg_catalog.pg_sleep(600) IS NULL';
         SELECT steward.set_retention('keys', '20', archive_function => 'hangs(regclass)');
         SET statement_timeout = '3s'",
    );
    db.client.refused("57014", "CALL steward.maintain('keys')");
    let gone: i64 =
        db.client.value("SELECT count(*) FROM steward.partitions WHERE state = 'detached'");
    assert_eq!(gone, 1);
}
