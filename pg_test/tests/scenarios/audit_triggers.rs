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

#[test]
fn one_that_gives_new_tables_another_owner_is_named() {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run(&format!(
        "CREATE ROLE app_{name}; CREATE ROLE dba_{name}; GRANT CREATE ON SCHEMA public TO app_{name}, dba_{name};
         GRANT dba_{name} TO app_{name} WITH ADMIN OPTION;
         CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at); ALTER TABLE bets OWNER TO app_{name};
         CREATE FUNCTION hand_over() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             DECLARE made record;
             BEGIN
                 FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' LOOP
                     EXECUTE format('ALTER TABLE %s OWNER TO \"dba_{name}\"', made.object_identity);
                 END LOOP;
             END $$;
         CREATE EVENT TRIGGER \"Hand over\" ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION hand_over();
         REVOKE dba_{name} FROM app_{name}"
    ));
    let refusal = client.refused("42501", "SELECT steward.manage_range('bets', '1 day')");
    assert!(refusal.hint().unwrap().contains("event trigger \"Hand over\""), "{refusal}");
    client.run("ALTER EVENT TRIGGER \"Hand over\" DISABLE");
    settled_range(&mut client);
    drop_newest(&mut client, "bets");
    client.run("ALTER EVENT TRIGGER \"Hand over\" ENABLE");
    let refusal = client.refused("42501", "CALL steward.maintain('bets')");
    assert!(refusal.hint().unwrap().contains("event trigger \"Hand over\""), "{refusal}");
}

fn settled_range(client: &mut postgres::Client) {
    client.run("SELECT steward.manage_range('bets', '1 day')");
    wait_until(SOON, "the first unattended run", || {
        client.value("SELECT count(*) > 0 FROM steward.job_runs WHERE status = 'succeeded'")
    });
}

#[test]
fn one_that_does_not_find_its_tables_is_told_of_the_search_path() {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run(
        "CREATE TABLE log (q text); CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO log VALUES (tg_tag); END $$;
         CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION note()",
    );
    let refusal = client.refused("42P01", "SELECT steward.manage_range('bets', '1 day')");
    assert!(refusal.hint().unwrap().contains("search_path = pg_catalog, pg_temp"), "{refusal}");
    client.run("ALTER FUNCTION note SET search_path = public");
    client.run("SELECT steward.manage_range('bets', '1 day')");
    client.run("ALTER FUNCTION note RESET search_path");
    drop_newest(&mut client, "bets");
    let refusal = client.refused("42P01", "CALL steward.maintain('bets')");
    assert!(refusal.hint().unwrap().contains("search_path = pg_catalog, pg_temp"), "{refusal}");
}
