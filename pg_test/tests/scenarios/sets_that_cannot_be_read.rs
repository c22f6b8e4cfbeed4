//! One set that cannot be read is a reason in its own row, and no matter of the others.

use pg_test::cluster::Ask;

use crate::range_support::{Database, cluster};
use crate::unattended_support::SOON;

const SETS: &str =
    "SELECT string_agg(concat_ws(' ', parent, partitions, problem), '; ' ORDER BY parent::text)
                      FROM steward.partition_sets";

fn two_sets() -> Database {
    let mut database = Database::new();
    database.client.run(
        "CREATE TABLE a (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE b (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         SELECT steward.manage_range('a', '1 day', 1); SELECT steward.manage_range('b', '1 day', 1)",
    );
    database
}

#[test]
fn a_zone_that_is_gone() {
    let mut database = two_sets();
    database
        .client
        .run("UPDATE steward.range_policy SET time_zone = 'US/Gone' WHERE parent = 'a'::regclass");
    assert_eq!(
        database.client.value::<String>(SETS),
        "a time zone \"US/Gone\" of public.a is not known any more; b 2"
    );
    let shown: i64 = database.client.value("SELECT count(*) FROM steward.partitions");
    assert_eq!(shown, 2, "those of b");
    // The next month of b is planned, whatever a is.
    let planned: i64 =
        database.client.value("SELECT count(*) FROM steward.plan(at => now() + interval '3 days')");
    assert!(planned > 0);
    for call in ["CALL steward.maintain('a')", "SELECT * FROM steward.plan('a')"] {
        let refusal = database.client.refused("22023", call);
        assert!(refusal.message().contains("public.a"), "{refusal}");
        let hint = refusal.hint().unwrap_or_default();
        assert!(hint.contains("alter_range(") && hint.contains("tzdata-legacy"), "{refusal}");
    }
    database.maintain("b");
    database.client.run("SELECT steward.alter_range('a', time_zone => 'UTC')");
    assert_eq!(database.client.value::<String>(SETS), "a 2; b 2");
}

#[test]
fn a_set_that_is_locked() {
    let mut database = two_sets();
    database
        .client
        .run("CREATE TABLE h (k int) PARTITION BY HASH (k); SELECT steward.manage_hash('h', 2)");
    let mut holder = cluster().session(&database.name).unwrap();
    holder.run("BEGIN; LOCK TABLE a, h IN ACCESS EXCLUSIVE MODE");
    let mut waiter = cluster().session(&database.name).unwrap();
    waiter.start("SELECT count(*) FROM h");
    waiter.wait_until_blocked(SOON);
    assert_eq!(
        database.client.value::<String>(SETS),
        "a public.a is locked by another session; b 2; h 2 h is locked by another session"
    );
    holder.run("COMMIT");
    assert_eq!(database.client.value::<String>(SETS), "a 2; b 2; h 2");
}

#[test]
fn a_bound_that_means_nothing_to_the_keys() {
    let mut database = two_sets();
    database.client.run(
        "CREATE TABLE c (k uuid NOT NULL) PARTITION BY RANGE (k);
         SELECT steward.manage_range('c', '1 day', 1, key_encoding => 'uuidv7')",
    );
    database
        .client
        .run("UPDATE steward.range_policy SET key_encoding = 'ulid' WHERE parent = 'c'::regclass");
    // That is as good an encoding for a UUID; one for numbers is none.
    database.client.run(
        "UPDATE steward.range_policy SET key_encoding = 'snowflake' WHERE parent = 'c'::regclass",
    );
    let sets: String = database.client.value(SETS);
    assert!(sets.starts_with("a 2; b 2; c invalid key_encoding for \"public.c\""), "{sets}");
}
