//! `CALL steward.drain_default()`: which periods, what a new partition is like, what is told, what is
//! refused.

use pg_test::cluster::Ask;
use pg_test::fixtures;

use crate::errors_common::assert_says;
use crate::range_support::Database;

impl Database {
    /// `partition rows` of each partition that holds any.
    pub(crate) fn rows(&mut self, parent: &str) -> Vec<String> {
        self.client.column(&format!(
            "SELECT format('%s %s', tableoid::regclass, count(*)) FROM {parent}
              GROUP BY tableoid ORDER BY tableoid::regclass::text"
        ))
    }

    #[track_caller]
    pub(crate) fn drain(&mut self, parent: &str) {
        self.client.run(&format!("CALL steward.drain_default('{parent}')"));
    }

    /// What psql shows of the call.
    pub(crate) fn drained(&self, parent: &str) -> String {
        let call = format!("CALL steward.drain_default('{parent}')");
        self.psql().args(&["--set=VERBOSITY=verbose"]).command(&call).unwrap().text
    }
}

/// A set of numbers, 0 to 200, with a default partition.
pub(crate) const NUMBERS: &str =
    "CREATE TABLE t (id bigint NOT NULL, note text) PARTITION BY RANGE (id);
    SELECT steward.manage_range('t', '100', premake => 1, default_partition => true)";

#[test]
fn each_period_gets_its_partition_and_its_rows_the_oldest_first() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE bets (id bigint NOT NULL, placed_at timestamptz NOT NULL) PARTITION BY RANGE (placed_at);
         SELECT steward.manage_range('bets', '1 month', premake => 1, time_zone => 'Europe/Madrid',
                                     start_at => '2025-01-01', default_partition => true);
         INSERT INTO bets SELECT n, '2023-12-31 23:00 UTC'::timestamptz + n * interval '1 day'
           FROM generate_series(0, 59) n;
         INSERT INTO bets VALUES (97, '2097-05-05')",
    );
    let said = db.drained("bets");
    let notices: Vec<&str> =
        said.lines().filter_map(|line| line.strip_prefix("NOTICE:  00000: ")).collect();
    let moved: Vec<&str> = notices
        .iter()
        .map(|notice| {
            let (moved, took) = notice.split_once(" in ").unwrap();
            let seconds = took.strip_suffix(" s").and_then(|seconds| seconds.parse::<f64>().ok());
            assert!(seconds.is_some(), "{notice}");
            moved
        })
        .collect();
    assert_eq!(
        moved,
        [
            "moved 31 rows to public.bets_2024_01",
            "moved 29 rows to public.bets_2024_02",
            "moved 1 row to public.bets_2097_05",
        ]
    );
    assert_eq!(db.rows("bets"), ["bets_2024_01 31", "bets_2024_02 29", "bets_2097_05 1"]);
    let states = db.states("bets");
    assert!(states[0].starts_with("2023-12-31 23:00:00+00 2024-01-31 23:00:00+00"), "{states:?}");
    let run: String = db.client.value(
        "SELECT format('%s %s %s %s %s %s', kind, status, detail->>'action', detail->>'created',
                       detail->>'rows_moved', detail->'partitions'->>0)
           FROM steward.job_runs ORDER BY run_id DESC LIMIT 1",
    );
    assert_eq!(run, "partition succeeded drain_default 3 61 public.bets_2024_01");
    // Again: nothing is left to do, and maintenance finds all in order.
    assert!(db.drained("bets").contains("no rows wait in public.bets_default"));
    let before = db.partitions("bets");
    db.maintain("bets");
    assert_eq!(db.partitions("bets"), before);
    assert!(db.client.value::<bool>("SELECT last_status = 'succeeded' FROM steward.jobs"));
}

#[test]
fn existing_bounds_win() {
    let mut db = Database::new();
    db.client.run(NUMBERS);
    db.client.run(
        "CREATE TABLE before PARTITION OF t FOR VALUES FROM (MINVALUE) TO (-250);
         CREATE TABLE between PARTITION OF t FOR VALUES FROM (330) TO (350);
         CREATE TABLE after PARTITION OF t FOR VALUES FROM (1050) TO (MAXVALUE);
         INSERT INTO t SELECT n FROM generate_series(-260, 1060) n",
    );
    let waiting: i64 = db.client.value("SELECT count(*) FROM t_default");
    assert_eq!(waiting, 250 + 130 + 700);
    db.drain("t");
    let states = db.states("t");
    let bounds: Vec<&str> = states
        .iter()
        .filter_map(|state| state.rsplit_once(' '))
        .map(|(bounds, _)| bounds)
        .collect();
    assert_eq!(
        bounds,
        [
            "MINVALUE -250",
            "-250 -200",
            "-200 -100",
            "-100 0",
            "0 100",
            "100 200",
            "200 300",
            "300 330",
            "330 350",
            "350 400",
            "400 500",
            "500 600",
            "600 700",
            "700 800",
            "800 900",
            "900 1000",
            "1000 1050",
            "1050 MAXVALUE",
            " "
        ]
    );
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM ONLY t_default"), 0);
    assert_eq!(db.client.value::<i64>("SELECT count(DISTINCT id) FROM t"), 1321);
}

#[test]
fn rows_that_blocked_a_missed_period_are_forgotten_by_the_next_run() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('t', '1 day', premake => 1, default_partition => true,
                                     time_zone => 'UTC');
         INSERT INTO t SELECT date_trunc('day', now(), 'UTC') + n * interval '1 day'
           FROM generate_series(2, 3) n",
    );
    db.client.run("SELECT steward.alter_range('t', premake => 4)");
    let refusal = db.client.refused("23514", "CALL steward.maintain('t')");
    let call = refusal.hint().unwrap().to_owned();
    assert_eq!(call, "CALL steward.drain_default('public.t');");
    let remembered = "SELECT make_up_from IS NOT NULL FROM steward.range_policy";
    db.client.run("SELECT steward.alter_range('t', premake => 4)");
    assert!(db.client.value::<bool>(remembered));
    db.client.refused("23514", "CALL steward.maintain('t')");
    let put_off =
        "SELECT next_run_at > (SELECT max(finished_at) FROM steward.job_run) FROM steward.job";
    assert!(db.client.value::<bool>(put_off));
    db.client.run(&call);
    // The job is due at once, with nothing to make up.
    let due =
        "SELECT consecutive_failures = 0 AND next_run_at <= clock_timestamp() FROM steward.job";
    assert!(db.client.value::<bool>(due));
    db.maintain("t");
    assert!(!db.client.value::<bool>(remembered));
    assert_eq!(db.count("t"), 6);
    assert!(db.client.value::<bool>("SELECT holes = '{}' FROM steward.partition_sets"));
}

#[test]
fn a_filled_partition_is_like_one_that_maintenance_makes() {
    let mut db = Database::new();
    let reader = db.own("reader");
    db.client.run(&format!(
        "CREATE ROLE {reader};
         CREATE TABLE t (id bigint NOT NULL, a int CHECK (a > 0), b text COMPRESSION pglz DEFAULT 'x',
             twice int GENERATED ALWAYS AS (a * 2) STORED, n bigint GENERATED ALWAYS AS IDENTITY,
             PRIMARY KEY (id), UNIQUE (id, a)) PARTITION BY RANGE (id);
         CREATE INDEX ON t (a); CREATE INDEX ON t (lower(b)) WITH (fillfactor = 60);
         ALTER TABLE t ALTER a SET STATISTICS 7;
         CREATE STATISTICS s ON a, b FROM t;
         ALTER TABLE t REPLICA IDENTITY FULL;
         CREATE TABLE model (LIKE t) WITH (fillfactor = 70);
         CREATE UNIQUE INDEX ON model (b); GRANT SELECT ON model TO {reader};
         SELECT steward.manage_range('t', '100', premake => 1, default_partition => true, template => 'model');
         INSERT INTO t (id, a, b) VALUES (350, 3, 'c'), (351, 4, 'd')",
    ));
    db.drain("t");
    let made = |db: &mut Database, table: &str| {
        let mut found = db.columns(table);
        found.extend(db.indexes(table));
        found.extend(db.client.column::<String>(&format!(
            "SELECT format('%s %s %s', reloptions, relreplident, relacl) FROM pg_class WHERE oid = '{table}'::regclass
             UNION ALL SELECT replace(c.relname, '{table}', '') FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
                        WHERE x.indrelid = '{table}'::regclass AND x.indisvalid
             UNION ALL SELECT format('statistics %s', stxkind) FROM pg_statistic_ext WHERE stxrelid = '{table}'::regclass
             UNION ALL SELECT format('check %s %s', conname, convalidated) FROM pg_constraint
                        WHERE conrelid = '{table}'::regclass AND contype = 'c'
             ORDER BY 1"
        )));
        found
    };
    assert_eq!(made(&mut db, "t_p300"), made(&mut db, "t_p100"));
    let rows: Vec<String> =
        db.client.column("SELECT format('%s %s %s %s', id, twice, n, tableoid::regclass) FROM t");
    assert_eq!(rows, ["350 6 1 t_p300", "351 8 2 t_p300"]);
}

#[test]
fn a_replica_identity_by_index_is_followed() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (id bigint NOT NULL, a int NOT NULL, UNIQUE (id, a)) PARTITION BY RANGE (id);
         CREATE UNIQUE INDEX i ON t (id); ALTER TABLE t REPLICA IDENTITY USING INDEX i;
         SELECT steward.manage_range('t', '100', premake => 1, default_partition => true);
         INSERT INTO t VALUES (350, 1)",
    );
    db.drain("t");
    let marked = "SELECT pg_get_indexdef(x.indexrelid) LIKE '%(id)' FROM pg_index x
                   WHERE indrelid = 't_p300'::regclass AND indisreplident";
    assert!(db.client.value::<bool>(marked));
    assert_eq!(db.indexes("t_p300"), db.indexes("t_p100"));
}

#[test]
fn a_default_that_is_spread_and_periods_that_are_spread() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (id bigint NOT NULL, u int NOT NULL, PRIMARY KEY (id, u)) PARTITION BY RANGE (id);
         SELECT steward.manage_range('t', '100', premake => 1, default_partition => true,
                                     subpartition_by => 'u', subpartitions => 3);
         CREATE INDEX ON t (u);
         INSERT INTO t SELECT n, n FROM generate_series(300, 499) n",
    );
    let spread = "SELECT count(*) FROM pg_partition_tree('t_default') WHERE isleaf";
    assert_eq!(db.client.value::<i64>(spread), 3);
    db.drain("t");
    for period in ["t_p300", "t_p400"] {
        assert_eq!(db.client.value::<i64>(&format!("SELECT count(*) FROM {period}")), 100);
        let leaves: Vec<String> = db.client.column(&format!(
            "SELECT format('%s %s', t.relid::regclass, (SELECT count(*) FROM pg_index x WHERE x.indrelid = t.relid AND indisvalid))
               FROM pg_partition_tree('{period}') t WHERE isleaf ORDER BY 1"
        ));
        let expected: Vec<String> = (0..3).map(|n| format!("{period}_p{n} 2")).collect();
        assert_eq!(leaves, expected);
    }
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM t_default"), 0);
}

#[test]
fn calls_that_are_refused() {
    let mut db = Database::new();
    let (owner, member, stranger) = (db.own("owner"), db.own("member"), db.own("stranger"));
    db.client.run(NUMBERS);
    db.client.run(&format!(
        "CREATE ROLE {owner} LOGIN; CREATE ROLE {member} LOGIN IN ROLE {owner}; CREATE ROLE {stranger} LOGIN;
         GRANT CREATE ON SCHEMA public TO {owner};
         ALTER TABLE t OWNER TO {owner}; ALTER TABLE t_default OWNER TO {owner};
         CREATE TABLE unmanaged (id int) PARTITION BY RANGE (id);
         CREATE TABLE hashed (id int) PARTITION BY HASH (id); SELECT steward.manage_hash('hashed', 2);
         CREATE TABLE plain (id int);
         INSERT INTO t VALUES (350)"
    ));
    let call = "CALL steward.drain_default";
    db.client.refused("42P01", &format!("{call}('nowhere')"));
    db.client.refused("22004", &format!("{call}(NULL)"));
    let refusal = db.client.refused("42704", &format!("{call}('unmanaged')"));
    assert_says(&refusal, "public.unmanaged", "steward.manage_range");
    assert_says(
        &db.client.refused("42809", &format!("{call}('hashed')")),
        "public.hashed",
        "RANGE",
    );
    db.client.refused("42809", &format!("{call}('plain')"));
    let refusal = db.client.refused("25001", &format!("BEGIN; {call}('t')"));
    assert_says(&refusal, "steward.drain_default()", "outside BEGIN");
    db.client.run("ROLLBACK");
    let refusal = db.connect_as(&stranger).refused("42501", &format!("{call}('t')"));
    assert_says(&refusal, "public.t", &owner);
    let runs: i64 = db.client.value("SELECT count(*) FROM steward.job_run");
    assert_eq!(runs, 0);
    db.connect_as(&member).run(&format!("{call}('t')"));
    assert_eq!(db.rows("t"), ["t_p300 1"]);
    let owned: bool = db.client.value(&format!(
        "SELECT relowner = '{owner}'::regrole FROM pg_class WHERE oid = 't_p300'::regclass"
    ));
    assert!(owned);
}

#[test]
fn a_set_without_a_default_partition_has_nothing_to_move() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (id bigint NOT NULL) PARTITION BY RANGE (id);
         SELECT steward.manage_range('t', '100', premake => 1)",
    );
    assert!(db.drained("t").contains("NOTICE:  00000: public.t has no default partition"));
    assert_eq!(db.client.value::<String>("SELECT last_status FROM steward.jobs"), "succeeded");
}

#[test]
fn on_a_standby_it_is_refused() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    cluster.connect(&database).unwrap().run(NUMBERS);
    let standby = cluster.standby().unwrap();
    cluster.wait_for_replay(&standby).unwrap();
    let refusal =
        standby.connect(&database).unwrap().refused("55000", "CALL steward.drain_default('t')");
    assert_says(&refusal, "steward.drain_default()", "on the primary");
}

#[test]
fn what_is_too_old_to_stay_is_told() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE late (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('late', '1 month', premake => 1, time_zone => 'UTC', default_partition => true);
         SELECT steward.set_retention('late', '12 months');
         INSERT INTO late VALUES ('2020-02-29'), (now() - interval '3 months')",
    );
    let said = db.drained("late");
    let told: Vec<&str> = said.lines().filter(|line| line.contains("WARNING")).collect();
    assert_eq!(told.len(), 1, "{said}");
    assert!(told[0].contains("late_2020_02") && told[0].contains("12 months"), "{said}");
    assert!(said.contains("clear_retention()"), "{said}");
}
