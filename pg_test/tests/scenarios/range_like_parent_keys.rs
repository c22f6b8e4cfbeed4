//! Rule 7, keys, indexes, triggers, replica identity and names of a new partition.

use pg_test::cluster::Ask;

use crate::range_support::Database;

const MANAGE: &str = "SELECT steward.manage_range('t', '100', premake => 1)";
const SIBLING: &str = "CREATE TABLE t_sibling PARTITION OF t FOR VALUES FROM (1000) TO (1100)";

#[test]
fn indexes_and_keys_are_the_parents_and_attached() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (id bigint PRIMARY KEY, a int, b text, UNIQUE (id, a)) PARTITION BY RANGE (id);
         CREATE INDEX ON t (a DESC NULLS LAST) INCLUDE (b) WITH (fillfactor = 70) WHERE a > 3;
         CREATE INDEX ON t (lower(b) COLLATE \"C\" text_pattern_ops);
         CREATE INDEX ON t USING brin (id);
         {MANAGE}; {SIBLING}"
    ));
    let made = db.indexes("t_p100");
    assert_eq!(made, db.indexes("t_sibling"));
    assert_eq!(made.len(), 5);
    let attached: i64 = db.client.value(
        "SELECT count(*) FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indexrelid
          WHERE i.indrelid = 't_p100'::regclass AND i.indisvalid",
    );
    assert_eq!(attached, 5);
}

#[test]
fn foreign_keys_out_of_the_set_hold_in_new_partitions() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE customer (id int PRIMARY KEY); INSERT INTO customer VALUES (1);
         CREATE TABLE t (id bigint NOT NULL, customer int REFERENCES customer ON DELETE CASCADE)
             PARTITION BY RANGE (id);
         {MANAGE}; {SIBLING}; INSERT INTO t VALUES (1, 1), (101, 1)"
    ));
    let of = |db: &mut Database, table: &str| -> Vec<String> {
        db.client.column(&format!(
            "SELECT format('%s %s %s', pg_get_constraintdef(oid), conislocal, coninhcount)
               FROM pg_constraint WHERE conrelid = '{table}'::regclass AND contype = 'f'"
        ))
    };
    assert_eq!(of(&mut db, "t_p100"), of(&mut db, "t_sibling"));
    assert_eq!(of(&mut db, "t_p100").len(), 1);
    db.client.refused("23503", "INSERT INTO t_p100 VALUES (102, 2)");
    db.client.run("DELETE FROM customer");
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM t"), 0);
}

#[test]
fn foreign_keys_into_the_set_see_new_partitions() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE child (t bigint REFERENCES t); {MANAGE};
         INSERT INTO t VALUES (101); INSERT INTO child VALUES (101)"
    ));
    db.client.refused("23503", "INSERT INTO child VALUES (102)");
    db.client.refused("23503", "DELETE FROM t_p100");
}

mod needs_minors_of_2025 {
    use super::*;

    #[test]
    fn a_foreign_key_of_the_set_into_itself_holds() {
        let mut db = Database::new();
        db.client.run(&format!(
            "CREATE TABLE t (id bigint PRIMARY KEY, before bigint REFERENCES t) PARTITION BY RANGE (id);
             {MANAGE}; INSERT INTO t VALUES (1, NULL), (101, 1)"
        ));
        db.client.refused("23503", "INSERT INTO t VALUES (102, 2)");
        db.client.refused("23503", "DELETE FROM t WHERE id = 1");
    }
}

#[test]
fn a_row_trigger_is_cloned_and_fires_and_a_statement_trigger_is_not_doubled() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE log (what text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO log VALUES (TG_NAME || ' ' || TG_TABLE_NAME); RETURN NEW; END $$;
         CREATE TABLE t (id bigint NOT NULL) PARTITION BY RANGE (id);
         CREATE TRIGGER each_row AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TRIGGER each_statement AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION note();
         CREATE TRIGGER off BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
         ALTER TABLE t DISABLE TRIGGER off;
         {MANAGE}; {SIBLING}; INSERT INTO t VALUES (1), (101)"
    ));
    let log: Vec<String> = db.client.column("SELECT what FROM log ORDER BY 1");
    assert_eq!(log, ["each_row t_p0", "each_row t_p100", "each_statement t"]);
    let of = |db: &mut Database, table: &str| -> Vec<String> {
        db.client.column(&format!(
            "SELECT format('%s %s', tgname, tgenabled) FROM pg_trigger
              WHERE tgrelid = '{table}'::regclass ORDER BY 1"
        ))
    };
    assert_eq!(of(&mut db, "t_p100"), of(&mut db, "t_sibling"));
}

/// `relreplident` and the index marked for it.
fn replica_identity(db: &mut Database, table: &str) -> String {
    db.client.value(&format!(
        "SELECT concat_ws(' ', c.relreplident,
                          substring(pg_get_indexdef(i.indexrelid) FROM ' USING .*'),
                          (SELECT contype FROM pg_constraint k
                            WHERE k.conindid = i.indexrelid AND contype IN ('p', 'u')))
           FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisreplident
          WHERE c.oid = '{table}'::regclass"
    ))
}

#[test]
fn replica_identity_default_full_and_nothing_are_the_parents() {
    for (kind, letter) in [("DEFAULT", "d"), ("FULL", "f"), ("NOTHING", "n")] {
        let mut db = Database::new();
        db.client.run(&format!(
            "CREATE TABLE t (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
             ALTER TABLE t REPLICA IDENTITY {kind}; {MANAGE}"
        ));
        assert_eq!(replica_identity(&mut db, "t_p100"), letter);
    }
}

#[test]
fn replica_identity_by_a_key_is_the_parents() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (a int NOT NULL, id bigint NOT NULL, CONSTRAINT \"The Key\" PRIMARY KEY (id, a))
             PARTITION BY RANGE (id);
         ALTER TABLE t REPLICA IDENTITY USING INDEX \"The Key\";
         {MANAGE}; {SIBLING}"
    ));
    assert_eq!(replica_identity(&mut db, "t_p100"), "i  USING btree (id, a) p");
    // No second index beside the one that the parent's key wants.
    assert_eq!(db.indexes("t_p100"), db.indexes("t_sibling"));
}

#[test]
fn replica_identity_by_a_unique_constraint_or_index_is_the_parents() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (a int NOT NULL, id bigint NOT NULL) PARTITION BY RANGE (id);
         CREATE UNIQUE INDEX by_a ON t (a DESC, id) INCLUDE (a);
         ALTER TABLE t REPLICA IDENTITY USING INDEX by_a;
         {MANAGE}; {SIBLING};
         CREATE TABLE u (a int NOT NULL, id bigint NOT NULL, CONSTRAINT by_key UNIQUE (a, id))
             PARTITION BY RANGE (id);
         ALTER TABLE u REPLICA IDENTITY USING INDEX by_key;
         SELECT steward.manage_range('u', '100', premake => 1);
         CREATE TABLE u_sibling PARTITION OF u FOR VALUES FROM (1000) TO (1100)"
    ));
    assert_eq!(replica_identity(&mut db, "t_p100"), "i  USING btree (a DESC, id) INCLUDE (a)");
    assert_eq!(db.indexes("t_p100"), db.indexes("t_sibling"));
    assert_eq!(replica_identity(&mut db, "u_p100"), "i  USING btree (a, id) u");
    assert_eq!(db.indexes("u_p100"), db.indexes("u_sibling"));
}

#[test]
fn updates_of_a_published_set_reach_a_subscriber_from_new_partitions() {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (id bigint PRIMARY KEY, a int) PARTITION BY RANGE (id);
         CREATE PUBLICATION one FOR TABLE t;
         CREATE PUBLICATION root FOR TABLE t WITH (publish_via_partition_root);
         CREATE PUBLICATION everything FOR ALL TABLES; {MANAGE}"
    ));
    let of = |db: &mut Database, publication: &str| -> Vec<String> {
        db.client.column(&format!(
            "SELECT tablename::text FROM pg_publication_tables
              WHERE pubname = '{publication}' AND schemaname = 'public' ORDER BY 1"
        ))
    };
    assert_eq!(of(&mut db, "one"), ["t_p0", "t_p100"]);
    assert_eq!(of(&mut db, "root"), ["t"]);
    assert_eq!(of(&mut db, "everything"), ["t_p0", "t_p100"]);
    let slot = db.own("slot");
    db.client.run(&format!(
        "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput');
         INSERT INTO t VALUES (101, 1); UPDATE t SET a = 2"
    ));
    let kinds: String = db.client.value(&format!(
        "SELECT string_agg(chr(get_byte(data, 0)), '') FROM pg_logical_slot_get_binary_changes(
            '{slot}', NULL, NULL, 'proto_version', '1', 'publication_names', 'one')"
    ));
    db.client.run(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    assert!(kinds.contains('I') && kinds.contains('U'), "{kinds}");
}

#[test]
fn quoted_mixed_case_and_long_names_and_other_schemas_are_no_obstacle() {
    let mut db = Database::new();
    let long = "ü".repeat(31) + "x";
    assert_eq!(long.len(), 63);
    for (schema, table, column) in
        [("My \"Schema\"", "Bets; DROP TABLE x", "At 'n'"), ("other", long.as_str(), "select")]
    {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let parent = format!("{}.{}", quoted(schema), quoted(table));
        let (schema_sql, column_sql) = (quoted(schema), quoted(column));
        let literal = format!("$name${parent}$name$");
        db.client.run(&format!(
            "CREATE SCHEMA {schema_sql};
             CREATE TABLE {parent} ({column_sql} bigint NOT NULL, \"B\" int) PARTITION BY RANGE ({column_sql});
             ALTER TABLE {parent} ALTER \"B\" SET STATISTICS 5;
             CREATE UNIQUE INDEX \"an Index\" ON {parent} ({column_sql});
             ALTER TABLE {parent} REPLICA IDENTITY USING INDEX \"an Index\";
             CREATE TABLE {schema_sql}.\"Tem plate\" (LIKE {parent});
             CREATE INDEX ON {schema_sql}.\"Tem plate\" (\"B\" DESC);
             SELECT steward.manage_range({literal}, '100', premake => 2,
                                         template => $name${schema_sql}.\"Tem plate\"$name$);
             INSERT INTO {parent} VALUES (1), (101), (201)"
        ));
        db.client.run(&format!("CALL steward.maintain({literal})"));
        let names: Vec<String> = db.client.column(&format!(
            "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
              WHERE i.inhparent = {literal}::regclass
              AND c.relnamespace = {}::regnamespace ORDER BY c.oid",
            format_args!("$name${schema_sql}$name$")
        ));
        assert_eq!(names.len(), 5, "{names:?}");
        let suffixes = ["_p0", "_p100", "_p200", "_p300", "_p400"];
        for (name, suffix) in names.iter().zip(suffixes) {
            assert!(name.ends_with(suffix) && name.chars().count() <= 62, "{name}");
        }
        let newest = format!("{}.{}", schema_sql, quoted(&names[4]));
        assert_eq!(db.indexes(&newest.replace('\'', "''")).len(), 2);
    }
}
