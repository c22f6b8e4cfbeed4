//! plan() changes nothing, and what it says is exactly what runs.

use pg_test::cluster::Ask;

use crate::range_support::Database;

/// A set with something of most kinds, managed, whose partitions ahead have been dropped again.
fn laid_out(schema: &str) -> String {
    format!(
        "CREATE SCHEMA {schema};
         CREATE TABLE {schema}.customer (id int PRIMARY KEY);
         CREATE TABLE {schema}.\"T\" (at timestamptz NOT NULL, id uuid NOT NULL, customer int REFERENCES {schema}.customer,
                     gone int, note text, CHECK (note <> ''), PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
         ALTER TABLE {schema}.\"T\" DROP gone; ALTER TABLE {schema}.\"T\" ALTER note SET STATISTICS 50;
         ALTER TABLE {schema}.\"T\" REPLICA IDENTITY USING INDEX \"T_pkey\";
         CREATE INDEX ON {schema}.\"T\" (customer); CREATE STATISTICS {schema}.s ON customer, note FROM {schema}.\"T\";
         CREATE TABLE {schema}.model (LIKE {schema}.\"T\") WITH (fillfactor = 70); CREATE INDEX ON {schema}.model (note);
         SELECT steward.manage_range('{schema}.\"T\"', '1 day', premake => 3, time_zone => 'America/New_York',
                                     template => '{schema}.model');
         DO $$ DECLARE ahead regclass; BEGIN
             FOR ahead IN SELECT partition FROM steward.partitions WHERE parent = '{schema}.\"T\"'::regclass
                          AND state <> 'past' LOOP EXECUTE 'DROP TABLE ' || ahead; END LOOP; END $$"
    )
}

impl Database {
    /// Everything the catalog says of a schema's tables, with the schema's name left out.
    fn catalog(&mut self, schema: &str) -> Vec<String> {
        let text: Vec<String> = self.client.column(&format!(
            "WITH r AS (SELECT * FROM pg_class WHERE relnamespace = '{schema}'::regnamespace)
             SELECT concat_ws(' ', relname, relkind, relpersistence, relreplident, reloptions, relacl, relowner,
                              relispartition, reltablespace, relam, pg_get_expr(relpartbound, oid)) FROM r
             UNION ALL
             SELECT concat_ws(' ', r.relname, a.attnum, a.attname, a.atttypid, a.attnotnull, a.attstorage,
                              a.attcompression, a.attstattarget, a.attidentity, a.attgenerated, a.attisdropped,
                              a.attislocal, a.attinhcount)
               FROM r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0
             UNION ALL
             SELECT concat_ws(' ', pg_get_indexdef(indexrelid), indisreplident) FROM pg_index
               JOIN r ON r.oid = indrelid
             UNION ALL
             SELECT concat_ws(' ', r.relname, conname, contype, conislocal, coninhcount, pg_get_constraintdef(k.oid))
               FROM pg_constraint k JOIN r ON r.oid = conrelid
             UNION ALL
             SELECT pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s JOIN r ON r.oid = stxrelid
             ORDER BY 1"
        ));
        text.into_iter().map(|line| line.replace(&format!("{schema}."), "")).collect()
    }
}

#[test]
fn the_plans_sql_run_by_hand_gives_the_catalog_that_maintain_gives() {
    let mut db = Database::new();
    db.client.run(&laid_out("one"));
    db.client.run(&laid_out("two"));
    assert_eq!(db.catalog("one"), db.catalog("two"));
    let before = db.catalog("one").len();

    let script = tempfile::NamedTempFile::new().unwrap();
    let gexec = "SELECT sql FROM steward.plan('one.\"T\"') ORDER BY ordinal \\gexec\n";
    std::fs::write(script.path(), gexec).unwrap();
    let output = db
        .psql()
        .args(&["--set=ON_ERROR_STOP=1", "--quiet"])
        .env("PGOPTIONS", "-c search_path=pg_catalog -c DateStyle=SQL,DMY -c TimeZone=Asia/Tokyo")
        .file(script.path())
        .unwrap();
    assert_eq!(output.code, Some(0), "{}", output.text);
    db.maintain("two.\"T\"");
    assert!(db.catalog("one").len() > before);
    assert_eq!(db.catalog("one"), db.catalog("two"));
    assert_eq!(db.count("one.\"T\""), 4);
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.plan()"), 0);
}

#[test]
fn plan_changes_nothing_at_whatever_instant() {
    let mut db = Database::new();
    db.client.run(&laid_out("one"));
    let before = db.catalog("one");
    let state = "SELECT string_agg(x, '|') FROM (SELECT xmin || p::text FROM steward.range_policy p
                 UNION ALL SELECT xmin || j::text FROM steward.job j
                 UNION ALL SELECT xmin || r::text FROM steward.job_run r) s (x)";
    let rows: String = db.client.value(state);
    for at in ["now()", "now() + interval '40 days'", "'1999-01-01'"] {
        db.client.run(&format!("SELECT * FROM steward.plan('one.\"T\"', {at})"));
        db.client.run(&format!("SELECT * FROM steward.plan(at => {at})"));
    }
    // A transaction that may not write plans as well.
    db.client.run("BEGIN READ ONLY; SELECT * FROM steward.plan(); COMMIT");
    assert_eq!(db.catalog("one"), before);
    assert_eq!(db.client.value::<String>(state), rows);
}

#[test]
fn what_manage_range_returns_is_what_plan_had_said() {
    let mut db = Database::new();
    db.client.run(&laid_out("one"));
    let planned: Vec<String> = db.client.column("SELECT p::text FROM steward.plan('one.\"T\"') p");
    assert_eq!(planned.len(), 4);
    let taken: Vec<String> =
        db.client.column("SELECT p::text FROM steward.alter_range('one.\"T\"', premake => 3) p");
    assert_eq!(planned, taken);
}

#[test]
fn the_callers_settings_do_not_change_a_plan() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE b (k bytea NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE d (k date NOT NULL) PARTITION BY RANGE (k);
         SELECT steward.manage_range('b', '1 day', key_encoding => 'ulid', start_at => '2100-01-01');
         SELECT steward.manage_range('d', '1 day', start_at => '2100-01-01')",
    );
    let plan = "SELECT sql || reason FROM steward.plan(at => '2100-01-02 00:00+00')";
    let plain: Vec<String> = db.client.column(plan);
    assert_eq!(plain.len(), 10);
    db.client.run(
        "SET bytea_output = escape; SET DateStyle = 'German, DMY'; SET IntervalStyle = iso_8601;
         SET TimeZone = 'Asia/Kathmandu'; SET search_path = ''; SET standard_conforming_strings = off",
    );
    assert_eq!(db.client.column::<String>(plan), plain);
    db.client.run("RESET standard_conforming_strings; SET search_path = public");
    // Existing bounds are read the same way, and nothing is made twice.
    db.client.run("DO $$ DECLARE s text; BEGIN FOR s IN SELECT sql FROM steward.plan(at => '2100-01-02 00:00+00')
                   LOOP EXECUTE s; END LOOP; END $$");
    let left: i64 =
        db.client.value("SELECT count(*) FROM steward.plan(at => '2100-01-02 00:00+00')");
    assert_eq!(left, 0);
}

#[test]
fn a_name_that_is_taken_or_cut_short_gets_a_number_and_stops_nothing() {
    let mut db = Database::new();
    let long = "x".repeat(63);
    db.client.run(&format!(
        "CREATE TABLE t (id bigint NOT NULL) PARTITION BY RANGE (id);
         CREATE VIEW t_p100 AS SELECT 1; CREATE TYPE t_p200 AS ENUM ('a'); CREATE SEQUENCE t_p200_1;
         SELECT steward.manage_range('t', '100', premake => 3);
         CREATE TABLE {long} (id bigint NOT NULL, UNIQUE (id)) PARTITION BY RANGE (id);
         ALTER TABLE {long} REPLICA IDENTITY USING INDEX {}_id_key;
         SELECT steward.manage_range('{long}', '100', premake => 40, name_format => '{{parent}}{{lower}}')",
        "x".repeat(56)
    ));
    let names: Vec<String> = db
        .client
        .column("SELECT partition::text FROM steward.partitions WHERE parent = 't'::regclass");
    assert_eq!(names, ["t_p0", "t_p100_1", "t_p200_2", "t_p300"]);
    assert_eq!(db.count(&long), 41);
}
