//! Which databases are worked on.

use std::time::Duration;

use pg_test::cluster::{Ask, Cluster, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_support::{
    SOON, drop_newest, exists, make_due, make_due_in_silence, settled_set, unattended_runs,
};

/// The contract's "within two seconds".
const NOTICED: Duration = Duration::from_secs(2);

/// How many schedulers were ever started in a database, by the postmaster's own log.
fn schedulers(cluster: &Cluster, database: &str) -> usize {
    cluster.log_count(&format!(
        "starting background worker process \"pg_steward scheduler: {database}\""
    ))
}

fn manage(client: &mut Client) {
    client.run(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day')",
    );
}

#[test]
fn only_databases_with_the_extension_are_worked_on_and_a_new_one_is_noticed() {
    let cluster = fixtures::cluster().conf("log_min_messages = 'debug1'").start().unwrap();
    let databases: Vec<String> = (0..4).map(|_| cluster.create_database().unwrap()).collect();
    let [_, _, third, fourth] = &databases[..] else { panic!("four databases") };
    wait_until(SOON, "every database has been probed", || {
        databases.iter().all(|database| schedulers(&cluster, database) > 0)
    });
    let probes = schedulers(&cluster, fourth);
    let mut clients: Vec<Client> = databases.iter().map(|d| cluster.connect(d).unwrap()).collect();
    for client in &mut clients[..2] {
        client.run("CREATE EXTENSION pg_steward");
        manage(client);
        wait_until(SOON, "its job has run", || unattended_runs(client, "succeeded") > 0);
    }
    assert_eq!(schedulers(&cluster, third), probes, "a scheduler where the extension is not");

    // Rolled back: nobody comes.
    clients[2].run("BEGIN; CREATE EXTENSION pg_steward");
    manage(&mut clients[2]);
    clients[2].run("ROLLBACK");
    make_due(&mut clients[0]);
    wait_until(SOON, "the launcher has turned", || {
        unattended_runs(&mut clients[0], "succeeded") > 1
    });
    assert_eq!(schedulers(&cluster, third), probes, "a rolled-back CREATE EXTENSION was noticed");

    // The extension and its first set arrive in one commit.
    clients[2].run("BEGIN; CREATE EXTENSION pg_steward");
    manage(&mut clients[2]);
    clients[2].run("COMMIT");
    wait_until(NOTICED, "the third database's job has run", || {
        unattended_runs(&mut clients[2], "succeeded") > 0
    });
    assert_eq!(schedulers(&cluster, fourth), probes, "the fourth database was bothered");
    assert_eq!(cluster.pids("pg_steward launcher").unwrap().len(), 1);
}

#[test]
fn a_dropped_extension_is_left_alone_and_a_new_one_taken_up() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    settled_set(&mut client);
    client.run("DROP EXTENSION pg_steward CASCADE; DROP TABLE bets");
    wait_until(SOON, "the scheduler has left", || {
        cluster.pids("pg_steward scheduler").unwrap().is_empty()
    });
    client.run("CREATE EXTENSION pg_steward");
    settled_set(&mut client);
    for bad in ["ERROR:", "FATAL:", "WARNING:"] {
        assert_eq!(cluster.log_count(bad), 0, "{}", cluster.log_tail(20));
    }
}

#[test]
fn a_copy_of_a_database_that_has_the_extension_is_found() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    settled_set(&mut cluster.connect(&database).unwrap());
    wait_until(SOON, "the copy is made", || {
        let sql = format!("CREATE DATABASE copied TEMPLATE {database}");
        cluster.connect("postgres").unwrap().batch_execute(&sql).is_ok()
    });
    let mut copied = cluster.connect("copied").unwrap();
    let lost = drop_newest(&mut copied, "bets");
    // Without wake_at_commit: nobody tells the launcher about a copy.
    make_due_in_silence(&mut copied);
    wait_until(SOON, "the copy is worked on", || exists(&mut copied, &lost));
}

#[test]
fn excluded_databases_and_enabled_take_effect_by_reload() {
    let cluster = fixtures::cluster().conf("pg_steward.enabled = off").start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let other = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    let mut elsewhere = cluster.connect(&other).unwrap();
    for client in [&mut client, &mut elsewhere] {
        manage(client);
        // By hand everything works.
        client.run("CALL steward.maintain('bets')");
        let message: String = client.value("SELECT message FROM steward.status");
        assert!(message.contains("pg_steward.enabled"), "{message}");
    }

    cluster
        .add_conf(&format!("pg_steward.enabled = on\npg_steward.excluded_databases = '{other}'"))
        .unwrap();
    cluster.reload().unwrap();
    make_due(&mut client);
    wait_until(SOON, "work begins after the reload", || {
        unattended_runs(&mut client, "succeeded") > 0
    });
    let message: String = elsewhere.value("SELECT message FROM steward.status");
    assert!(message.contains("excluded_databases"), "{message}");
    make_due(&mut elsewhere);
    let runs = unattended_runs(&mut client, "succeeded");
    make_due(&mut client);
    wait_until(SOON, "another turn", || unattended_runs(&mut client, "succeeded") > runs);
    assert_eq!(
        unattended_runs(&mut elsewhere, "succeeded"),
        0,
        "an excluded database was worked on"
    );

    cluster.add_conf("pg_steward.excluded_databases = ''").unwrap();
    cluster.reload().unwrap();
    wait_until(SOON, "the other one is worked on too", || {
        unattended_runs(&mut elsewhere, "succeeded") > 0
    });

    // Off again: what falls due is left, in both.
    cluster.add_conf("pg_steward.enabled = off").unwrap();
    cluster.reload().unwrap();
    wait_until(SOON, "no scheduler is left", || {
        cluster.pids("pg_steward scheduler").unwrap().is_empty()
    });
    let lost = drop_newest(&mut client, "bets");
    make_due(&mut client);
    let mut turns = 0;
    wait_until(SOON, "the launcher had time to turn", || {
        turns += 1;
        assert!(!exists(&mut client, &lost), "work was begun although pg_steward.enabled is off");
        turns > 100
    });
    client.run("CALL steward.maintain('bets')");
    assert!(exists(&mut client, &lost));
}
