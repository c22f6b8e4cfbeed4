//! Sets that have partitions already, made by hand or by another tool.

use pg_test::cluster::Ask;

use crate::range_support::Database;

/// The current month's start plus so many months, as SQL.
fn month(n: i32) -> String {
    format!("date_trunc('month', now()) + interval '{n} months'")
}

impl Database {
    /// A partition made by hand; bounds are expressions, or MINVALUE and MAXVALUE.
    fn by_hand(&mut self, parent: &str, name: &str, lower: &str, upper: &str) {
        let side = |edge: &str| match edge {
            "MINVALUE" | "MAXVALUE" => format!("'{edge}'"),
            _ => format!("quote_literal({edge})"),
        };
        let ddl: String = self.client.value(&format!(
            "SELECT format('CREATE TABLE %I PARTITION OF {parent} FOR VALUES FROM (%s) TO (%s)',
                           '{name}', {}, {})",
            side(lower),
            side(upper)
        ));
        self.client.run(&ddl);
    }

    /// Whether there is a partition with these bounds.
    fn has(&mut self, parent: &str, lower: &str, upper: &str) -> bool {
        self.client.value(&format!(
            "SELECT count(*) = 1 FROM steward.partitions WHERE parent = '{parent}'::regclass
              AND lower_bound = ({lower})::text AND upper_bound = ({upper})::text"
        ))
    }

    fn holes(&mut self, parent: &str) -> Vec<String> {
        self.client.value(&format!(
            "SELECT holes FROM steward.partition_sets WHERE parent = '{parent}'::regclass"
        ))
    }
}

const TABLE: &str = "CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at)";

#[test]
fn the_next_partition_continues_the_last_exactly_whatever_its_bounds() {
    let mut db = Database::new();
    db.client.run(TABLE);
    let end = "now() + interval '1 hour 2 minutes 3.456789 seconds'";
    let end: String = db.client.value(&format!("SELECT ({end})::text"));
    let end = format!("'{end}'::timestamptz");
    db.by_hand("t", "Ä strange Name", &format!("{} - interval '10 days 7 hours'", month(0)), &end);
    db.client.run("SELECT steward.manage_range('t', premake => 2)");
    assert_eq!(db.holes("t"), Vec::<String>::new());
    // It ends at the first boundary after where it begins.
    let next = format!("date_trunc('month', {end}) + interval '1 month'");
    assert!(db.has("t", &end, &next), "{:?}", db.states("t"));
    let until: bool = db
        .client
        .value(&format!("SELECT covered_until = ({})::text FROM steward.partition_sets", month(3)));
    assert!(until, "{:?}", db.states("t"));
}

#[test]
fn gaps_ahead_are_filled_and_holes_behind_are_left_and_told() {
    let mut db = Database::new();
    db.client.run(TABLE);
    db.by_hand("t", "oldest", &month(-6), &month(-5));
    db.by_hand("t", "last", &month(-2), &month(0));
    db.by_hand("t", "far", &month(2), &format!("{} + interval '9 days'", month(2)));
    let steps: Vec<String> =
        db.client.column("SELECT reason FROM steward.manage_range('t', premake => 3)");
    assert_eq!(steps.len(), 4, "{steps:?}");
    assert!(db.has("t", &month(0), &month(1)) && db.has("t", &month(1), &month(2)));
    assert!(db.has("t", &format!("{} + interval '9 days'", month(2)), &month(3)));
    assert!(db.has("t", &month(3), &month(4)));
    assert!(steps[0].contains("current period"), "{steps:?}");
    assert!(steps[1].contains("hole"), "{steps:?}");
    let hole: String =
        db.client.value(&format!("SELECT format('[%s, %s)', {}, {})", month(-5), month(-2)));
    assert_eq!(db.holes("t"), [hole]);
    db.maintain("t");
    assert_eq!(db.count("t"), 7);
}

#[test]
fn minvalue_and_maxvalue_are_understood() {
    let mut db = Database::new();
    db.client.run(TABLE);
    db.by_hand("t", "before", "MINVALUE", &month(0));
    db.by_hand("t", "after", &month(2), "MAXVALUE");
    db.client.run("SELECT steward.manage_range('t', premake => 6)");
    assert_eq!(db.count("t"), 4);
    assert!(db.has("t", &month(0), &month(1)) && db.has("t", &month(1), &month(2)));
    assert_eq!(
        db.client.value::<String>(
            "SELECT covered_from || ' ' || covered_until
        FROM steward.partition_sets"
        ),
        "MINVALUE MAXVALUE"
    );
}

#[test]
fn infinite_bounds_are_understood() {
    for (key, cast) in
        [("timestamptz", "timestamptz"), ("timestamp", "timestamp"), ("date", "date")]
    {
        let mut db = Database::new();
        db.client.run(&format!("CREATE TABLE t (at {key} NOT NULL) PARTITION BY RANGE (at)"));
        let at = |n: i32| format!("({})::{cast}", month(n));
        db.by_hand("t", "before", &format!("'-infinity'::{cast}"), &at(0));
        db.by_hand("t", "after", &at(1), &format!("'infinity'::{cast}"));
        db.client.run("SELECT steward.manage_range('t', premake => 6)");
        assert!(db.has("t", &at(0), &at(1)), "{key}: {:?}", db.states("t"));
        assert_eq!(db.count("t"), 3, "{key}");

        // Nothing but the far past: that is no place to count missed periods from.
        db.client.run(&format!("CREATE TABLE u (at {key} NOT NULL) PARTITION BY RANGE (at)"));
        db.by_hand("u", "u_before", "MINVALUE", &format!("'-infinity'::{cast}"));
        db.client.run("SELECT steward.manage_range('u', premake => 1)");
        assert_eq!(db.count("u"), 3, "{key}: {:?}", db.states("u"));
    }
}

#[test]
fn rows_in_the_default_partition_are_reported_and_stop_only_their_own_period() {
    let mut db = Database::new();
    db.client.run(TABLE);
    db.client.run("CREATE TABLE rest PARTITION OF t DEFAULT");
    db.client.run(&format!(
        "INSERT INTO t SELECT {} + interval '1 day' FROM generate_series(1, 3)",
        month(1)
    ));
    let output =
        db.psql().command("SELECT count(*) FROM steward.manage_range('t', premake => 3)").unwrap();
    assert_eq!(output.code, Some(0), "{}", output.text);
    assert!(output.text.contains("WARNING") && output.text.contains("rest"), "{}", output.text);
    assert_eq!(db.count("t"), 4);
    assert!(db.has("t", &month(0), &month(1)) && db.has("t", &month(2), &month(3)));

    // Kept in mind, so that it is made also when it has become a hole behind the current period.
    let kept = "SELECT make_up_from IS NOT NULL FROM steward.range_policy";
    assert!(db.client.value::<bool>(kept));
    let reasons: Vec<String> = db.client.column("SELECT reason FROM steward.plan('t')");
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].contains("3 row") && reasons[0].contains("rest"), "{reasons:?}");
    let output = db.psql().command("CALL steward.maintain('t')").unwrap();
    assert!(output.text.contains("ERROR") && output.text.contains("rest"), "{}", output.text);
    assert_eq!(
        db.client.value::<String>("SELECT last_status FROM steward.partition_sets"),
        "failed"
    );

    db.client.run("CREATE TABLE aside AS SELECT * FROM rest; DELETE FROM rest");
    db.maintain("t");
    assert!(db.has("t", &month(1), &month(2)));
    db.client.run("INSERT INTO t SELECT * FROM aside");
    assert!(!db.client.value::<bool>(kept));
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM rest"), 0);
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.plan('t')"), 0);
}

#[test]
fn a_missed_period_that_rows_in_the_default_partition_blocked_is_made_once_they_are_gone() {
    let mut db = Database::new();
    db.client.run(TABLE);
    db.client.run("CREATE TABLE rest PARTITION OF t DEFAULT");
    db.client.run(&format!("INSERT INTO t SELECT {} + interval '1 day'", month(-3)));
    let start: String = db.client.value(&format!("SELECT ({})::text", month(-5)));
    db.client
        .run(&format!("SELECT steward.manage_range('t', premake => 1, start_at => '{start}')"));
    assert_eq!(db.count("t"), 7);
    assert_eq!(db.holes("t").len(), 1);
    db.client.run("DELETE FROM rest");
    db.maintain("t");
    assert!(db.has("t", &month(-3), &month(-2)), "{:?}", db.states("t"));
    assert_eq!(db.holes("t"), Vec::<String>::new());
}

#[test]
fn missed_periods_are_made_up_the_current_one_first_then_ahead_then_backwards() {
    let mut db = Database::new();
    db.client.run(TABLE);
    db.by_hand("t", "old", &month(-4), &month(-3));
    let lowers: Vec<String> = db.client.column(
        "SELECT substring(sql FROM 'FROM \\(''([^'']*)') FROM steward.manage_range('t', premake => 2)
          ORDER BY ordinal",
    );
    let mut expected = Vec::new();
    for n in [0, 1, 2, -1, -2, -3] {
        expected.push(db.client.value::<String>(&format!("SELECT ({})::text", month(n))));
    }
    assert_eq!(lowers, expected);
    assert_eq!(db.holes("t"), Vec::<String>::new());
}

#[test]
fn a_make_up_that_was_cut_off_is_continued() {
    let mut db = Database::new();
    db.client.run(TABLE);
    db.client.run("CREATE TABLE rest PARTITION OF t DEFAULT");
    db.client.run("SELECT steward.manage_range('t', premake => 1)");
    // As after months of sleep: only an old partition is there.
    let names: Vec<String> =
        db.client.column("SELECT partition::text FROM steward.partitions WHERE NOT is_default");
    for name in names {
        db.client.run(&format!("DROP TABLE {name}"));
    }
    db.by_hand("t", "old", &month(-5), &month(-4));
    db.client.run(&format!("INSERT INTO t SELECT {} + interval '1 day'", month(-3)));
    db.client.refused("23514", "CALL steward.maintain('t')");
    assert!(db.has("t", &month(0), &month(1)) && db.has("t", &month(-4), &month(-3)));
    assert_eq!(db.holes("t").len(), 1);
    let kept: bool = db.client.value("SELECT make_up_from IS NOT NULL FROM steward.range_policy");
    assert!(kept);
    db.client.run("DELETE FROM rest");
    db.maintain("t");
    assert!(db.has("t", &month(-3), &month(-2)));
    let kept: bool = db.client.value("SELECT make_up_from IS NOT NULL FROM steward.range_policy");
    assert!(!kept, "a finished make-up is still remembered");
    // From now on a hole behind is somebody's choice again.
    db.client.run("DROP TABLE old; ALTER TABLE t DETACH PARTITION rest");
    let name: String = db.client.value(
        "SELECT partition::text FROM steward.partitions WHERE state = 'past' OFFSET 1 LIMIT 1",
    );
    db.client.run(&format!("DROP TABLE {name}"));
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.plan('t')"), 0);
}

#[test]
fn a_far_partition_and_a_row_in_it_create_nothing() {
    let mut db = Database::new();
    db.client.run(TABLE);
    db.by_hand("t", "far", "'2097-01-01'::timestamptz", "'2097-02-01'::timestamptz");
    db.client.run("INSERT INTO t VALUES ('2097-01-31 12:00+00')");
    db.client.run("SELECT steward.manage_range('t', premake => 2)");
    db.maintain("t");
    assert_eq!(db.count("t"), 4);
    let near: bool = db.client.value(
        "SELECT bool_and(lower_bound::timestamptz < now() + interval '3 months')
           FROM steward.partitions WHERE partition <> 'far'::regclass",
    );
    assert!(near, "{:?}", db.states("t"));
    assert_eq!(db.holes("t").len(), 1);
}

#[test]
fn a_changed_interval_goes_on_from_the_end_of_what_exists() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (id bigint NOT NULL) PARTITION BY RANGE (id);
         SELECT steward.manage_range('t', '100', premake => 1);
         SELECT steward.alter_range('t', '250', premake => 2)",
    );
    assert_eq!(
        db.states("t"),
        ["0 100 current", "100 200 future", "200 250 future", "250 500 future", "500 750 future"]
    );
}

#[test]
fn a_changed_zone_goes_on_from_the_end_of_what_exists() {
    let mut db = Database::new();
    db.client.run(TABLE);
    db.client.run(
        "SELECT steward.manage_range('t', '1 day', premake => 1, time_zone => 'America/New_York')",
    );
    let end: String = db.client.value("SELECT covered_until FROM steward.partition_sets");
    db.client.run("SELECT steward.alter_range('t', premake => 4, time_zone => 'Asia/Kathmandu')");
    assert_eq!(db.holes("t"), Vec::<String>::new());
    let lowers: Vec<bool> = db.client.column(&format!(
        "SELECT (lower_bound::timestamptz AT TIME ZONE 'Asia/Kathmandu')::time = '00:00'
           FROM steward.partitions WHERE lower_bound::timestamptz > '{end}'::timestamptz"
    ));
    assert!(lowers.len() >= 2 && lowers.iter().all(|midnight| *midnight), "{:?}", db.states("t"));
    let continued: i64 = db.client.value(&format!(
        "SELECT count(*) FROM steward.partitions WHERE lower_bound::timestamptz = '{end}'::timestamptz"
    ));
    assert_eq!(continued, 1);
}
