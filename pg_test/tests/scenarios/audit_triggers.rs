//! A DBA's event trigger that notes what was run sees the step's SQL, whoever runs it.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{SOON, drop_newest, exists, make_due, settled_set};

#[test]
fn current_query_is_the_steps_sql_in_workers() {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    settled_set(&mut client);
    client.run(
        "CREATE TABLE log (q text NOT NULL); GRANT INSERT ON log TO PUBLIC;
         CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public AS
             $$ BEGIN INSERT INTO log VALUES (current_query()); END $$;
         CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION note()",
    );
    let lost = drop_newest(&mut client, "bets");
    client.run("TRUNCATE log");
    make_due(&mut client);
    wait_until(SOON, "the partition is made again", || exists(&mut client, &lost));
    let queries: Vec<String> = client.column("SELECT DISTINCT q FROM log");
    assert!(
        queries.iter().any(|query| query.contains("ATTACH PARTITION") && query.contains(&lost)),
        "{queries:?}"
    );
    // By itself, outside of any transaction block, too.
    client.run(
        "TRUNCATE log; CREATE TABLE bets_old PARTITION OF bets FOR VALUES FROM ('2020-01-01') TO ('2020-01-02');
         SELECT steward.set_retention('bets', '1 year', 'detach')",
    );
    wait_until(SOON, "the old partition has left", || {
        client.value(
            "SELECT NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = 'bets_old'::regclass)",
        )
    });
    wait_until(SOON, "it was noted", || {
        client.value("SELECT count(*) > 0 FROM log WHERE q LIKE '%DETACH PARTITION%CONCURRENTLY%'")
    });
}
