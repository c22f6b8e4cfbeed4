//! Range sets whose periods are spread by hash, and periods that somebody partitioned by hand.

use pg_test::cluster::{Ask, Cluster, wait_until};

use crate::errors_common::assert_says;
use crate::range_support::{Database, cluster};
use crate::unattended_support::SOON;

const EVENTS: &str = "CREATE TABLE events (
        at timestamptz NOT NULL, user_id bigint NOT NULL, note text, PRIMARY KEY (user_id, at)
    ) PARTITION BY RANGE (at);
    CREATE INDEX ON events (note)";

/// Periods of `events`, with how many partitions each has.
const PERIODS: &str = "SELECT format('%s %s', i.inhrelid::regclass, (SELECT count(*) FROM pg_inherits l WHERE l.inhparent = i.inhrelid))
    FROM pg_inherits i WHERE i.inhparent = 'events'::regclass ORDER BY i.inhrelid::regclass::text";

fn managed(db: &mut Database, call: &str) {
    db.client.run(EVENTS);
    db.client.run(&format!("SELECT steward.manage_range('events', {call})"));
}

#[test]
fn every_period_is_complete_before_it_is_attached() {
    let mut db = Database::new();
    managed(&mut db, "'1 year', premake => 1, subpartition_by => 'user_id', subpartitions => 8");
    let year: i32 = db.client.value("SELECT extract(year FROM now())::int4");
    let expected: Vec<String> =
        [year, year + 1].iter().map(|year| format!("events_{year} 8")).collect();
    assert_eq!(db.client.column::<String>(PERIODS), expected);

    // One transaction a period, and the attach that shows it to others comes last.
    let step: String = db
        .client
        .value("SELECT sql FROM steward.plan('events', now() + interval '2 years') LIMIT 1");
    let attach = step.find("ALTER TABLE public.events ATTACH").unwrap();
    assert!(!step[attach..].contains("CREATE TABLE"), "{step}");
    assert_eq!(step.matches("FOR VALUES WITH (modulus 8, remainder ").count(), 8);

    // Every leaf has what the parent has, and every key has a place.
    db.client.run("INSERT INTO events SELECT now(), n, n FROM generate_series(1, 800) n");
    let leaves: Vec<String> = db.client.column(
        "SELECT DISTINCT format('%s indexes, %s primary, %s valid',
                (SELECT count(*) FROM pg_index x WHERE x.indrelid = t.relid),
                (SELECT count(*) FROM pg_index x WHERE x.indrelid = t.relid AND x.indisprimary),
                (SELECT bool_and(x.indisvalid) FROM pg_index x WHERE x.indrelid = t.relid))
           FROM pg_partition_tree('events') t WHERE t.isleaf",
    );
    assert_eq!(leaves, ["2 indexes, 1 primary, t valid"]);
    let invalid: i64 = db.client.value(
        "SELECT count(*) FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid
          WHERE c.relname LIKE 'events%' AND NOT x.indisvalid",
    );
    assert_eq!(invalid, 0);
    let shown: Vec<String> = db.client.column(
        "SELECT format('%s %s %s %s', level, strategy, count(*), min(state)) FROM steward.partitions
          GROUP BY level, strategy ORDER BY 1",
    );
    assert_eq!(shown, ["1 range 2 current", "2 hash 16 current"]);
    let policy: String = db.client.value(
        "SELECT format('%s %s %s', partitions, subpartition_by, subpartitions) FROM steward.partition_sets",
    );
    assert_eq!(policy, "2 user_id 8");
    db.maintain("events");
    assert_eq!(db.count("events"), 2);
}

#[test]
fn what_the_template_and_the_newest_period_give_reaches_the_leaves() {
    let mut db = Database::new();
    let reader = db.own("reader");
    db.client.run(EVENTS);
    db.client.run(&format!(
        "CREATE ROLE {reader};
         ALTER TABLE events REPLICA IDENTITY FULL;
         CREATE TABLE model (LIKE events) WITH (fillfactor = 60);
         CREATE INDEX ON model (at);
         GRANT SELECT ON model TO {reader};
         SELECT steward.manage_range('events', '1 year', premake => 1, template => 'model',
                                     subpartition_by => 'user_id', subpartitions => 2)"
    ));
    let leaf = "SELECT DISTINCT format('%s %s %s %s', c.reloptions, c.relreplident,
                       (SELECT count(*) FROM pg_index x WHERE x.indrelid = c.oid), c.relacl IS NOT NULL)
                  FROM pg_partition_tree('events') t JOIN pg_class c ON c.oid = t.relid
                 WHERE t.isleaf";
    assert_eq!(db.client.column::<String>(leaf), ["{fillfactor=60} f 3 t"]);
    // Without the template the newest sibling's leaves say what a parent cannot.
    db.client.run(
        "SELECT steward.alter_range('events', template => '-');
         SELECT steward.alter_range('events', premake => 2)",
    );
    let fillfactors: Vec<String> = db.client.column(
        "SELECT DISTINCT c.reloptions::text FROM pg_partition_tree('events') t
           JOIN pg_class c ON c.oid = t.relid WHERE t.isleaf",
    );
    assert_eq!(fillfactors, ["{fillfactor=60}"]);
    assert_eq!(db.count("events"), 3);
}

#[test]
fn the_leaves_of_a_long_name_still_say_the_period() {
    let mut db = Database::new();
    let parent = format!("e{}", "vent".repeat(15));
    db.client.run(&format!(
        "CREATE TABLE {parent} (at timestamptz NOT NULL, user_id int) PARTITION BY RANGE (at);
         SELECT steward.manage_range('{parent}', '1 month', 1, time_zone => 'UTC', start_at => '2025-02-01',
                                     subpartition_by => 'user_id', subpartitions => 2)"
    ));
    let leaves: Vec<String> = db.client.column(&format!(
        "SELECT relid::regclass::text FROM pg_partition_tree('{parent}') WHERE isleaf ORDER BY 1 LIMIT 2"
    ));
    let expected: Vec<String> = (0..2).map(|n| format!("{}_2025_02_p{n}", &parent[..51])).collect();
    assert_eq!(leaves, expected);
}

#[test]
fn the_policy_survives_a_renamed_column_and_can_be_changed_and_cleared() {
    let mut db = Database::new();
    managed(&mut db, "'1 year', premake => 1, subpartition_by => 'user_id', subpartitions => 2");
    // Another column with the old name is another column.
    db.client.run(
        "ALTER TABLE events RENAME COLUMN user_id TO \"Konto\";
         ALTER TABLE events RENAME COLUMN note TO user_id",
    );
    let shown: String = db.client.value("SELECT subpartition_by FROM steward.partition_sets");
    assert_eq!(shown, "Konto");
    db.client.run("SELECT steward.alter_range('events', premake => 2)");
    db.client.run("SELECT steward.alter_range('events', premake => 3, subpartitions => 3)");
    db.client.run("SELECT steward.alter_range('events', premake => 4, subpartition_by => '')");
    let counts: Vec<i64> = db.client.column(
        "SELECT (SELECT count(*) FROM pg_inherits l WHERE l.inhparent = i.inhrelid)
           FROM pg_inherits i WHERE i.inhparent = 'events'::regclass
          ORDER BY i.inhrelid::regclass::text",
    );
    assert_eq!(counts, [2, 2, 2, 3, 0]);

    // A column that is gone is not replaced by another.
    db.client
        .run("CREATE TABLE clicks (at timestamptz NOT NULL, u int, v int) PARTITION BY RANGE (at)");
    db.client.run(
        "SELECT steward.manage_range('clicks', '1 year', 1, subpartition_by => 'u', subpartitions => 2);
         SELECT steward.alter_range('clicks', subpartition_by => 'v');
         ALTER TABLE clicks DROP COLUMN v",
    );
    let plan = "SELECT steward.plan('clicks', now() + interval '1 year')";
    assert_says(&db.client.refused("22023", plan), "\"v\" any more", "subpartition_by");
}

#[test]
fn bad_subpartitions_are_refused() {
    let mut db = Database::new();
    db.client.run(EVENTS);
    db.client.run(
        "ALTER TABLE events ADD COLUMN extra int GENERATED ALWAYS AS (1) STORED, ADD COLUMN doc json;
         CREATE TABLE model (LIKE events); CREATE UNIQUE INDEX ON model (at)",
    );
    for (call, object, hint) in [
        ("subpartition_by => 'nobody'", "\"nobody\"", "without quotes"),
        ("subpartition_by => 'extra'", "\"extra\" is generated", "bigint"),
        ("subpartition_by => 'doc'", "cannot be hashed", "bigint"),
        ("subpartition_by => 'user_id', template => 'model'", "model_at_idx", "add the column"),
        ("subpartition_by => 'note'", "events_pkey", "add the column to the key"),
        ("subpartition_by => 'user_id', subpartitions => 0", "between 1 and 1000", "for example 8"),
        ("subpartitions => 4", "subpartition_by", "leave subpartitions out"),
    ] {
        let sql = format!("SELECT steward.manage_range('events', '1 year', {call})");
        let refusal = db.client.refused("22023", &sql);
        assert_says(&refusal, object, hint);
    }
    assert_eq!(db.count("events"), 0);
    db.client
        .run("SELECT steward.manage_range('events', '1 year', 1, subpartition_by => 'user_id')");
    assert!(db.client.column::<String>(PERIODS).iter().all(|period| period.ends_with(" 16")));
}

#[test]
fn periods_that_somebody_partitioned_by_hand_are_left_alone_below() {
    let mut db = Database::new();
    db.client.run(EVENTS);
    db.client.run(
        "CREATE TABLE by_list (at timestamptz NOT NULL, user_id bigint NOT NULL, note text)
             PARTITION BY LIST (user_id);
         CREATE TABLE by_list_1 PARTITION OF by_list FOR VALUES IN (1);
         CREATE TABLE by_range (at timestamptz NOT NULL, user_id bigint NOT NULL, note text)
             PARTITION BY RANGE (at);
         CREATE TABLE by_range_1 PARTITION OF by_range FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
         ALTER TABLE events ATTACH PARTITION by_list FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
         ALTER TABLE events ATTACH PARTITION by_range FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
    );
    db.client.run("SELECT steward.manage_range('events', '1 year', premake => 1)");
    let below: Vec<String> = db.client.column(PERIODS);
    assert_eq!(&below[..2], ["by_list 1", "by_range 1"]);
    assert!(below[2..].iter().all(|period| period.ends_with(" 0")), "{below:?}");
    let shown: i64 = db.client.value("SELECT count(*) FROM steward.partitions WHERE level = 2");
    assert_eq!(shown, 0);
}

/// An open transaction that has read and written the set.
fn busy(cluster: &Cluster, db: &Database) -> pg_test::cluster::Session {
    let mut session = cluster.session(&db.name).unwrap();
    session.run("BEGIN");
    session.run("INSERT INTO events VALUES (now(), 1, 'x')");
    session.run("SELECT count(*) FROM events");
    session
}

#[test]
fn nobody_waits_while_a_period_is_made() {
    let mut db = Database::new();
    managed(&mut db, "'1 year', premake => 1, subpartition_by => 'user_id', subpartitions => 4");
    let mut session = busy(cluster(), &db);
    let held: bool = db.client.value(&format!(
        "SELECT count(*) = 1 FROM pg_locks WHERE pid = {} AND granted AND mode = 'RowExclusiveLock'
            AND relation = 'events'::regclass",
        session.pid()
    ));
    assert!(held);
    db.client.run("SELECT steward.alter_range('events', premake => 2)");
    assert_eq!(db.count("events"), 3);
    session.run("INSERT INTO events VALUES (now(), 2, 'y')");
    session.run("COMMIT");
    wait_until(SOON, "both rows are there", || db.client.value("SELECT count(*) = 2 FROM events"));
}
