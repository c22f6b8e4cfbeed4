//! Retention: what leaves a set, in which order, and what never does.

use pg_test::cluster::Ask;

use crate::range_support::Database;

impl Database {
    /// A daily set that begins 12 days ago, with a row a day.
    pub(crate) fn daily_set(&mut self, more: &str) {
        self.client.run(&format!(
            "CREATE TABLE bets (at timestamptz NOT NULL, n int) PARTITION BY RANGE (at);
             SELECT steward.manage_range('bets', '1 day', premake => 2,
                                         start_at => (current_date - 12)::text {more});
             INSERT INTO bets SELECT current_date - g, g FROM generate_series(0, 12) g"
        ));
    }

    /// Days before today at which the set's partitions begin, oldest first.
    pub(crate) fn days(&mut self) -> Vec<i32> {
        self.client.column(
            "SELECT current_date - lower_bound::timestamptz::date FROM steward.partitions
              WHERE parent = 'bets'::regclass AND state NOT IN ('default', 'detached')
              ORDER BY 1 DESC",
        )
    }

    /// `action partition-without-date` of a plan.
    pub(crate) fn actions(&mut self, parent: &str) -> Vec<String> {
        self.client.column(&format!(
            "SELECT action || ' ' || partition FROM steward.plan('{parent}') ORDER BY ordinal"
        ))
    }

    /// The plan's SQL.
    pub(crate) fn planned_sql(&mut self, parent: &str) -> Vec<String> {
        self.client.column(&format!("SELECT sql FROM steward.plan('{parent}') ORDER BY ordinal"))
    }

    pub(crate) fn tables_like(&mut self, pattern: &str) -> i64 {
        self.client.value(&format!(
            "SELECT count(*) FROM pg_class WHERE relname LIKE '{pattern}' AND relkind IN ('r', 'p')"
        ))
    }
}

#[test]
fn periods_wholly_past_what_is_kept_leave_oldest_first() {
    let mut db = Database::new();
    db.daily_set("");
    db.client.run("SELECT steward.set_retention('bets', '9 days 12 hours')");
    // The one that began ten days ago ends nine days ago at midnight: not wholly past until noon.
    let noon: bool = db.client.value("SELECT now() >= current_date + interval '12 hours'");
    let oldest_kept = if noon { 9 } else { 10 };
    let expired: Vec<i32> = ((oldest_kept + 1)..=12).rev().collect();

    let planned: Vec<String> = db.client.column(
        "SELECT format('%s %s', action, current_date - right(partition, 10)::date)
           FROM (SELECT ordinal, action, replace(partition, '_', '-') AS partition
                   FROM steward.plan('bets')) p ORDER BY ordinal",
    );
    let expected: Vec<String> =
        expired.iter().flat_map(|day| [format!("detach {day}"), format!("drop {day}")]).collect();
    assert_eq!(planned, expected);
    let shown: i64 =
        db.client.value("SELECT count(*) FROM steward.partitions WHERE state = 'expired'");
    assert_eq!(shown, expired.len() as i64);
    assert!(db.planned_sql("bets")[0].ends_with(" CONCURRENTLY;"));

    db.maintain("bets");
    assert_eq!(db.days().first(), Some(&oldest_kept));
    assert_eq!(db.tables_like("bets%"), 1 + i64::from(oldest_kept) + 1 + 2);
    assert_eq!(
        db.client.value::<i64>("SELECT count(*) FROM bets"),
        i64::from(oldest_kept) + 1,
        "rows of kept days are lost"
    );
    assert!(db.planned_sql("bets").is_empty());
    let detail: String = db.client.value(
        "SELECT format('%s %s', detail->'detached', detail->'dropped')
           FROM steward.job_runs ORDER BY run_id DESC LIMIT 1",
    );
    assert_eq!(detail, format!("{0} {0}", expired.len()));
    // Nothing is left of the notes that it took.
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.retired_partition"), 0);
}

#[test]
fn the_current_period_the_last_one_and_what_is_ahead_stay() {
    let mut db = Database::new();
    db.daily_set("");
    db.client.run("SELECT steward.set_retention('bets', '1 microsecond')");
    db.maintain("bets");
    assert_eq!(db.days(), [0, -1, -2]);

    // A set whose last partition is of another age: what cannot be made anew is not taken away.
    db.client.run(
        "CREATE TABLE old (at timestamptz NOT NULL, CHECK (at < '2021-01-01')) PARTITION BY RANGE (at);
         CREATE TABLE old_1 PARTITION OF old FOR VALUES FROM ('2019-01-01') TO ('2020-01-01');
         CREATE TABLE old_2 PARTITION OF old FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
         CREATE TABLE other (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE other_1 PARTITION OF other FOR VALUES FROM ('2019-01-01') TO ('2020-01-01');
         SELECT steward.manage_range('other', '1 year', premake => 1);
         SELECT steward.set_retention('other', '1 day')",
    );
    let last: String = db.client.value(
        "SELECT lower_bound FROM steward.partitions WHERE parent = 'other'::regclass
          ORDER BY lower_bound DESC LIMIT 1",
    );
    db.client.run(&format!(
        "DO $$ DECLARE t regclass; BEGIN
           FOR t IN SELECT partition FROM steward.partitions
                     WHERE parent = 'other'::regclass AND lower_bound <> '2019-01-01 00:00:00+00'
           LOOP EXECUTE format('DROP TABLE %s', t); END LOOP; END $$; -- until {last}
         ALTER TABLE other ADD CHECK (at < '2020-01-01')"
    ));
    assert!(
        !db.actions("other").iter().any(|step| step.starts_with("detach")),
        "the last one would leave"
    );
}

#[test]
fn integer_keys_count_from_the_highest_key_in_use() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE keys (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
         SELECT steward.manage_range('keys', '1000', premake => 1);
         INSERT INTO keys SELECT g FROM generate_series(0, 900) g;
         SELECT steward.alter_range('keys', premake => 5);
         INSERT INTO keys VALUES (3001);
         SELECT steward.set_retention('keys', '1500')",
    );
    // 3001 - 1500 = 1501: only what ends at or before that is past it.
    assert_eq!(
        db.actions("keys"),
        [
            "create public.keys_p6000",
            "create public.keys_p7000",
            "create public.keys_p8000",
            "detach public.keys_p0",
            "drop public.keys_p0"
        ]
    );
    db.client.run("INSERT INTO keys VALUES (3499)");
    assert!(!db.actions("keys").contains(&"detach public.keys_p1000".to_owned()));
    db.client.run("INSERT INTO keys VALUES (3500)");
    assert!(db.actions("keys").contains(&"detach public.keys_p1000".to_owned()));
    db.maintain("keys");
    assert_eq!(db.client.column::<i64>("SELECT id FROM keys ORDER BY id"), [3001, 3499, 3500]);
}

#[test]
fn detached_tables_are_kept_listed_moved_and_unpublished() {
    let mut db = Database::new();
    db.daily_set("");
    let oldest: String = db.client.value(
        "SELECT partition::text FROM steward.partitions WHERE parent = 'bets'::regclass
          ORDER BY lower_bound LIMIT 1",
    );
    db.client.run(&format!(
        "CREATE SCHEMA attic; CREATE INDEX of_n ON bets (n);
         CREATE TABLE attic.{oldest} (taken int);
         CREATE PUBLICATION one FOR TABLE {oldest};
         SELECT steward.set_retention('bets', '10 days', 'detach', 'attic')"
    ));
    db.maintain("bets");
    let kept: Vec<String> = db.client.column(
        "SELECT format('%s %s %s', p.partition, p.state, (SELECT count(*) FROM pg_index x
                         JOIN pg_class i ON i.oid = x.indexrelid
                        WHERE x.indrelid = p.partition AND i.relnamespace = 'attic'::regnamespace))
           FROM steward.partitions p WHERE p.state = 'detached' ORDER BY p.lower_bound",
    );
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0], format!("attic.{oldest}_1 detached 1"));
    assert_eq!(db.client.value::<i64>(&format!("SELECT n::bigint FROM attic.{oldest}_1")), 12);
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM pg_publication_rel"), 0);
    assert!(db.planned_sql("bets").is_empty());

    // What was kept stays kept, whatever the policy says later; and is listed until it is gone.
    db.client.run("SELECT steward.set_retention('bets', '5 days')");
    db.maintain("bets");
    assert_eq!(db.days().first(), Some(&5));
    let listed = "SELECT count(*) FROM steward.partitions WHERE state = 'detached'";
    assert_eq!(db.client.value::<i64>(listed), 2);
    db.client.run(&format!("ALTER TABLE attic.{oldest}_1 RENAME TO other; DROP TABLE attic.other"));
    assert_eq!(db.client.value::<i64>(listed), 1);
    db.client.run("SELECT steward.clear_retention('bets')");
    assert_eq!(db.client.value::<i64>(listed), 1);
}

#[test]
fn a_spread_period_leaves_as_one() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE events (at timestamptz NOT NULL, who bigint NOT NULL) PARTITION BY RANGE (at);
         CREATE SCHEMA attic;
         SELECT steward.manage_range('events', '1 day', premake => 1,
                                     start_at => (current_date - 4)::text,
                                     subpartition_by => 'who', subpartitions => 3);
         INSERT INTO events SELECT current_date - g, h FROM generate_series(0, 4) g, generate_series(1, 9) h;
         SELECT steward.set_retention('events', '3 days', 'detach', 'attic')",
    );
    db.maintain("events");
    let moved: Vec<String> = db.client.column(
        "SELECT format('%s %s', c.relkind, count(*)) FROM pg_class c
          WHERE c.relnamespace = 'attic'::regnamespace GROUP BY c.relkind ORDER BY c.relkind",
    );
    assert_eq!(moved, ["p 1", "r 3"]);
    db.client.run("SELECT steward.set_retention('events', '2 days')");
    let before = db.tables_like("events%");
    db.maintain("events");
    assert_eq!(db.tables_like("events%"), before - 4);
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM events"), 27);
}

#[test]
fn what_is_past_the_horizon_is_not_made_up_for() {
    let mut db = Database::new();
    db.daily_set("");
    db.client.run(
        "SELECT steward.set_retention('bets', '3 days');
         SELECT steward.alter_range('bets', start_at => (current_date - 30)::text)",
    );
    db.maintain("bets");
    assert_eq!(db.days().first(), Some(&3));
    // A server that slept: what it missed beyond the horizon is not made.
    let planned: i64 = db.client.value(
        "SELECT count(*) FROM steward.plan('bets', now() + interval '40 days')
          WHERE action = 'create'",
    );
    assert_eq!(planned, 1 + 3 + 2);
}

#[test]
fn a_name_is_never_what_decides() {
    let mut db = Database::new();
    db.daily_set("");
    let names: Vec<String> = db.client.column(
        "SELECT partition::text FROM steward.partitions WHERE parent = 'bets'::regclass
          ORDER BY lower_bound LIMIT 1",
    );
    // The oldest is called like tomorrow's neighbour, and a plain table has its old name.
    db.client.run(&format!(
        "ALTER TABLE {0} RENAME TO bets_2999_01_01; CREATE TABLE {0} (precious int);
         SELECT steward.set_retention('bets', '11 days')",
        names[0]
    ));
    db.maintain("bets");
    assert_eq!(db.client.value::<i64>(&format!("SELECT count(*) FROM {}", names[0])), 0);
    assert!(!db.client.value::<bool>("SELECT to_regclass('bets_2999_01_01') IS NOT NULL"));
    assert_eq!(db.days().first(), Some(&11));
}

#[test]
fn the_policy_is_shown_changed_and_cleared() {
    let mut db = Database::new();
    db.daily_set("");
    db.client.run(
        "CREATE SCHEMA attic;
         SELECT steward.set_retention('bets', '12 months', 'detach', to_schema => 'attic')",
    );
    let shown = "SELECT concat_ws(' ', retention, retention_action, to_schema, archive_function)
                   FROM steward.partition_sets";
    assert_eq!(db.client.value::<String>(shown), "12 months detach attic");
    // alter_range() leaves it alone.
    db.client.run("SELECT steward.alter_range('bets', premake => 3)");
    assert_eq!(db.client.value::<String>(shown), "12 months detach attic");
    db.client.run(
        "CREATE FUNCTION public.never(regclass) RETURNS boolean LANGUAGE sql AS 'SELECT false';
         SELECT steward.set_retention('bets', '6 months', archive_function => 'never(regclass)')",
    );
    assert_eq!(db.client.value::<String>(shown), "6 months drop public.never(regclass)");
    db.client.run("SELECT steward.clear_retention('bets')");
    assert_eq!(db.client.value::<String>(shown), "");
    for (code, call) in [
        ("22023", "set_retention('bets', '0')"),
        ("22023", "set_retention('bets', '-1 month')"),
        ("22023", "set_retention('bets', 'infinity')"),
        ("22023", "set_retention('bets', 'a while')"),
        ("22023", "set_retention('bets', '1 day', 'burn')"),
        ("22023", "set_retention('bets', '1 day', to_schema => 'attic')"),
        ("22023", "set_retention('bets', '1 day', archive_function => 'pg_sleep(float8)')"),
        (
            "22023",
            "set_retention('bets', '1 day', 'detach', archive_function => 'never(regclass)')",
        ),
        ("3F000", "set_retention('bets', '1 day', 'detach', 'nowhere')"),
        ("22004", "set_retention('bets', NULL)"),
        ("42809", "set_retention('pg_class', '1 day')"),
        ("22023", "set_tiering('bets', '0', 'pg_default')"),
        ("42704", "set_tiering('bets', '1 day', 'nowhere')"),
        ("22023", "set_tiering('bets', '1 day', 'pg_global')"),
    ] {
        let error = db.client.refused(code, &format!("SELECT steward.{call}"));
        assert!(error.hint().is_some(), "{call}: no hint");
    }
    assert_eq!(db.client.value::<String>(shown), "", "half of a refused call stayed");
    db.client.run("SELECT steward.unmanage('bets')");
    db.client.refused("42704", "SELECT steward.set_retention('bets', '1 day')");
    db.client.refused("42704", "SELECT steward.clear_retention('bets')");
}

#[test]
fn it_looks_again_when_the_next_period_will_be_too_old() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('t', '1 year', premake => 1,
                                     start_at => (date_trunc('year', now()) - interval '2 years')::text)",
    );
    // Last year is past what is kept at a day of this or next month, long before the next boundary.
    let keep: String = db
        .client
        .value("SELECT extract(day FROM now() - date_trunc('year', now())) + 20 || ' days'");
    db.client.run(&format!("SELECT steward.set_retention('t', '{keep}')"));
    db.maintain("t");
    let due: bool = db.client.value(&format!(
        "SELECT next_maintenance_at = date_trunc('year', now()) + interval '{keep}'
           FROM steward.partition_sets"
    ));
    let turn_of_the_year: bool = db.client.value(&format!(
        "SELECT date_trunc('year', now()) + interval '{keep}' > date_trunc('year', now()) + interval '1 year'"
    ));
    assert!(due || turn_of_the_year);
}

mod needs_contrib {
    use super::*;

    #[test]
    fn a_foreign_table_and_what_somebody_partitioned_further_leave_like_any_other() {
        let mut db = Database::new();
        db.client.run(
            "CREATE EXTENSION postgres_fdw;
             CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere');
             CREATE TABLE bets (at date NOT NULL, kind text) PARTITION BY RANGE (at);
             CREATE FOREIGN TABLE bets_far PARTITION OF bets
                 FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') SERVER away;
             CREATE TABLE bets_by_kind PARTITION OF bets
                 FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY LIST (kind);
             CREATE TABLE bets_by_kind_a PARTITION OF bets_by_kind FOR VALUES IN ('a');
             CREATE TABLE bets_by_kind_rest PARTITION OF bets_by_kind DEFAULT;
             INSERT INTO bets VALUES ('2021-05-05', 'a'), ('2021-05-06', 'b');
             SELECT steward.manage_range('bets', '1 year', premake => 1);
             SELECT steward.set_retention('bets', '1 year')",
        );
        let drops: Vec<String> = db.client.column(
            "SELECT sql FROM steward.plan('bets') WHERE action = 'drop' ORDER BY ordinal LIMIT 2",
        );
        assert_eq!(
            drops,
            ["DROP FOREIGN TABLE public.bets_far;", "DROP TABLE public.bets_by_kind;"]
        );
        db.maintain("bets");
        for gone in ["bets_far", "bets_by_kind", "bets_by_kind_a", "bets_by_kind_rest"] {
            assert!(!db.client.value::<bool>(&format!("SELECT to_regclass('{gone}') IS NOT NULL")));
        }
        assert!(db.actions("bets").is_empty());
    }
}
