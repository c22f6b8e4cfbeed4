//! `import_pg_partman()` on the real pg_partman, 4.7 or 5.x, whichever the server under test has: what
//! it takes over goes on as pg_partman itself would.

use pg_test::cluster::Ask;
use postgres::Client;

use crate::range_support::Database;

/// A database with pg_partman, too.
fn database() -> Database {
    let mut db = Database::new();
    db.client.run("CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman");
    db
}

fn is_version_5(client: &mut Client) -> bool {
    client.value("SELECT extversion ~ '^5[.]' FROM pg_extension WHERE extname = 'pg_partman'")
}

/// How a kind of set is made: the key, and the interval as each version wants it.
#[derive(Clone, Copy)]
struct Kind {
    key: &'static str,
    version_4: &'static str,
    version_5: &'static str,
    /// Further arguments of both.
    and: &'static str,
    /// Further arguments of version 5.
    and_version_5: &'static str,
}

const DAILY: Kind =
    Kind { key: "timestamptz", version_4: "daily", version_5: "1 day", and: "", and_version_5: "" };

impl Database {
    /// A set that pg_partman has just been given.
    fn partman_set(&mut self, name: &str, kind: Kind) {
        let Kind { key, version_4, version_5, and, and_version_5 } = kind;
        let rest = if is_version_5(&mut self.client) {
            format!("'{version_5}'{and}{and_version_5}")
        } else {
            format!("'native', '{version_4}'{and}")
        };
        self.client.run(&format!(
            "CREATE TABLE {name} (k {key} NOT NULL, n integer) PARTITION BY RANGE (k);
             SELECT partman.create_parent('public.{name}', 'k', {rest})"
        ));
    }

    /// What the import says of a set, of some columns.
    fn import(&mut self, name: &str, columns: &str) -> String {
        self.client.value(&format!(
            "SELECT concat_ws('; ', {columns}) FROM steward.import_pg_partman()
              WHERE parent_table = 'public.{name}'"
        ))
    }

    /// `name bound` of each partition, lowest first, the default one aside, with the set's name left out.
    fn in_order(&mut self, name: &str) -> Vec<String> {
        self.client.column(&format!(
            "SELECT format('%s %s', substr(c.relname, length('{name}') + 1), pg_get_expr(c.relpartbound, c.oid))
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
                    substring(pg_get_expr(c.relpartbound, c.oid) FROM '[(](.*?)[)]') lower
              WHERE i.inhparent = '{name}'::regclass AND pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'
              ORDER BY length(lower), lower"
        ))
    }

    /// Whether each partition begins where the one before it ends.
    fn assert_no_gap(&mut self, name: &str) {
        let partitions = self.in_order(name);
        let edge = |text: &str, side: &str| {
            let from = text.find(side).unwrap() + side.len();
            text[from..].split(')').next().unwrap().to_owned()
        };
        for pair in partitions.windows(2) {
            assert_eq!(edge(&pair[0], " TO ("), edge(&pair[1], " FROM ("), "{partitions:#?}");
        }
    }

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
    database().assert_goes_on(DAILY, "1 day; 4; UTC");
}

#[test]
fn daily_sets_of_timestamps_and_dates_go_on() {
    database().assert_goes_on(Kind { key: "timestamp", ..DAILY }, "1 day; 4; UTC");
    database().assert_goes_on(Kind { key: "date", ..DAILY }, "1 day; 4; UTC");
}

#[test]
fn weekly_sets_on_mondays_go_on() {
    let kind = Kind {
        version_4: "weekly",
        version_5: "1 week",
        and_version_5: ", p_date_trunc_interval => 'week'",
        ..DAILY
    };
    let mut db = database();
    db.assert_goes_on(kind, "7 days; 4; UTC");
    let origin: Option<String> = db.client.value("SELECT origin FROM steward.partition_sets");
    assert_eq!(origin, None);
}

/// The way version 5 makes weekly sets unless told otherwise, and version 4 those of '1 week'.
#[test]
fn weekly_sets_on_any_weekday_go_on() {
    for days_ago in 0..7 {
        let mut db = database();
        let start: String =
            db.client.value(&format!("SELECT (current_date - 21 - {days_ago})::text"));
        let and: &'static str = format!(", p_start_partition => '{start}'").leak();
        let kind = Kind { version_4: "1 week", version_5: "1 week", and, ..DAILY };
        db.assert_goes_on(kind, "7 days; 4; UTC");
    }
}

#[test]
fn monthly_sets_go_on() {
    database().assert_goes_on(
        Kind { version_4: "monthly", version_5: "1 month", ..DAILY },
        "1 mon; 4; UTC",
    );
}

#[test]
fn sets_of_three_months_go_on_from_any_month() {
    for start in ["2025-01-01", "2025-02-01", "2025-03-01"] {
        let and: &'static str = format!(", p_start_partition => '{start}'").leak();
        database().assert_goes_on(
            Kind { version_4: "3 months", version_5: "3 months", and, ..DAILY },
            "3 mons; 4; UTC",
        );
    }
}

#[test]
fn hourly_sets_go_on() {
    database().assert_goes_on(
        Kind { version_4: "hourly", version_5: "1 hour", ..DAILY },
        "01:00:00; 4; UTC",
    );
}

#[test]
fn sets_of_a_quarter_of_an_hour_go_on() {
    database().assert_goes_on(
        Kind { version_4: "quarter-hour", version_5: "15 minutes", ..DAILY },
        "00:15:00; 4; UTC",
    );
}

#[test]
fn epoch_sets_go_on() {
    for unit in ["seconds", "milliseconds", "nanoseconds"] {
        let and: &'static str = format!(", p_epoch => '{unit}'").leak();
        database().assert_goes_on(
            Kind { key: "bigint", and, ..DAILY },
            &format!("1 day; 4; epoch_{unit}; UTC"),
        );
    }
}

#[test]
fn uuid_sets_go_on() {
    let mut db = database();
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
        let mut db = database();
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
    let mut db = database();
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
    let mut db = database();
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
    let mut db = database();
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
    let mut db = database();
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

#[test]
fn retention_is_taken_over() {
    let mut db = database();
    // Until there is the real one: it takes what it is given.
    db.client.run(
        "DO $do$
         BEGIN
             IF to_regprocedure('steward.set_retention(regclass,text,text,name,regprocedure)') IS NULL THEN
                 CREATE FUNCTION steward.set_retention(parent regclass, keep text, action text DEFAULT 'drop',
                     to_schema name DEFAULT NULL, archive_function regprocedure DEFAULT NULL) RETURNS void
                 LANGUAGE plpgsql AS $$
                 BEGIN
                     IF keep LIKE '-%' THEN
                         RAISE EXCEPTION '\"%\" is negative', keep USING ERRCODE = 'invalid_parameter_value';
                     END IF;
                 END $$;
             END IF;
         END $do$;
         CREATE SCHEMA attic",
    );
    let ids = Kind { key: "bigint", version_4: "1000", version_5: "1000", ..DAILY };
    for (name, kind, settings, expected) in [
        (
            "dropped",
            DAILY,
            "retention = '2 months', retention_keep_table = false",
            "2 months; drop",
        ),
        ("kept", DAILY, "retention = '2 months'", "2 months; detach"),
        (
            "moved",
            DAILY,
            "retention = '30 days', retention_schema = 'attic'",
            "30 days; detach; attic",
        ),
        (
            "moved_still",
            DAILY,
            "retention = '30 days', retention_schema = 'attic', retention_keep_table = false",
            "30 days; detach; attic",
        ),
        ("by_id", ids, "retention = '5000', retention_keep_table = false", "5000; drop"),
    ] {
        db.partman_set(name, kind);
        db.client.run(&format!(
            "UPDATE partman.part_config SET {settings} WHERE parent_table = 'public.{name}'"
        ));
        let row = db.import(name, "retention, retention_action, retention_schema");
        assert_eq!(row, expected, "{name}");
    }
    // One that is refused leaves the rest of the set imported.
    db.partman_set("refused", DAILY);
    db.client.run(
        "UPDATE partman.part_config SET retention = '-1 day', retention_keep_index = false
          WHERE parent_table = 'public.refused'",
    );
    let row = db.import("refused", "status, retention, retention_action, not_taken_over");
    assert!(row.starts_with("imported; {"), "{row}");
    assert!(row.contains("retention = -1 day: "), "{row}");
    assert!(row.contains("retention_keep_index = off: "), "{row}");
}

#[test]
fn what_is_left_is_told() {
    let mut db = database();
    for name in ["plain", "off", "odd", "templated"] {
        db.partman_set(name, DAILY);
    }
    let stranger = db.own("stranger");
    db.client.run(&format!(
        "CREATE ROLE {stranger};
         ALTER TABLE partman.template_public_templated OWNER TO {stranger};
         UPDATE partman.part_config SET automatic_maintenance = 'off' WHERE parent_table = 'public.off';
         UPDATE partman.part_config
            SET datetime_string = 'YYYY_DDD', constraint_cols = '{{n}}', inherit_privileges = true,
                infinite_time_partitions = true, ignore_default_data = false
          WHERE parent_table = 'public.odd'"
    ));
    let rows = db
        .client
        .query(
            "SELECT parent::text, status, not_taken_over, coalesce(hint, ''), name_format, template::text
               FROM steward.import_pg_partman() ORDER BY parent_table",
            &[],
        )
        .unwrap();
    let get = |name: &str| {
        let row = rows.iter().find(|row| row.get::<_, String>(0) == name).unwrap();
        assert_eq!(row.get::<_, String>(1), "imported", "{name}");
        row
    };
    let lines = |name: &str| get(name).get::<_, Vec<String>>(2);
    let hint = |name: &str| get(name).get::<_, String>(3);
    let has = |name: &str, start: &str| lines(name).iter().any(|line| line.starts_with(start));

    assert!(has("plain", "infinite_time_partitions = off: "), "{:?}", lines("plain"));
    assert!(hint("plain").contains("UPDATE partman.part_config SET automatic_maintenance = 'off'"));
    assert!(hint("plain").contains("public.plain_default stays"), "{}", hint("plain"));

    for setting in
        ["datetime_string = YYYY_DDD: ", "constraint_cols = [\"n\"]", "inherit_privileges = on: "]
    {
        assert!(has("odd", setting), "{setting} {:?}", lines("odd"));
    }
    assert!(has("odd", "ignore_default_data = off: "), "{:?}", lines("odd"));
    assert!(!has("odd", "infinite_time_partitions"), "{:?}", lines("odd"));
    assert_eq!(get("odd").get::<_, Option<String>>(4), None);

    assert!(has("templated", "template_table = partman.template_public_templated: it belongs to "));
    assert_eq!(get("templated").get::<_, Option<String>>(5), None);
    let mend = lines("templated")
        .iter()
        .find_map(|line| line.find("ALTER TABLE").map(|from| line[from..].to_owned()));
    let mend = mend.unwrap();
    let said = hint("off");

    db.client.run(&mend);
    let template: String = db.client.value(
        "SELECT template::text FROM steward.partition_sets WHERE parent = 'templated'::regclass",
    );
    assert_eq!(template, "partman.template_public_templated");

    let enabled = "SELECT enabled FROM steward.jobs WHERE target = 'off'::regclass";
    assert!(!db.client.value::<bool>(enabled));
    let resume = &said[said.find("SELECT steward.resume_job(").unwrap()..said.find(';').unwrap()];
    db.client.run(resume);
    assert!(db.client.value::<bool>(enabled));
    // pg_partman's own configuration is as it was.
    let untouched: i64 = db
        .client
        .value("SELECT count(*) FROM partman.part_config WHERE automatic_maintenance = 'on'");
    assert_eq!(untouched, 3);
}

#[test]
fn what_cannot_be_taken_over_is_skipped_and_stops_no_other() {
    let mut db = database();
    let stranger = db.own("stranger");
    db.client.run(&format!("CREATE ROLE {stranger}"));
    for name in
        ["fine", "undone", "elsewhere", "foreign_owned", "gone", "by_hand", "mixed", "zz_fine"]
    {
        db.partman_set(name, DAILY);
    }
    db.client.run(&format!(
        "SELECT steward.manage_range('by_hand', '1 day');
         UPDATE partman.part_config SET undo_in_progress = true WHERE parent_table = 'public.undone';
         UPDATE partman.part_config SET control = 'n' WHERE parent_table = 'public.elsewhere';
         UPDATE partman.part_config SET partition_interval = '1 mon 15 days' WHERE parent_table = 'public.mixed';
         DROP TABLE gone"
    ));
    // Below a set that is divided twice pg_partman keeps a row for each part.
    db.partman_set("divided", Kind { version_4: "yearly", version_5: "1 year", ..DAILY });
    let sub = if is_version_5(&mut db.client) {
        "'public.divided', 'k', '1 month', p_declarative_check => 'yes'"
    } else {
        "'public.divided', 'k', 'native', 'monthly', p_native_check => 'yes'"
    };
    db.client.run(&format!("SELECT partman.create_sub_parent({sub})"));
    if is_version_5(&mut db.client) {
        db.client.run(
            "CREATE TABLE other (k integer NOT NULL) PARTITION BY LIST (k);
             SELECT partman.create_parent('public.other', 'k', '1', p_type => 'list')",
        );
    } else {
        db.client.run(
            "CREATE TABLE other (k timestamptz NOT NULL);
             SELECT partman.create_parent('public.other', 'k', 'partman', 'daily')",
        );
    }
    db.client.run(&format!(
        "GRANT USAGE ON SCHEMA partman TO {stranger}; GRANT SELECT ON ALL TABLES IN SCHEMA partman TO {stranger};
         GRANT CREATE ON SCHEMA public TO {stranger}; ALTER TABLE foreign_owned OWNER TO {stranger}"
    ));
    let skipped =
        "SELECT format('%s: %s', substr(parent_table, 8), reason) FROM steward.import_pg_partman()
                    WHERE status = 'skipped' AND parent_table !~ 'divided_' ORDER BY 1";
    // As somebody who owns one of them.
    db.client.run(&format!("SET ROLE {stranger}"));
    let others: Vec<String> = db.client.column(skipped);
    assert_eq!(others.len(), 9, "{others:#?}");
    assert!(
        others.iter().filter(|line| line.contains("it belongs to ")).count() == 8,
        "{others:#?}"
    );
    db.client.run("RESET ROLE");
    assert_eq!(
        db.client.column::<String>("SELECT parent::text FROM steward.partition_sets ORDER BY 1"),
        ["by_hand", "foreign_owned"]
    );

    let (divided, leaves): (String, i64) = {
        let row = db
            .client
            .query_one(
                "SELECT max(array_to_string(not_taken_over, '; ')) FILTER (WHERE parent_table = 'public.divided'),
                        count(*) FILTER (WHERE reason ~ 'it is a partition of public.divided itself'
                                           AND status = 'skipped')
                   FROM steward.import_pg_partman()",
                &[],
            )
            .unwrap();
        (row.get(0), row.get(1))
    };
    assert!(divided.contains("sub-partitioning by k, every "), "{divided}");
    assert!(leaves >= 5, "{leaves}");

    let lines: Vec<String> = db.client.column(skipped);
    let expected = [
        "by_hand: \"public.by_hand\" is already managed by pg_steward",
        "divided: \"public.divided\" is already managed by pg_steward",
        "elsewhere: control = n: it is partitioned by RANGE (k)",
        "fine: \"public.fine\" is already managed by pg_steward",
        "foreign_owned: \"public.foreign_owned\" is already managed by pg_steward",
        "gone: there is no such table",
        "mixed: ",
        "other: partition_type = ",
        "undone: undo_in_progress: ",
        "zz_fine: \"public.zz_fine\" is already managed by pg_steward",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}");
    }
    assert!(lines[6].contains("cannot mix months and days"), "{}", lines[6]);
    // Twice is once.
    let before: i64 = db.client.value("SELECT count(*) FROM pg_inherits");
    assert_eq!(db.client.column::<String>(skipped), lines);
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM pg_inherits"), before);
}

#[test]
fn a_set_that_is_locked_is_skipped() {
    let mut db = database();
    db.partman_set("free", DAILY);
    db.partman_set("locked", DAILY);
    let mut other = db.connect_as("postgres");
    other.run("BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE");
    db.client.run("SET pg_steward.lock_timeout = '200ms'");
    assert_eq!(db.import("free", "status"), "imported");
    let row = db.import("locked", "status, reason");
    assert!(row.starts_with("skipped; ") && row.contains("locked"), "{row}");
    other.run("ROLLBACK");
    assert_eq!(db.import("locked", "status"), "imported");
}

#[test]
fn without_pg_partman_or_the_right_to_read_it_there_is_an_error() {
    let mut db = Database::new();
    let refusal = db.client.refused("42704", "SELECT * FROM steward.import_pg_partman()");
    assert!(refusal.message().contains("pg_partman"), "{refusal}");
    assert!(refusal.hint().unwrap().contains("manage_range"), "{refusal}");

    db.client.run("CREATE SCHEMA \"Odd one\"; CREATE EXTENSION pg_partman SCHEMA \"Odd one\"");
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.import_pg_partman()"), 0);
    let stranger = db.own("stranger");
    db.client.run(&format!("CREATE ROLE {stranger}; SET ROLE {stranger}"));
    db.client.refused("42501", "SELECT * FROM steward.import_pg_partman()");
}
