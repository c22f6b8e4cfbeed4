//! What only a template gives, and what is followed without one.

use pg_test::cluster::Ask;

use crate::range_support::Database;

/// Persistence and storage parameters, the toast table's too.
fn physical(db: &mut Database, table: &str) -> String {
    db.client.value(&format!(
        "SELECT concat_ws(' ', c.relpersistence, c.reloptions, t.reloptions)
           FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
          WHERE c.oid = '{table}'::regclass"
    ))
}

#[test]
fn a_template_gives_persistence_storage_parameters_indexes_keys_and_grants() {
    let mut db = Database::new();
    let reader = db.own("reader");
    db.client.run(&format!(
        "CREATE ROLE {reader};
         CREATE TABLE t (id bigint NOT NULL, a int, b text, c int) PARTITION BY RANGE (id);
         CREATE INDEX ON t (a);
         CREATE UNLOGGED TABLE model (LIKE t) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01,
                                                   toast.autovacuum_enabled = off);
         CREATE INDEX ON model (a);
         CREATE UNIQUE INDEX ON model (b) WHERE b <> '';
         CREATE INDEX ON model USING hash (c);
         ALTER TABLE model ADD PRIMARY KEY (a) INCLUDE (b), ADD UNIQUE (c, a);
         GRANT SELECT, INSERT ON model TO {reader}; GRANT UPDATE ON model TO PUBLIC;
         SELECT steward.manage_range('t', '100', premake => 1, template => 'model')"
    ));
    assert_eq!(
        physical(&mut db, "t_p100"),
        "u {fillfactor=70,autovacuum_vacuum_scale_factor=0.01} {autovacuum_enabled=off}"
    );
    // The index on a is the parent's as well and is not made twice.
    assert_eq!(db.indexes("t_p100"), db.indexes("model"));
    assert_eq!(db.indexes("t_p100").len(), 5);
    let grants: Vec<String> = db.client.column(
        "SELECT format('%s %s', CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE 'reader' END, privilege_type)
           FROM pg_class c, aclexplode(relacl) a
          WHERE c.oid = 't_p100'::regclass AND grantee <> relowner ORDER BY 1",
    );
    assert_eq!(grants, ["PUBLIC UPDATE", "reader INSERT", "reader SELECT"]);
}

#[test]
fn a_templates_indexes_lie_in_its_tablespaces() {
    let mut db = Database::new();
    let space = db.own("space");
    db.client.run(&format!("CREATE TABLESPACE {space} LOCATION ''"));
    db.client.run(&format!(
        "CREATE TABLE t (id bigint NOT NULL, a int, b int) PARTITION BY RANGE (id);
         CREATE TABLE model (LIKE t);
         CREATE INDEX ON model (a) TABLESPACE {space};
         ALTER TABLE model ADD UNIQUE (b) WITH (fillfactor = 50) USING INDEX TABLESPACE {space};
         SELECT steward.manage_range('t', '100', premake => 1, template => 'model')"
    ));
    assert_eq!(db.indexes("t_p100"), db.indexes("model"));
    assert!(db.indexes("t_p100").iter().all(|index| index.contains(&space)));
}

#[test]
fn a_changed_template_is_followed_and_a_dropped_one_is_told_and_does_not_stop_creation() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (id bigint NOT NULL) PARTITION BY RANGE (id);
         CREATE TABLE model (id bigint NOT NULL) WITH (fillfactor = 70);
         SELECT steward.manage_range('t', '100', premake => 1, template => 'model');
         ALTER TABLE model SET (fillfactor = 80); CREATE INDEX ON model (id);
         INSERT INTO t VALUES (100)",
    );
    db.maintain("t");
    assert_eq!(physical(&mut db, "t_p100"), "p {fillfactor=70}");
    assert_eq!(physical(&mut db, "t_p200"), "p {fillfactor=80}");
    assert_eq!((db.indexes("t_p100").len(), db.indexes("t_p200").len()), (0, 1));

    db.client.run("DROP TABLE model; INSERT INTO t VALUES (200)");
    let reason: String = db.client.value("SELECT reason FROM steward.plan('t')");
    assert!(reason.contains("template is gone"), "{reason}");
    db.maintain("t");
    // The newest sibling's storage parameters are followed instead.
    assert_eq!(physical(&mut db, "t_p300"), "p {fillfactor=80}");
    assert_eq!(db.indexes("t_p300").len(), 0);
}

#[test]
fn a_template_given_to_another_owner_is_passed_over_and_told() {
    let mut db = Database::new();
    let other = db.own("other");
    db.client.run(&format!(
        "CREATE ROLE {other};
         CREATE TABLE t (id bigint NOT NULL) PARTITION BY RANGE (id);
         CREATE TABLE model (id bigint NOT NULL);
         SELECT steward.manage_range('t', '100', premake => 1, template => 'model');
         CREATE INDEX ON model (id); ALTER TABLE model OWNER TO {other}; INSERT INTO t VALUES (100)"
    ));
    let reason: String = db.client.value("SELECT reason FROM steward.plan('t')");
    assert!(reason.contains("belongs to another role"), "{reason}");
    db.maintain("t");
    assert_eq!(db.indexes("t_p200").len(), 0);
}

#[test]
fn without_a_template_the_newest_sibling_is_followed() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (id bigint NOT NULL, b text) PARTITION BY RANGE (id);
         CREATE TABLE old PARTITION OF t FOR VALUES FROM (0) TO (100) WITH (fillfactor = 30);
         CREATE UNLOGGED TABLE newest PARTITION OF t FOR VALUES FROM (100) TO (200)
             WITH (fillfactor = 60, toast.autovacuum_enabled = off);
         SELECT steward.manage_range('t', '100', premake => 3)",
    );
    assert_eq!(physical(&mut db, "t_p200"), "u {fillfactor=60} {autovacuum_enabled=off}");
    db.client.run(
        "ALTER TABLE t_p300 SET LOGGED; ALTER TABLE t_p300 RESET (fillfactor);
         INSERT INTO t VALUES (100)",
    );
    db.maintain("t");
    assert_eq!(physical(&mut db, "t_p400"), "p {autovacuum_enabled=off}");
}
