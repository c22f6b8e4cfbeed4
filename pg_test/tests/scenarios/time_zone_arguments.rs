//! Which time zones are taken: names of zones as an argument, and whatever fixed offset a driver has set,
//! as long as the server reads its own bounds back.

use pg_test::cluster::{Ask, sqlstate};
use postgres::Client;

use crate::range_support::Database;

/// POSIX specifications, whose sign surprises everyone, and numbers.
const NO_NAMES: [&str; 9] = [
    "UTC+3",
    "UTC+24",
    "x; DROP TABLE y-2",
    "<X>-20",
    "<+05:30>-05:30",
    "16",
    "-16",
    "100",
    "-100",
];

const TABLE: &str = "CREATE TABLE t (at timestamptz NOT NULL) PARTITION BY RANGE (at)";

/// What it is to be: refused with an example of a name. None; else what came instead.
fn not_refused(client: &mut Client, sql: &str) -> Option<String> {
    let error = match client.batch_execute(sql) {
        Ok(()) => return Some(format!("taken: {sql}")),
        Err(error) => error,
    };
    let said = error.as_db_error().unwrap();
    let is_well_said = sqlstate(&error) == "22023"
        && said.hint().is_some_and(|hint| hint.contains("'Europe/Madrid'"));
    (!is_well_said)
        .then(|| format!("{} {}, hint {:?}: {sql}", sqlstate(&error), said.message(), said.hint()))
}

/// What there is of a set that is to be managed.
fn left_behind(client: &mut Client) -> i64 {
    client.value(
        "SELECT (SELECT count(*) FROM pg_inherits) + (SELECT count(*) FROM steward.range_policy)
              + (SELECT count(*) FROM steward.job)",
    )
}

#[test]
fn an_argument_is_the_name_of_a_zone() {
    let mut db = Database::new();
    db.client.run(TABLE);
    let mut failures = Vec::new();
    for zone in NO_NAMES {
        let sql = format!("SELECT steward.manage_range('t', '1 day', time_zone => '{zone}')");
        let before = db.client.value::<i64>("SELECT count(*) FROM pg_inherits");
        if let Some(failure) = not_refused(&mut db.client, &sql) {
            failures.push(failure);
            db.client.run(
                "SELECT steward.unmanage('t') WHERE EXISTS (SELECT FROM steward.range_policy);
                           DROP TABLE t",
            );
            db.client.run(TABLE);
        } else {
            assert_eq!(db.client.value::<i64>("SELECT count(*) FROM pg_inherits"), before);
            assert_eq!(left_behind(&mut db.client), before, "{zone}");
        }
    }
    // The same of a set that is there.
    db.client.run("SELECT steward.manage_range('t', '1 day', time_zone => 'Europe/Madrid')");
    let before = left_behind(&mut db.client);
    for zone in NO_NAMES {
        let sql = format!("SELECT steward.alter_range('t', time_zone => '{zone}')");
        failures.extend(not_refused(&mut db.client, &sql));
    }
    let zone: String = db.client.value("SELECT time_zone FROM steward.partition_sets");
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!((zone.as_str(), left_behind(&mut db.client)), ("Europe/Madrid", before));
}

#[test]
fn names_with_digits_in_them_are_names() {
    let mut db = Database::new();
    // A server with the system's time zones may lack the old ones among them (Debian's tzdata-legacy).
    let names: Vec<String> = db.client.column(
        "SELECT name FROM pg_timezone_names
          WHERE name IN ('Etc/GMT+3', 'Etc/GMT-14', 'EST5EDT', 'GMT0', 'UTC', 'Europe/Madrid') ORDER BY name",
    );
    assert!(names.iter().any(|name| name == "Etc/GMT+3"), "{names:?}");
    for (number, name) in names.iter().enumerate() {
        db.client.run(&format!(
            "CREATE TABLE t{number} (at timestamptz NOT NULL) PARTITION BY RANGE (at);
             SELECT steward.manage_range('t{number}', '1 day', time_zone => '{name}');
             SELECT steward.alter_range('t{number}', premake => 4, time_zone => '{name}')"
        ));
        let is_midnight: bool = db.client.value(&format!(
            "SELECT count(*) = 5 AND bool_and((lower_bound::timestamptz AT TIME ZONE '{name}')::time = '00:00')
               FROM steward.partitions WHERE parent = 't{number}'::regclass"
        ));
        assert!(is_midnight, "{name}: {:?}", db.states(&format!("t{number}")));
        let kept: String = db.client.value(&format!(
            "SELECT time_zone FROM steward.partition_sets WHERE parent = 't{number}'::regclass"
        ));
        assert_eq!(kept, *name);
    }
    // As with SET TimeZone, the case of letters does not matter.
    db.client.run(TABLE);
    db.client.run("SELECT steward.manage_range('t', '1 day', time_zone => 'europe/madrid')");
}

#[test]
fn the_fixed_offset_of_a_session_is_taken() {
    // What drivers and SET TIME ZONE INTERVAL set; and the wall time in UTC of midnight there.
    for (set, midnight) in [
        ("SET TimeZone = '<+05:30>-05:30'", "18:30"),
        ("SET TIME ZONE INTERVAL '+05:30' HOUR TO MINUTE", "18:30"),
        ("SET TIME ZONE INTERVAL '-03:00' HOUR TO MINUTE", "03:00"),
        ("SET TIME ZONE 2", "22:00"),
        ("SET TIME ZONE INTERVAL '-15:59' HOUR TO MINUTE", "15:59"),
    ] {
        let mut db = Database::new();
        let mut session = db.connect_as("postgres");
        session.run(set);
        session.run(TABLE);
        let made: i64 =
            session.value("SELECT count(*) FROM steward.manage_range('t', '1 day', premake => 2)");
        assert_eq!(made, 3, "{set}");
        session.run("INSERT INTO t VALUES (now())");
        let fitting: i64 = db.client.value(&format!(
            "SELECT count(*) FROM steward.partitions
              WHERE (lower_bound::timestamptz AT TIME ZONE 'UTC')::time = '{midnight}'
                AND upper_bound::timestamptz - lower_bound::timestamptz = interval '24 hours'"
        ));
        assert_eq!(fitting, 3, "{set}: {:?}", db.states("t"));
        let states: Vec<String> = db
            .client
            .column("SELECT state FROM steward.partitions ORDER BY lower_bound::timestamptz");
        assert_eq!(states, ["current", "future", "future"], "{set}");
        // Nothing odd follows, whoever looks, today or the day after.
        assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.plan('t')"), 0, "{set}");
        db.maintain("t");
        assert_eq!(db.count("t"), 3, "{set}");
        let next: String = db.client.value(
            "SELECT count(*) || ' ' || coalesce(min(action), '') FROM steward.plan('t', now() + interval '1 day')",
        );
        assert_eq!(next, "1 create", "{set}");
        // Told to keep the zone that it has, it does.
        session.run("SELECT steward.alter_range('t', premake => 3)");
        assert_eq!(db.count("t"), 4, "{set}");
    }
}

#[test]
fn an_offset_that_the_server_cannot_read_back_is_refused() {
    let mut failures = Vec::new();
    let mut db = Database::new();
    for zone in ["100", "-100", "16", "-16", "-47", "<X>-20", "UTC+24"] {
        let mut session = db.connect_as("postgres");
        session.run(TABLE);
        session.run(&format!("SET TimeZone = '{zone}'"));
        for interval in ["1 day", "1 hour"] {
            let sql = format!("SELECT steward.manage_range('t', '{interval}', 2)");
            if let Some(failure) = not_refused(&mut session, &sql) {
                failures.push(format!("{zone}: {failure}"));
            } else if left_behind(&mut db.client) != 0 {
                failures.push(format!("{zone}: something is left behind"));
            }
        }
        db.client.run("DROP TABLE t");
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
