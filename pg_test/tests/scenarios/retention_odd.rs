//! Retention of partitions that somebody else has had a hand in.

use pg_test::cluster::Ask;

use crate::errors_common::assert_says;
use crate::range_support::Database;

#[test]
fn a_partition_of_another_owner_stays_in_the_set_until_it_is_handed_over() {
    let mut database = Database::new();
    let (owner, heir) = (database.own("owner"), database.own("heir"));
    let client = &mut database.client;
    client.run(&format!(
        "CREATE ROLE {owner}; CREATE ROLE {heir}; GRANT CREATE ON SCHEMA public TO {owner}, {heir}; SET ROLE {owner};
         CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day', premake => 1, time_zone => 'UTC',
                                     start_at => (now() - interval '4 days')::text);
         RESET ROLE; ALTER TABLE bets OWNER TO {heir};
         SELECT steward.set_retention('bets', '2 days')"
    ));
    // Nor can it be moved.
    let cold = database.own("cold");
    let client = &mut database.client;
    client.run(&format!("CREATE TABLESPACE {cold} LOCATION ''"));
    client.run(&format!(
        "GRANT CREATE ON TABLESPACE {cold} TO {heir};
         SELECT steward.clear_retention('bets'); SELECT steward.set_tiering('bets', '2 days', '{cold}')"
    ));
    let refusal = client.refused("42501", "CALL steward.maintain('bets')");
    assert!(refusal.message().contains(&format!("belongs to {owner}")), "{refusal}");
    client.run(
        "SELECT steward.clear_tiering('bets'); SELECT steward.set_retention('bets', '2 days')",
    );
    let expired = "SELECT count(*) FROM steward.partitions WHERE state = 'expired'";
    assert_eq!(client.value::<i64>(expired), 2);
    let planned: Vec<String> =
        client.column("SELECT action || ' ' || reason FROM steward.plan('bets')");
    assert!(
        planned.len() == 2
            && planned[0].contains("blocked: \"public.bets_")
            && planned[0].contains(&format!("belongs to {owner}")),
        "{planned:?}"
    );
    let oldest: String = client.value(
        "SELECT partition::text FROM steward.partitions WHERE state = 'expired' ORDER BY lower_bound LIMIT 1",
    );
    let refusal = client.refused("42501", "CALL steward.maintain('bets')");
    assert_says(
        &refusal,
        &format!("belongs to {owner}"),
        &format!("ALTER TABLE public.{oldest} OWNER TO {heir};"),
    );
    assert_eq!(client.value::<i64>(expired), 2);
    client.run(&format!("ALTER TABLE {oldest} OWNER TO {heir}"));
    client.refused("42501", "CALL steward.maintain('bets')");
    assert_eq!(client.value::<i64>(expired), 1);
    // Who owns the schema may drop what is in it.
    client.run(&format!("ALTER SCHEMA public OWNER TO {heir}"));
    database.maintain("bets");
    assert_eq!(database.client.value::<i64>(expired), 0);
}

#[test]
fn a_sequence_goes_along_under_a_name_that_is_free() {
    let mut database = Database::new();
    database.client.run("CREATE SCHEMA attic");
    for schema in ["one", "two"] {
        database.client.run(&format!(
            "CREATE SCHEMA {schema};
             CREATE TABLE {schema}.bets (at timestamptz NOT NULL, id int) PARTITION BY RANGE (at);
             SELECT steward.manage_range('{schema}.bets', '1 day', premake => 1, time_zone => 'UTC');
             CREATE TABLE {schema}.by_hand (at timestamptz NOT NULL, id serial);
             ALTER TABLE {schema}.bets ATTACH PARTITION {schema}.by_hand FOR VALUES FROM ('2024-01-01') TO ('2024-01-02');
             SELECT steward.set_retention('{schema}.bets', '5 days', 'detach', to_schema => 'attic')"
        ));
        database.maintain(&format!("{schema}.bets"));
    }
    let kept: Vec<String> = database.client.column(
        "SELECT concat_ws(' ', relkind, relname) FROM pg_class WHERE relnamespace = 'attic'::regnamespace ORDER BY 1",
    );
    assert_eq!(kept, ["S by_hand_id_seq", "S by_hand_id_seq_1", "r by_hand", "r by_hand_1"]);
    database.client.run("INSERT INTO attic.by_hand_1 (at) VALUES ('2024-01-01')");
}

#[test]
fn a_period_that_ends_between_two_numbers_is_kept_until_the_second() {
    let mut database = Database::new();
    let client = &mut database.client;
    client.run(
        "CREATE TABLE t (id numeric NOT NULL) PARTITION BY RANGE (id);
         SELECT steward.manage_range('t', '10', premake => 2);
         CREATE TABLE odd PARTITION OF t FOR VALUES FROM (-20.5) TO (-0.5);
         INSERT INTO t VALUES (-0.75), (9.2);
         SELECT steward.set_retention('t', '10')",
    );
    let planned = "SELECT count(*) FROM steward.plan('t') WHERE partition = 'public.odd'";
    assert_eq!(client.value::<i64>(planned), 0);
    client.run("INSERT INTO t VALUES (10)");
    assert_eq!(client.value::<i64>(planned), 2);
}
