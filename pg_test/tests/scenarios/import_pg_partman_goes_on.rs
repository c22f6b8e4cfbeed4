//! Sets of pg_partman that are taken over go on as pg_partman itself would: the same bounds, the same
//! names.

use pg_test::cluster::Ask;

use crate::import_support::{DAILY, Kind, database_with_partman, is_version_5};
use crate::range_support::Database;

impl Database {
    /// Of two sets alike, one is taken over, the other stays pg_partman's. Both are to keep much more
    /// ready: they make the same, under the same names.
    #[track_caller]
    fn assert_goes_on(&mut self, kind: Kind, expected: &str) {
        // In one transaction, so that both begin at the same time.
        self.client.run("BEGIN");
        self.partman_set("ours", kind);
        self.partman_set("theirs", kind);
        self.client.run("COMMIT");
        let before = self.in_order("ours");
        assert_eq!(before, self.in_order("theirs"));
        self.client.run(
            "UPDATE partman.part_config SET undo_in_progress = true
              WHERE parent_table = 'public.theirs'",
        );
        let row = self.import(
            "ours",
            "status, reason, partition_interval::interval, premake, key_encoding, time_zone, template",
        );
        assert_eq!(row, format!("imported; {expected}; partman.template_public_ours"));
        let after = self.in_order("ours");
        assert_eq!(after[..before.len()], before, "what was there is not as it was");

        self.client.run(
            "UPDATE partman.part_config
                SET undo_in_progress = false, infinite_time_partitions = true, premake = 16
              WHERE parent_table = 'public.theirs';
             SELECT partman.run_maintenance('public.theirs');
             SELECT steward.alter_range('ours', premake => 16)",
        );
        let (ours, theirs) = (self.in_order("ours"), self.in_order("theirs"));
        // pg_partman rounds when it counts what is ready: it may make one more, or one less.
        let common = ours.len().min(theirs.len());
        assert!(common + 1 >= ours.len().max(theirs.len()), "{ours:#?}\n{theirs:#?}");
        assert!(common >= before.len() + 10, "{before:#?}\n{theirs:#?}");
        assert_eq!(ours[..common], theirs[..common]);
        self.assert_no_gap("ours");

        // A later pass begins where that ends.
        let joined: bool = self.client.value(
            "SELECT s.covered_until = (
                        SELECT substring(p.sql FROM 'FROM [(]''([^'']*)') AS lower
                          FROM steward.plan('ours', now() + 20 * s.partition_interval::interval) p
                         ORDER BY length(substring(p.sql FROM 'FROM [(]''([^'']*)')), 1 LIMIT 1)
               FROM steward.partition_sets s WHERE s.parent = 'ours'::regclass",
        );
        assert!(joined, "{ours:#?}");
    }
}

#[test]
fn daily_sets_go_on() {
    database_with_partman().assert_goes_on(DAILY, "1 day; 4; UTC");
}

#[test]
fn daily_sets_of_timestamps_and_dates_go_on() {
    database_with_partman().assert_goes_on(Kind { key: "timestamp", ..DAILY }, "1 day; 4; UTC");
    database_with_partman().assert_goes_on(Kind { key: "date", ..DAILY }, "1 day; 4; UTC");
}

#[test]
fn weekly_sets_on_mondays_go_on() {
    let kind = Kind {
        version_4: "weekly",
        version_5: "1 week",
        and_version_5: ", p_date_trunc_interval => 'week'",
        ..DAILY
    };
    let mut db = database_with_partman();
    db.assert_goes_on(kind, "7 days; 4; UTC");
    let origin: Option<String> = db.client.value("SELECT origin FROM steward.partition_sets");
    assert_eq!(origin, None);
}

/// The way version 5 makes weekly sets unless told otherwise, and version 4 those of '1 week'.
#[test]
fn weekly_sets_on_any_weekday_go_on() {
    for days_ago in 0..7 {
        let mut db = database_with_partman();
        let start: String =
            db.client.value(&format!("SELECT (current_date - 21 - {days_ago})::text"));
        let and: &'static str = format!(", p_start_partition => '{start}'").leak();
        let kind = Kind { version_4: "1 week", version_5: "1 week", and, ..DAILY };
        db.assert_goes_on(kind, "7 days; 4; UTC");
    }
}

#[test]
fn monthly_sets_go_on() {
    database_with_partman().assert_goes_on(
        Kind { version_4: "monthly", version_5: "1 month", ..DAILY },
        "1 mon; 4; UTC",
    );
}

#[test]
fn sets_of_three_months_go_on_from_any_month() {
    for start in ["2025-01-01", "2025-02-01", "2025-03-01"] {
        let and: &'static str = format!(", p_start_partition => '{start}'").leak();
        database_with_partman().assert_goes_on(
            Kind { version_4: "3 months", version_5: "3 months", and, ..DAILY },
            "3 mons; 4; UTC",
        );
    }
}

#[test]
fn hourly_sets_go_on() {
    database_with_partman().assert_goes_on(
        Kind { version_4: "hourly", version_5: "1 hour", ..DAILY },
        "01:00:00; 4; UTC",
    );
}

#[test]
fn sets_of_a_quarter_of_an_hour_go_on() {
    database_with_partman().assert_goes_on(
        Kind { version_4: "quarter-hour", version_5: "15 minutes", ..DAILY },
        "00:15:00; 4; UTC",
    );
}

#[test]
fn epoch_sets_go_on() {
    for unit in ["seconds", "milliseconds", "nanoseconds"] {
        let and: &'static str = format!(", p_epoch => '{unit}'").leak();
        database_with_partman().assert_goes_on(
            Kind { key: "bigint", and, ..DAILY },
            &format!("1 day; 4; epoch_{unit}; UTC"),
        );
    }
}

#[test]
fn uuid_sets_go_on() {
    let mut db = database_with_partman();
    if !is_version_5(&mut db.client) {
        // There are none to be taken over.
        db.client.run("CREATE TABLE ours (k uuid NOT NULL) PARTITION BY RANGE (k)");
        let refusal = db.client.refused(
            "P0001",
            "SELECT partman.create_parent('public.ours', 'k', 'native', 'daily')",
        );
        assert!(refusal.message().contains("uuid"), "{refusal}");
        return;
    }
    let kind = Kind {
        key: "uuid",
        and_version_5: ", p_time_encoder => 'partman.uuid7_time_encoder',
                          p_time_decoder => 'partman.uuid7_time_decoder'",
        ..DAILY
    };
    db.assert_goes_on(kind, "1 day; 4; uuidv7; UTC");

    // An encoder by another name is known by the bounds it makes, and by those that it does not.
    db.client.run(
        "CREATE SCHEMA own;
         CREATE FUNCTION own.to_v7(at timestamptz) RETURNS uuid LANGUAGE sql
             AS 'SELECT partman.uuid7_time_encoder($1)';
         CREATE FUNCTION own.to_other(at timestamptz) RETURNS uuid LANGUAGE sql
             AS $$ SELECT overlay(replace(partman.uuid7_time_encoder($1)::text, '-', '')
                                  PLACING 'ff' FROM 1 FOR 2)::uuid $$;
         CREATE FUNCTION own.from_v7(id text) RETURNS timestamptz LANGUAGE sql
             AS 'SELECT partman.uuid7_time_decoder($1)'",
    );
    for (name, encoder) in [("known", "to_v7"), ("unknown", "to_other")] {
        let and: &'static str =
            format!(", p_time_encoder => 'own.{encoder}', p_time_decoder => 'own.from_v7'").leak();
        db.partman_set(name, Kind { version_5: "1 week", and_version_5: and, ..kind });
    }
    db.client.run("UPDATE partman.part_config SET partition_interval = '8 days' WHERE parent_table ~ 'unknown'");
    let status: Vec<String> = db.client.column(
        "SELECT concat_ws(' ', parent_table, status, key_encoding, reason) FROM steward.import_pg_partman()
          WHERE parent_table ~ 'known'",
    );
    assert_eq!(
        status,
        [
            "public.known imported uuidv7",
            "public.unknown skipped time_encoder = own.to_other: its bounds are not those of UUIDv7"
        ]
    );
}

#[test]
fn id_sets_go_on() {
    let kind = Kind { key: "bigint", version_4: "1000", version_5: "1000", ..DAILY };
    for key in ["integer", "bigint"] {
        let mut db = database_with_partman();
        let kind = Kind { key, ..kind };
        db.partman_set("ours", kind);
        db.partman_set("theirs", kind);
        db.client.run(
            "UPDATE partman.part_config SET undo_in_progress = true
              WHERE parent_table = 'public.theirs'",
        );
        let row = db.import("ours", "status, partition_interval, premake, name_format, created");
        assert_eq!(row, "imported; 1000; 4; {parent}_p{lower}; 0");
        for highest in [1, 1999, 3500, 7999] {
            db.client.run(&format!(
                "INSERT INTO ours VALUES ({highest}); INSERT INTO theirs VALUES ({highest});
                 UPDATE partman.part_config SET undo_in_progress = false;
                 SELECT partman.run_maintenance('public.theirs')"
            ));
            db.maintain("ours");
            assert_eq!(db.in_order("ours"), db.in_order("theirs"), "at {highest}");
        }
        db.assert_no_gap("ours");
    }
}

/// pg_partman makes nothing in an empty set, and neither shall we: below or above what is there.
#[test]
fn an_empty_id_set_begins_where_pg_partman_began_it() {
    let mut db = database_with_partman();
    let and = ", p_start_partition => '1000000'";
    let kind = Kind { key: "bigint", version_4: "1000", version_5: "1000", and, ..DAILY };
    db.partman_set("ours", kind);
    let before = db.in_order("ours");
    assert_eq!(db.import("ours", "status, created"), "imported; 0");
    assert_eq!(db.in_order("ours"), before);
    db.client.run("INSERT INTO ours VALUES (1001500)");
    db.maintain("ours");
    assert_eq!(db.count("ours"), 7, "{:?}", db.in_order("ours"));
    db.assert_no_gap("ours");
}

#[test]
fn ranges_of_ids_off_the_multiples_go_on() {
    let mut db = database_with_partman();
    let kind = Kind { key: "bigint", version_4: "1000", version_5: "1000", ..DAILY };
    db.partman_set("ours", kind);
    // As version 5.5 makes them with p_offset_id.
    for lower in [0, 1000, 2000, 3000, 4000] {
        db.client.run(&format!("DROP TABLE ours_p{lower}"));
    }
    for lower in [1, 1001] {
        db.client.run(&format!(
            "CREATE TABLE ours_p{lower} PARTITION OF ours FOR VALUES FROM ({lower}) TO ({})",
            lower + 1000
        ));
    }
    db.client.run("INSERT INTO ours VALUES (1500)");
    assert_eq!(db.import("ours", "status, origin, created"), "imported; 2001; 4");
    let highest: String = db
        .client
        .value("SELECT covered_from || ' ' || covered_until || ' ' || holes::text FROM steward.partition_sets");
    assert_eq!(highest, "1 6001 {}");
}

#[test]
fn the_zone_is_that_of_the_bounds() {
    let mut db = database_with_partman();
    let monthly = Kind {
        version_4: "monthly",
        version_5: "1 month",
        and: ", p_start_partition => '2025-01-01'",
        ..DAILY
    };
    db.client.run("SET TimeZone = 'Europe/Madrid'");
    db.assert_goes_on(monthly, "1 mon; 4; Europe/Madrid");
    db.partman_set("summer_and_winter", monthly);
    // Midnights of this offset from UTC are those of Madrid or of London, too, for half of the year.
    db.client.run("SET TimeZone = 'Africa/Lagos'");
    db.partman_set("ambiguous", DAILY);
    db.client.run("SET TimeZone = 'UTC'");
    let row = db.import("ambiguous", "status, reason, hint");
    assert!(row.contains("skipped; its bounds are not midnights of your TimeZone, UTC"), "{row}");
    assert!(row.contains("SET TimeZone"), "{row}");
    let winter_and_summer: bool = db.client.value(
        "SELECT time_zone <> 'UTC'
                AND timestamp '2031-07-01 00:00' AT TIME ZONE time_zone = '2031-07-01 00:00 Europe/Madrid'
                AND timestamp '2031-01-01 00:00' AT TIME ZONE time_zone = '2031-01-01 00:00 Europe/Madrid'
           FROM steward.partition_sets WHERE parent = 'summer_and_winter'::regclass",
    );
    assert!(winter_and_summer);
    // Called again as it asks for, it takes over what it had left.
    db.client.run("SET TimeZone = 'Africa/Lagos'");
    assert_eq!(db.import("ambiguous", "status, time_zone"), "imported; Africa/Lagos");

    // A zone that is set for a database or a role is looked at first.
    let name = db.name.clone();
    db.client.run("SET TimeZone = 'Europe/Madrid'");
    db.partman_set("known", DAILY);
    db.client.run(&format!(
        "ALTER DATABASE {name} SET TimeZone = 'Europe/Madrid'; SET TimeZone = 'UTC'"
    ));
    assert_eq!(db.import("known", "status, time_zone"), "imported; Europe/Madrid");
}

/// pg_partman adds hours to the instant: a change of the clock does not move its boundaries.
#[test]
fn sets_of_several_hours_go_on_across_changes_of_the_clock() {
    let mut db = database_with_partman();
    db.client.run("SET TimeZone = 'America/New_York'");
    db.partman_set("ours", Kind { version_4: "6 hours", version_5: "6 hours", ..DAILY });
    db.partman_set("hourly", Kind { version_4: "hourly", version_5: "1 hour", ..DAILY });
    assert_eq!(db.import("ours", "status, time_zone"), "imported; UTC");
    let hourly: String = db
        .client
        .value("SELECT time_zone FROM steward.partition_sets WHERE parent = 'hourly'::regclass");
    assert_eq!(hourly, "America/New_York");
    let every: Vec<String> = db.client.column(
        "SELECT DISTINCT (b[2]::timestamptz - b[1]::timestamptz)::text
           FROM steward.plan('ours', now() + interval '1 year') p,
                regexp_match(p.sql, 'FROM [(]''(.*?)''[)] TO [(]''(.*?)''[)]') b",
    );
    assert_eq!(every, ["06:00:00"]);
    let joined: bool = db.client.value(
        "SELECT covered_until::timestamptz = (SELECT min(b[1]::timestamptz)
                   FROM steward.plan('ours', now() + interval '1 year') p,
                        regexp_match(p.sql, 'FROM [(]''(.*?)''[)] TO') b)
           FROM steward.partition_sets WHERE parent = 'ours'::regclass",
    );
    assert!(joined);
}

/// On the night on which the clocks go forward at midnight a day begins at one.
#[test]
fn a_midnight_that_does_not_exist_is_a_midnight() {
    let mut db = database_with_partman();
    db.client.run("SET TimeZone = 'Africa/Cairo'");
    let zone: String = db.client.value(
        "SELECT steward.pg_partman_time_zone(array_agg((date '2025-04-20' + n)::timestamptz), '1 day')
           FROM generate_series(0, 12) n",
    );
    assert_eq!(zone, "Africa/Cairo");
    let jump: String = db.client.value("SELECT timestamptz '2025-04-25'::text");
    assert_eq!(jump, "2025-04-25 01:00:00+03");
    let origin: Option<String> =
        db.client.value("SELECT steward.pg_partman_origin('2025-04-25', '1 day', 'Africa/Cairo')");
    assert_eq!(origin, None);
}

/// What retention leaves of two sets alike, one of them pg_partman's, and what it has put aside of each.
#[track_caller]
fn assert_retention_goes_on(kind: Kind, settings: &str, rows: &str) {
    let mut db = database_with_partman();
    db.client.run("CREATE SCHEMA attic; BEGIN");
    for name in ["ours", "theirs"] {
        db.partman_set(name, kind);
        db.client.run(&format!("INSERT INTO {name} {rows}"));
    }
    db.client.run(&format!(
        "COMMIT;
         UPDATE partman.part_config
            SET {settings}, infinite_time_partitions = true, undo_in_progress = parent_table = 'public.theirs'"
    ));
    let before = db.in_order("ours");
    assert_eq!(db.import("ours", "status"), "imported");
    db.client.run(
        "UPDATE partman.part_config SET undo_in_progress = false;
         SELECT partman.run_maintenance('public.theirs')",
    );
    db.maintain("ours");
    let (ours, theirs) = (db.in_order("ours"), db.in_order("theirs"));
    assert_ne!(before[0], theirs[0], "nothing has left");
    assert_eq!(ours[0], theirs[0]);
    db.assert_no_gap("ours");
    let mut aside = |name: &str| -> Vec<String> {
        db.client.column(&format!(
            "SELECT n.nspname || substr(c.relname, length('{name}') + 1)
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relname ~ '^{name}_p' AND c.relkind = 'r' AND NOT c.relispartition ORDER BY 1"
        ))
    };
    assert_eq!(aside("ours"), aside("theirs"));
}

#[test]
fn retention_goes_on() {
    let start = ", p_start_partition => (current_date - 40)::text";
    let daily = Kind { and: start, ..DAILY };
    let now = "SELECT now()";
    assert_retention_goes_on(daily, "retention = '20 days', retention_keep_table = false", now);
    assert_retention_goes_on(daily, "retention = '20 days'", now);
    assert_retention_goes_on(daily, "retention = '20 days', retention_schema = 'attic'", now);
    let ids = Kind { key: "bigint", version_4: "1000", version_5: "1000", ..DAILY };
    let ids = Kind { and: ", p_premake => 12", ..ids };
    // Between two boundaries, on one, and one before it.
    for highest in [8_500, 9_000, 8_999] {
        assert_retention_goes_on(
            ids,
            "retention = '3000', retention_keep_table = false",
            &format!("VALUES ({highest})"),
        );
    }
}
