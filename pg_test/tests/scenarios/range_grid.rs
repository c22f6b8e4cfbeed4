//! Sets that have partitions of exactly the interval's width already, on a grid of their own: they go on as
//! they lie, and no short partition is made.

use pg_test::cluster::Ask;

use crate::range_support::Database;

impl Database {
    /// A set `t` made by hand, of partitions from each of these bounds to the next.
    fn lying(&mut self, key: &str, bounds: &[&str]) {
        self.client.run(&format!("CREATE TABLE t (k {key} NOT NULL) PARTITION BY RANGE (k)"));
        for (n, pair) in bounds.windows(2).enumerate() {
            self.client.run(&format!(
                "CREATE TABLE by_hand_{n} PARTITION OF t FOR VALUES FROM ('{}') TO ('{}')",
                pair[0], pair[1]
            ));
        }
    }

    /// The policy's origin.
    fn origin(&mut self) -> Option<String> {
        self.client.value("SELECT origin FROM steward.partition_sets")
    }

    /// Bounds, without the state.
    fn bounds(&mut self) -> Vec<String> {
        self.client.column(
            "SELECT lower_bound || ' ' || upper_bound FROM steward.partitions
              WHERE parent = 't'::regclass",
        )
    }

    /// Plans at an instant, as bounds without offsets of UTC.
    fn planned(&mut self, at: &str) -> Vec<String> {
        self.client.column(&format!(
            "SELECT replace(substring(sql FROM 'FROM \\(''([^'']*)'), ' 00:00:00+00', '') || ' ' ||
                    replace(substring(sql FROM 'TO \\(''([^'']*)'), ' 00:00:00+00', '')
               FROM steward.plan('t', '{at}') ORDER BY 1"
        ))
    }
}

#[test]
fn tens_from_five_go_on_from_five_and_say_so() {
    let mut db = Database::new();
    db.lying("bigint", &["5", "15", "25"]);
    db.client.run("INSERT INTO t VALUES (17)");
    let said =
        db.psql().command("SELECT count(*) FROM steward.manage_range('t', '10', 2)").unwrap();
    assert!(said.text.contains("NOTICE") && said.text.contains("origin => '5'"), "{}", said.text);
    assert_eq!(db.bounds(), ["5 15", "15 25", "25 35", "35 45"]);
    assert_eq!(db.origin().as_deref(), Some("5"));
    // It is the policy's from now on, whatever else changes.
    db.client.run("SELECT steward.alter_range('t', premake => 3)");
    assert_eq!(db.bounds().last().map(String::as_str), Some("45 55"));
}

#[test]
fn an_empty_set_goes_on_from_where_it_begins() {
    for key in ["smallint", "integer", "numeric"] {
        let mut db = Database::new();
        db.lying(key, &["5", "15"]);
        db.client.run("SELECT steward.manage_range('t', '10', 1)");
        assert_eq!(db.bounds(), ["5 15", "15 25"], "{key}");
        assert_eq!(db.origin().as_deref(), Some("5"), "{key}");
    }
}

#[test]
fn weeks_from_sundays_and_fiscal_quarters_go_on() {
    for (key, interval, bounds, at, expected, origin) in [
        (
            "timestamptz",
            "1 week",
            &["2097-01-06", "2097-01-13", "2097-01-20"][..],
            "2097-01-18 12:00",
            &["2097-01-20 2097-01-27"][..],
            "2097-01-06 00:00:00",
        ),
        (
            "date",
            "1 week",
            &["2097-01-06", "2097-01-13"],
            "2097-01-12",
            &["2097-01-13 2097-01-20"],
            "2097-01-06 00:00:00",
        ),
        (
            "timestamptz",
            "3 months",
            &["2096-11-01", "2097-02-01", "2097-05-01"],
            "2097-03-01",
            &["2097-05-01 2097-08-01"],
            "2096-11-01 00:00:00",
        ),
        (
            "timestamp",
            "1 year",
            &["2095-04-06", "2096-04-06", "2097-04-06"],
            "2097-03-01",
            &["2097-04-06 00:00:00 2098-04-06 00:00:00"],
            "2095-04-06 00:00:00",
        ),
    ] {
        let mut db = Database::new();
        db.lying(key, bounds);
        // Nothing is made for today.
        db.client.run(&format!(
            "SELECT steward.manage_range('t', '{interval}', 1, time_zone => 'UTC', start_at => '2095-04-06')"
        ));
        assert_eq!(db.bounds().len(), bounds.len() - 1, "{key}, {interval}: {:?}", db.bounds());
        assert_eq!(db.origin().as_deref(), Some(origin), "{key}, {interval}");
        assert_eq!(db.planned(at), expected, "{key}, {interval}");
    }
}

#[test]
fn the_wall_clock_of_the_zone_is_gone_on_with() {
    let mut db = Database::new();
    // Days from six in the morning in Madrid, across a change of the clocks.
    db.lying(
        "timestamptz",
        &[
            "2097-03-29 05:00+00",
            "2097-03-30 05:00+00",
            "2097-03-31 04:00+00",
            "2097-04-01 04:00+00",
        ],
    );
    db.client.run(
        "SELECT steward.manage_range('t', '1 day', 1, time_zone => 'Europe/Madrid', start_at => '2097-03-29 06:00')",
    );
    assert_eq!(db.origin().as_deref(), Some("2097-03-29 06:00:00"));
    assert_eq!(
        db.planned("2097-04-01 00:00+00"),
        ["2097-04-01 04:00:00+00 2097-04-02 06:00:00+02"]
    );
}

#[test]
fn an_uneven_set_is_brought_onto_the_calendar() {
    for (bounds, row, expected) in [
        (&["0", "10", "25", "35"][..], 30, &["35 40", "40 50"][..]),
        (&["5", "15", "22"], 20, &["22 30", "30 40"]),
        (&["5", "12"], 6, &["12 20", "20 30"]),
        (&["10", "20"], 11, &["20 30"]),
    ] {
        let mut db = Database::new();
        db.lying("bigint", bounds);
        db.client.run(&format!("INSERT INTO t VALUES ({row})"));
        db.client.run("SELECT steward.manage_range('t', '10', 1)");
        assert_eq!(db.origin(), None, "{bounds:?}");
        assert_eq!(db.bounds()[bounds.len() - 1..], *expected, "{bounds:?}");
    }
    let mut db = Database::new();
    db.lying("numeric", &["5.5", "15.5"]);
    db.client.run("SELECT steward.manage_range('t', '10', 1)");
    assert_eq!(db.bounds(), ["0 5.5", "5.5 15.5", "15.5 20"]);
}

#[test]
fn what_the_caller_says_wins() {
    let mut db = Database::new();
    db.lying("bigint", &["5", "15"]);
    db.client
        .run("INSERT INTO t VALUES (7); SELECT steward.manage_range('t', '10', 1, origin => '0')");
    assert_eq!(db.bounds(), ["5 15", "15 20", "20 30"]);
    assert_eq!(db.origin().as_deref(), Some("0"));
    // '' brings it onto the multiples, and what is not asked for again is not inferred again.
    db.client.run(
        "SELECT steward.alter_range('t', origin => ''); SELECT steward.alter_range('t', '10')",
    );
    assert_eq!(db.origin(), None);
}

#[test]
fn another_interval_finds_its_grid_as_well() {
    let mut db = Database::new();
    db.lying("bigint", &["5", "15", "25"]);
    db.client.run("INSERT INTO t VALUES (16); SELECT steward.manage_range('t', '100', 1)");
    assert_eq!((db.origin(), db.bounds().len()), (None, 5), "{:?}", db.bounds());
    db.client.run("DROP TABLE t_p0, t_p25, t_p100; SELECT steward.alter_range('t', '10')");
    assert_eq!(db.origin().as_deref(), Some("5"));
    assert_eq!(db.bounds(), ["5 15", "15 25", "25 35"]);
}

#[test]
fn bounds_that_cannot_be_read_are_left_to_the_plan() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (k text COLLATE \"C\" NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE old PARTITION OF t FOR VALUES FROM ('0') TO ('00000000000000000000000000');
         CREATE TABLE newer PARTITION OF t
             FOR VALUES FROM ('00000000000000000000000000') TO ('01ARZ3NDEKTSV4RRFFQ69G5FAV');
         SELECT steward.manage_range('t', '1 year', 1, key_encoding => 'ulid', time_zone => 'UTC')",
    );
    assert_eq!(db.origin(), None);
}
