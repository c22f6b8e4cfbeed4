//! Partition keys of every type and encoding: real keys land where their time says.

use pg_test::cluster::Ask;

use crate::range_support::Database;

/// A set by months; a key of now goes into the current partition, and none of its neighbours.
#[track_caller]
fn assert_now_is_current(column: &str, arguments: &str, key: &str) {
    let mut db = Database::new();
    db.client.run(&format!(
        "CREATE TABLE t (k {column} NOT NULL) PARTITION BY RANGE (k);
         SELECT steward.manage_range('t', '1 month', premake => 2{arguments});
         INSERT INTO t VALUES ({key})"
    ));
    let state: String = db.client.value(
        "SELECT p.state FROM t JOIN steward.partitions p ON p.partition = t.tableoid::regclass",
    );
    assert_eq!(state, "current", "{column}{arguments}: {:?}", db.states("t"));
    assert_eq!(db.count("t"), 3, "{column}{arguments}");
    let name: bool =
        db.client.value("SELECT tableoid::regclass::text = to_char(now(), '\"t_\"YYYY_MM') FROM t");
    assert!(name, "{column}{arguments}: {:?}", db.partitions("t"));
    // The bounds of an existing set are read back as they were written.
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.plan('t')"), 0, "{column}");
}

#[test]
fn times_of_now_land_in_the_current_partition() {
    assert_now_is_current("timestamptz", "", "now()");
    assert_now_is_current("timestamp", "", "localtimestamp");
    assert_now_is_current("date", "", "current_date");
}

#[test]
fn epochs_of_now_land_in_the_current_partition() {
    for (unit, factor) in
        [("seconds", "1"), ("milliseconds", "1e3"), ("microseconds", "1e6"), ("nanoseconds", "1e9")]
    {
        let arguments = format!(", key_encoding => 'epoch_{unit}'");
        let key = format!("extract(epoch FROM now()) * {factor}");
        assert_now_is_current("bigint", &arguments, &format!("({key})::bigint"));
        assert_now_is_current("numeric", &arguments, &key);
    }
    let seconds = ", key_encoding => 'epoch_seconds'";
    assert_now_is_current("integer", seconds, "extract(epoch FROM now())::integer");
}

/// 48 bits of milliseconds since 1970, then random ones.
const MILLISECONDS_THEN_RANDOM: &str =
    "overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send(
        floor(extract(epoch FROM now()) * 1000)::bigint) FROM 3) FROM 1 FOR 6)";

#[test]
fn identifiers_of_now_land_in_the_current_partition() {
    let bits = MILLISECONDS_THEN_RANDOM;
    let version_7 = format!("encode(set_bit(set_bit({bits}, 52, 1), 53, 1), 'hex')::uuid");
    assert_now_is_current("uuid", ", key_encoding => 'uuidv7'", &version_7);
    assert_now_is_current(
        "uuid",
        ", key_encoding => 'ulid'",
        &format!("encode({bits}, 'hex')::uuid"),
    );
    assert_now_is_current("bytea", ", key_encoding => 'ulid'", bits);
    // Crockford's base 32: 10 characters of milliseconds, 16 random ones.
    let ulid = "(SELECT string_agg(substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', 1 + (ms >> (5 * n) & 31)::int, 1),
                                   '' ORDER BY n DESC) || 'TSV4RRFFQ69G5FAV'
                   FROM generate_series(0, 9) n,
                        (SELECT floor(extract(epoch FROM now()) * 1000)::bigint) x (ms))";
    assert_now_is_current("text", ", key_encoding => 'ulid'", ulid);
    assert_now_is_current("varchar(26)", ", key_encoding => 'ulid'", ulid);
    for (name, epoch) in
        [("snowflake", 1_288_834_974_657_i64), ("snowflake:1420070400000", 1_420_070_400_000)]
    {
        let key =
            format!("(floor(extract(epoch FROM now()) * 1000)::bigint - {epoch} << 22) + 4711");
        assert_now_is_current("bigint", &format!(", key_encoding => '{name}'"), &key);
    }
}

/// Identifiers out in the world, with the instant that their makers say they hold.
#[test]
fn real_identifiers_of_the_past_land_in_their_day() {
    for (column, encoding, key, day) in [
        // RFC 9562, appendix A.6: 2022-02-22 14:22:22 -05:00.
        ("uuid", "uuidv7", "017F22E2-79B0-7CC3-98C4-DC0C0C07398F", "2022-02-22"),
        // github.com/ulid/spec: 1469918176385 ms since 1970.
        ("text", "ulid", "01ARYZ6S41TSV4RRFFQ69G5FAV", "2016-07-30"),
        // A tweet, and Discord's documentation of its snowflakes.
        ("bigint", "snowflake", "1541815603606036480", "2022-06-28"),
        ("bigint", "snowflake:1420070400000", "175928847299117063", "2016-04-30"),
        ("bigint", "epoch_milliseconds", "1469918176385", "2016-07-30"),
    ] {
        let mut db = Database::new();
        // A set that starts in the future is empty; with its start set back, the plan at that day
        // is of that day and the ones around it.
        db.client.run(&format!(
            "CREATE TABLE u (k {column} NOT NULL) PARTITION BY RANGE (k);
             SELECT steward.manage_range('u', '1 day', key_encoding => '{encoding}', premake => 1,
                                         start_at => '2100-01-01');
             UPDATE steward.range_policy SET start_at = '{day}'::date - 1;
             DO $$ BEGIN EXECUTE (SELECT string_agg(sql, ' ') FROM steward.plan('u', '{day} 12:00')); END $$;
             INSERT INTO u VALUES ('{key}')"
        ));
        assert_eq!(db.count("u"), 3, "{encoding}");
        let name: String = db.client.value("SELECT tableoid::regclass::text FROM u");
        assert_eq!(name, format!("u_{}", day.replace('-', "_")), "{encoding}");
    }
}

#[test]
fn whole_numbers_follow_the_highest_key_and_not_the_default_partition() {
    for column in ["smallint", "integer", "bigint", "numeric"] {
        let mut db = Database::new();
        db.client.run(&format!(
            "CREATE TABLE t (k {column} NOT NULL) PARTITION BY RANGE (k);
             SELECT steward.manage_range('t', '100', premake => 2, default_partition => true);
             INSERT INTO t VALUES (150), (20000)"
        ));
        db.maintain("t");
        assert_eq!(
            db.states("t"),
            ["0 100 past", "100 200 current", "200 300 future", "300 400 future", "  default"],
            "{column}"
        );
    }
}

#[test]
fn whole_numbers_begin_at_start_at_and_lie_on_multiples_also_below_zero() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (k numeric NOT NULL) PARTITION BY RANGE (k);
         SELECT steward.manage_range('t', '1000', premake => 1, start_at => '-1500')",
    );
    assert_eq!(db.states("t"), ["-2000 -1000 current", "-1000 0 future"]);
    let names: Vec<String> = db
        .client
        .column("SELECT partition::text FROM steward.partitions WHERE parent = 't'::regclass");
    assert_eq!(names, ["t_pm2000", "t_pm1000"]);
    db.client.run("INSERT INTO t VALUES (-0.5)");
    db.maintain("t");
    assert_eq!(db.states("t"), ["-2000 -1000 past", "-1000 0 current", "0 1000 future"]);
}

#[test]
fn the_period_that_passes_the_end_of_the_type_ends_at_maxvalue_and_is_the_last() {
    let mut db = Database::new();
    db.client.run(
        "CREATE TABLE t (k smallint NOT NULL) PARTITION BY RANGE (k);
         SELECT steward.manage_range('t', '10000', premake => 9, start_at => '20000');
         INSERT INTO t VALUES (32767)",
    );
    db.maintain("t");
    assert_eq!(db.states("t"), ["20000 30000 past", "30000 MAXVALUE current"]);
    assert_eq!(db.count("t"), 2);
}
