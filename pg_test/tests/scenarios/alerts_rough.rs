//! Alerts where somebody else does something odd: prepared transactions, other encodings, tables that
//! go or come back without a word, other owners.

use pg_test::cluster::Ask;
use pg_test::fixtures;
use postgres::Client;

use crate::alerts::{failing, open, table, told};
use crate::range_support::cluster;

#[test]
fn a_prepared_transaction_may_drop_the_table() {
    let cluster = fixtures::cluster()
        .conf("pg_steward.enabled = off\nmax_prepared_transactions = 2")
        .start()
        .unwrap();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run("SET client_min_messages = error; SET TimeZone = 'UTC'");
    failing_here(&mut client, "BEGIN RETURN false; END");
    let left = table(&mut client);
    client.run(&format!("BEGIN; DROP TABLE {left}; PREPARE TRANSACTION 'gone'"));
    assert_eq!(open(&mut client).len(), 1);
    client.run("COMMIT PREPARED 'gone'");
    assert_eq!(open(&mut client), Vec::<String>::new());
}

/// A set of which one table has left and cannot be archived.
fn failing_here(client: &mut Client, body: &str) {
    client.run(&format!(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day', premake => 1, time_zone => 'UTC',
                                     start_at => (now() - interval '4 days')::text);
         CREATE FUNCTION archive(gone regclass) RETURNS boolean LANGUAGE plpgsql AS $body$ {body} $body$;
         SELECT steward.set_retention('bets', '3 days', archive_function => 'archive(regclass)')"
    ));
    client.refused("55000", "CALL steward.maintain('bets')");
}

#[test]
fn an_alert_is_told_in_any_encoding() {
    let cluster = cluster();
    let name = "alerts_in_latin1";
    cluster.connect("postgres").unwrap().run(&format!(
        "CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ));
    let mut client = cluster.connect(name).unwrap();
    client.run("SET client_min_messages = error; CREATE EXTENSION pg_steward");
    let mut listener = cluster.connect(name).unwrap();
    listener.run("LISTEN steward_alerts");
    client.run(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day', premake => 1, time_zone => 'UTC',
                                     start_at => (now() - interval '4 days')::text);
         CREATE FUNCTION archive(gone regclass) RETURNS boolean LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'zu groß'; END $$;
         SELECT steward.set_retention('bets', '3 days', archive_function => 'archive(regclass)')",
    );
    client.refused("P0001", "CALL steward.maintain('bets')");
    assert_eq!(open(&mut client), ["archive warning firing 1"]);
    assert_eq!(told(&mut listener).len(), 1);
    let left = table(&mut client);
    client.run(&format!("ALTER TABLE {left} RENAME TO \"weiß\"; DROP TABLE \"weiß\""));
    assert_eq!(open(&mut client), Vec::<String>::new());
    assert_eq!(told(&mut listener).len(), 1);
}

#[test]
fn a_table_that_went_without_a_word_is_forgotten_by_the_next_run() {
    let (mut database, _) = failing();
    let left = table(&mut database.client);
    // No event trigger fires; a dump of what is left would name it by a number, which there may be
    // somebody else's.
    database.client.run(&format!(
        "SET session_replication_role = replica; DROP TABLE {left}; RESET session_replication_role"
    ));
    database.maintain("mine.bets");
    assert_eq!(open(&mut database.client), Vec::<String>::new());
    let rows: i64 = database.client.value("SELECT count(*) FROM steward.retired_partition");
    assert_eq!(rows, 0);
    let waiting = "SELECT failing_archives FROM steward.status";
    assert_eq!(database.client.value::<i64>(waiting), 0);
}

#[test]
fn a_table_that_is_a_partition_again_has_no_alert_from_before() {
    let (mut database, _) = failing();
    let left = table(&mut database.client);
    let bounds: String = database.client.value(
        "SELECT format('FROM (%L) TO (%L)', lower_bound, upper_bound) FROM steward.partitions
          WHERE state = 'detached'",
    );
    database.client.run(&format!(
        "CREATE TABLE mine.old (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         ALTER TABLE mine.old ATTACH PARTITION {left} FOR VALUES {bounds}"
    ));
    database.maintain("mine.bets");
    assert_eq!(open(&mut database.client), Vec::<String>::new());
    let waiting = "SELECT failing_archives FROM steward.status";
    assert_eq!(database.client.value::<i64>(waiting), 0);
}

#[test]
fn an_alert_goes_with_its_table_to_a_new_owner() {
    let (mut database, owner) = failing();
    let heir = database.own("heir");
    database.client.run(&format!("CREATE ROLE {heir} LOGIN; ALTER ROLE {owner} LOGIN"));
    let left = table(&mut database.client);
    database.client.run(&format!("ALTER TABLE {left} OWNER TO {heir}"));
    let count = "SELECT count(*) FROM steward.alerts";
    assert_eq!(database.connect_as(&owner).value::<i64>(count), 0);
    let mut new_owner = database.connect_as(&heir);
    assert_eq!(new_owner.value::<i64>(count), 1);
    let id: i64 = new_owner.value("SELECT alert_id FROM steward.alerts");
    let acknowledge = format!("SELECT steward.acknowledge_alert({id})");
    database.connect_as(&owner).refused("42501", &acknowledge);
    new_owner.run(&acknowledge);
}
