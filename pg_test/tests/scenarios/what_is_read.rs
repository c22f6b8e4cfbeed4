//! What is read decides what is made and what goes: no policy hides any of it, and no partition's owner.

use pg_test::cluster::Ask;

use crate::range_support::Database;
use crate::retention_archive::{RETAIN, attended};

/// Row security on each partition of a set, for its owner, too.
fn hide(database: &mut Database, set: &str) {
    let statements: Vec<String> = database.client.column(&format!(
        "SELECT format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', inhrelid::regclass)
           FROM pg_inherits WHERE inhparent = '{set}'::regclass"
    ));
    statements.iter().for_each(|statement| database.client.run(statement));
}

#[test]
fn an_archive_function_that_would_not_see_all_rows_fails_and_nothing_is_lost() {
    let (mut database, owner) = attended(
        "DECLARE moved bigint; seen bigint; BEGIN
             EXECUTE 'INSERT INTO mine.kept SELECT * FROM ' || gone; GET DIAGNOSTICS moved = ROW_COUNT;
             EXECUTE 'SELECT count(*) FROM ' || gone INTO seen; RETURN moved = seen; END",
    );
    database
        .client
        .run(&format!("SET ROLE {owner}; CREATE TABLE mine.kept (LIKE mine.bets); RESET ROLE"));
    hide(&mut database, "mine.bets");
    let rows: i64 = database.client.value("SELECT count(*) FROM mine.bets");
    database.client.run(RETAIN);
    let refusal = database.client.refused("42501", "CALL steward.maintain('mine.bets')");
    assert!(refusal.message().contains("row-level security policy"), "{refusal}");
    let detached: Vec<String> = database
        .client
        .column("SELECT partition::text FROM steward.partitions WHERE state = 'detached'");
    assert_eq!(detached.len(), 2, "they stay until somebody has archived them");
    for table in &detached {
        database.client.run(&format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"));
    }
    database.maintain("mine.bets");
    let left: i64 = database
        .client
        .value("SELECT (SELECT count(*) FROM mine.bets) + (SELECT count(*) FROM mine.kept)");
    assert_eq!(left, rows, "rows in the set and in the archive");
    let kept: i64 = database.client.value("SELECT count(*) FROM mine.kept");
    assert_eq!(kept, 2);
}

#[test]
fn policies_on_partitions_do_not_blind_a_set_of_integers() {
    let mut database = Database::new();
    let owner = database.own("owner");
    database.client.run(&format!(
        "CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner}; SET ROLE {owner};
         CREATE TABLE n (id bigint NOT NULL) PARTITION BY RANGE (id);
         SELECT count(*) FROM steward.manage_range('n', '10', 2);
         INSERT INTO n SELECT generate_series(1, 25); RESET ROLE"
    ));
    hide(&mut database, "n");
    database.maintain("n");
    assert_eq!(
        database.states("n"),
        ["0 10 past", "10 20 past", "20 30 current", "30 40 future", "40 50 future"]
    );
    database.client.run("INSERT INTO n VALUES (31)");
}

#[test]
fn the_highest_key_is_found_with_and_without_an_index_in_either_order() {
    for index in
        ["", "CREATE INDEX ON k (id)", "CREATE INDEX ON k (id DESC, n)", "CREATE INDEX ON k (n)"]
    {
        for key in ["bigint", "numeric", "smallint"] {
            let mut database = Database::new();
            database.client.run(&format!(
                "CREATE TABLE k (n int, id {key} NOT NULL) PARTITION BY RANGE (id);
                 SELECT count(*) FROM steward.manage_range('k', '10', premake => 1);
                 INSERT INTO k SELECT n, n FROM generate_series(0, 19) n; {index};
                 ALTER TABLE k DROP COLUMN n; ALTER TABLE k ADD n int;
                 SELECT steward.set_retention('k', '7')"
            ));
            database.maintain("k");
            // 19 - 7 = 12: what ends at 10 leaves; and no more when what was deleted was the highest.
            assert_eq!(database.count("k"), 2, "{key}, {index}");
            database.client.run("DELETE FROM k WHERE id > 15; DELETE FROM k WHERE id = 15");
            database.maintain("k");
            let next: String = database.client.value(
                "SELECT string_agg(lower_bound || ' ' || state, ', ') FROM steward.partitions",
            );
            assert_eq!(next, "10 current, 20 future", "{key}, {index}");
        }
    }
}

#[test]
fn rows_in_the_way_are_counted_whoever_owns_the_default_partition() {
    let mut database = Database::new();
    let owner = database.own("owner");
    database.client.run(&format!(
        "CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner};
         CREATE TABLE t (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         ALTER TABLE t OWNER TO {owner};
         CREATE TABLE t_default PARTITION OF t DEFAULT PARTITION BY HASH (k);
         CREATE TABLE t_default_0 PARTITION OF t_default FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE t_default_1 PARTITION OF t_default FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         INSERT INTO t SELECT '2024-01-01'::timestamptz + make_interval(hours => i)
           FROM generate_series(0, 29) i"
    ));
    hide(&mut database, "t_default");
    let reasons: Vec<String> = database.client.column(
        "SELECT coalesce(substring(reason FROM 'blocked: .*'), '') FROM steward.manage_range('t', '1 day', premake => 1,
             time_zone => 'UTC', start_at => '2024-01-01') WHERE partition < 'public.t_2024_01_04' ORDER BY partition",
    );
    assert_eq!(
        reasons
            .iter()
            .map(|reason| reason.split(' ').nth(1).unwrap_or_default())
            .collect::<Vec<_>>(),
        ["24", "6", ""],
        "{reasons:?}"
    );
}
