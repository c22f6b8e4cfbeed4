//! Rule 7, columns: a new partition is made like its parent. Each is compared with what the parent
//! has, and where PARTITION OF gives it too, with a sibling made that way.

use pg_test::cluster::Ask;
use pg_test::fixtures;

use crate::range_support::Database;

/// A set of plain integers: its partitions are `t_p0` and `t_p100`, whatever the time.
const MANAGE: &str = "SELECT steward.manage_range('t', '100', premake => 1)";
/// What the server itself makes of the same parent.
const SIBLING: &str = "CREATE TABLE t_sibling PARTITION OF t FOR VALUES FROM (1000) TO (1100)";

#[test]
fn the_owner_is_the_parents() {
    let mut db = Database::new();
    let owner = db.own("keeper");
    db.client.run(&format!(
        "CREATE ROLE {owner} NOLOGIN; CREATE SCHEMA s AUTHORIZATION {owner};
         CREATE TABLE s.t (id bigint NOT NULL) PARTITION BY RANGE (id);
         ALTER TABLE s.t OWNER TO {owner};
         SELECT steward.manage_range('s.t', '100', premake => 1)"
    ));
    let owners: Vec<String> = db.client.column(
        "SELECT relowner::regrole::text FROM pg_class WHERE relname LIKE 't\\_p%' ORDER BY relname",
    );
    assert_eq!(owners, [owner.clone(), owner]);
}

#[test]
fn table_and_indexes_lie_in_the_parents_tablespaces() {
    let mut db = Database::new();
    let (tables, indexes) = (db.own("tables"), db.own("indexes"));
    db.client.run(&format!("CREATE TABLESPACE {tables} LOCATION ''"));
    db.client.run(&format!("CREATE TABLESPACE {indexes} LOCATION ''"));
    db.client.run(&format!(
        "CREATE TABLE t (id bigint NOT NULL, b int, PRIMARY KEY (id) USING INDEX TABLESPACE {indexes})
             PARTITION BY RANGE (id) TABLESPACE {tables};
         CREATE INDEX ON t (b) TABLESPACE {indexes};
         {MANAGE}; {SIBLING}"
    ));
    let of = |db: &mut Database, table: &str| -> String {
        db.client.value(&format!(
            "SELECT spcname::text FROM pg_class c JOIN pg_tablespace s ON s.oid = c.reltablespace
              WHERE c.oid = '{table}'::regclass"
        ))
    };
    assert_eq!(of(&mut db, "t_p100"), tables);
    assert_eq!(of(&mut db, "t_sibling"), tables);
    let made = db.indexes("t_p100");
    assert_eq!(made, db.indexes("t_sibling"));
    assert!(made.iter().all(|index| index.contains(&indexes)), "{made:?}");
    assert_eq!(made.len(), 2);
}

#[test]
fn the_index_behind_a_replica_identity_lies_in_the_parents_tablespace_too() {
    let mut db = Database::new();
    let indexes = db.own("indexes");
    db.client.run(&format!("CREATE TABLESPACE {indexes} LOCATION ''"));
    db.client.run(&format!(
        "CREATE TABLE t (id bigint NOT NULL,
                         CONSTRAINT t_key PRIMARY KEY (id) WITH (fillfactor = 60) USING INDEX TABLESPACE {indexes})
             PARTITION BY RANGE (id);
         ALTER TABLE t REPLICA IDENTITY USING INDEX t_key;
         CREATE TABLE u (id bigint NOT NULL) PARTITION BY RANGE (id);
         CREATE UNIQUE INDEX u_index ON u (id) WITH (fillfactor = 60) TABLESPACE {indexes};
         ALTER TABLE u REPLICA IDENTITY USING INDEX u_index;
         {MANAGE}; SELECT steward.manage_range('u', '100', premake => 1);
         {SIBLING}; CREATE TABLE u_sibling PARTITION OF u FOR VALUES FROM (1000) TO (1100)"
    ));
    for set in ["t", "u"] {
        let made = db.indexes(&format!("{set}_p100"));
        assert_eq!(made, db.indexes(&format!("{set}_sibling")));
        assert!(made[0].contains(&indexes) && made[0].contains("fillfactor='60'"), "{made:?}");
    }
}

#[test]
fn storage_and_compression_of_columns_are_the_parents() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (id bigint NOT NULL, plain text, external text, lz text COMPRESSION pglz)
             PARTITION BY RANGE (id);
         ALTER TABLE t ALTER plain SET STORAGE PLAIN, ALTER external SET STORAGE EXTERNAL;
         {MANAGE}; {SIBLING}"
    ));
    let made = db.columns("t_p100");
    assert_eq!(made, db.columns("t"));
    assert_eq!(made, db.columns("t_sibling"));
    let storage: String = db.client.value(
        "SELECT string_agg(attstorage::text || attcompression::text, ' ' ORDER BY attnum)
           FROM pg_attribute WHERE attrelid = 't_p100'::regclass AND attnum > 0",
    );
    assert_eq!(storage, "p p e xp");
}

#[test]
fn statistics_targets_and_n_distinct_are_the_parents() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (id bigint NOT NULL, a int, b int, \"C d\" int) PARTITION BY RANGE (id);
         ALTER TABLE t ALTER a SET STATISTICS 777, ALTER b SET STATISTICS 0;
         ALTER TABLE t ALTER \"C d\" SET (n_distinct = -0.5, n_distinct_inherited = 12);
         {MANAGE}"
    ));
    let targets: Vec<String> = db.client.column(
        "SELECT format('%s %s %s', attname, nullif(attstattarget, -1),
                       (SELECT array_agg(o) FROM unnest(attoptions) o WHERE o NOT LIKE 'pg\\_%'))
           FROM pg_attribute WHERE attrelid = 't_p100'::regclass AND attnum > 0 ORDER BY attnum",
    );
    let expected = ["id  ", "a 777 ", "b 0 ", "C d  {n_distinct=-0.5,n_distinct_inherited=12}"];
    assert_eq!(targets, expected);
}

#[test]
fn extended_statistics_are_the_parents() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (id bigint NOT NULL, a int, b int) PARTITION BY RANGE (id);
         CREATE STATISTICS t_stats (ndistinct, dependencies, mcv) ON a, b FROM t;
         CREATE STATISTICS t_expression ON (a + b) FROM t;
         ALTER STATISTICS t_stats SET STATISTICS 321;
         {MANAGE}"
    ));
    let of = |db: &mut Database, table: &str| -> Vec<String> {
        db.client.column(&format!(
            "SELECT format('%s %s', substring(pg_get_statisticsobjdef(oid) FROM '(\\(.*)? ON .* FROM'),
                           nullif(stxstattarget, -1))
               FROM pg_statistic_ext WHERE stxrelid = '{table}'::regclass ORDER BY 1"
        ))
    };
    assert_eq!(of(&mut db, "t").len(), 2);
    assert_eq!(of(&mut db, "t_p100"), of(&mut db, "t"));
}

#[test]
fn comments_on_columns_are_the_parents() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (id bigint NOT NULL, a int) PARTITION BY RANGE (id);
         COMMENT ON COLUMN t.a IS 'it''s a'; COMMENT ON COLUMN t.id IS 'the key'; {MANAGE}"
    ));
    let comments: Vec<String> = db.client.column(
        "SELECT description FROM pg_description WHERE objoid = 't_p100'::regclass ORDER BY objsubid",
    );
    assert_eq!(comments, ["the key", "it's a"]);
}

#[test]
fn check_constraints_are_the_parents_and_inherited() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (id bigint NOT NULL, a int CONSTRAINT positive CHECK (a > 0), b int,
                         CHECK (a < b)) PARTITION BY RANGE (id);
         {MANAGE}; {SIBLING}"
    ));
    let of = |db: &mut Database, table: &str| -> Vec<String> {
        db.client.column(&format!(
            "SELECT format('%s %s %s %s %s', conname, pg_get_constraintdef(oid), conislocal,
                           coninhcount, convalidated)
               FROM pg_constraint WHERE conrelid = '{table}'::regclass AND contype = 'c' ORDER BY 1"
        ))
    };
    let made = of(&mut db, "t_p100");
    assert_eq!(made, of(&mut db, "t_sibling"));
    assert_eq!(made.len(), 2);
    db.client.refused("23514", "INSERT INTO t VALUES (1, -1, 5)");
}

#[test]
fn generated_and_identity_columns_and_defaults_work_through_the_parent() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE SEQUENCE s;
         CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY, a int DEFAULT nextval('s'),
                         b int GENERATED ALWAYS AS (a * 2) STORED, c text COLLATE \"C\" DEFAULT 'x')
             PARTITION BY RANGE (id);
         {MANAGE}; {SIBLING};
         INSERT INTO t (c) VALUES (DEFAULT), ('y')"
    ));
    assert_eq!(db.columns("t_p100"), db.columns("t_sibling"));
    let rows: Vec<String> = db.client.column("SELECT t_p0::text FROM t_p0 ORDER BY id");
    assert_eq!(rows, ["(1,1,2,x)", "(2,2,4,y)"]);
    // One sequence for all: the parent's.
    let sequences: i64 = db.client.value(
        "SELECT count(*) FROM pg_class WHERE relkind = 'S'
        AND relnamespace = 'public'::regnamespace",
    );
    assert_eq!(sequences, 2);
}

#[test]
fn a_parent_with_dropped_columns_and_columns_in_another_order_is_followed() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (gone int, a text, id bigint NOT NULL, gone_too int, b int DEFAULT 7)
             PARTITION BY RANGE (id);
         CREATE TABLE old (b int DEFAULT 7, id bigint NOT NULL, a text);
         ALTER TABLE t DROP gone, DROP gone_too; ALTER TABLE t ADD z date;
         ALTER TABLE old ADD z date;
         ALTER TABLE t ATTACH PARTITION old FOR VALUES FROM (-100) TO (0);
         {MANAGE};
         INSERT INTO t (id, a, z) VALUES (-1, 'old', '2025-01-01'), (1, 'new', '2025-01-02')"
    ));
    let rows: Vec<String> = db
        .client
        .column("SELECT concat_ws(' ', tableoid::regclass, id, a, b, z) FROM t ORDER BY id");
    assert_eq!(rows, ["old -1 old 7 2025-01-01", "t_p0 1 new 7 2025-01-02"]);
}

#[test]
fn the_access_method_is_the_parents_or_the_templates() {
    let mut db = Database::new();
    db.client.run(
        "CREATE ACCESS METHOD heap_too TYPE TABLE HANDLER heap_tableam_handler;
         CREATE TABLE model (id bigint NOT NULL) USING heap_too;
         CREATE TABLE t (id bigint NOT NULL) PARTITION BY RANGE (id);
         SELECT steward.manage_range('t', '100', premake => 1, template => 'model')",
    );
    let of = |db: &mut Database, table: &str| -> String {
        db.client.value(&format!(
            "SELECT amname::text FROM pg_class c JOIN pg_am a ON a.oid = c.relam
              WHERE c.oid = '{table}'::regclass"
        ))
    };
    assert_eq!(of(&mut db, "t_p100"), "heap_too");
    if fixtures::installation().major >= 17 {
        // The parent's own wins over the template's.
        db.client.run(
            "CREATE TABLE u (id bigint NOT NULL) PARTITION BY RANGE (id) USING heap_too;
             CREATE TABLE plain (id bigint NOT NULL);
             SELECT steward.manage_range('u', '100', premake => 1, template => 'plain')",
        );
        assert_eq!(of(&mut db, "u_p100"), "heap_too");
    } else {
        let refusal = db.client.refused(
            "0A000",
            "CREATE TABLE u (id bigint NOT NULL) PARTITION BY RANGE (id) USING heap_too",
        );
        assert!(refusal.message().contains("access method"), "{refusal}");
    }
}
