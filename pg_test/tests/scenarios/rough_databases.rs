//! Databases that are templates, or closed, although there is work in them.

use pg_test::cluster::{Ask, Cluster, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{
    SOON, drop_newest, exists, make_due, make_due_in_silence, settled_set, unattended_runs,
};

/// Schedulers that were ever started in a database, by the postmaster's own log.
fn schedulers(cluster: &Cluster, database: &str) -> usize {
    cluster.log_count(&format!(
        "starting background worker process \"pg_steward scheduler: {database}\""
    ))
}

#[test]
fn a_template_and_a_closed_database_are_left_alone_until_they_are_back() {
    let cluster = fixtures::cluster().conf("log_min_messages = 'debug1'").start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    settled_set(&mut cluster.connect(&database).unwrap());
    let mut admin = cluster.connect("postgres").unwrap();
    for (away, back, copy) in [
        ("IS_TEMPLATE true", "IS_TEMPLATE false", "copy_of_a_template"),
        ("ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true", "copy_of_a_closed_one"),
    ] {
        wait_until(SOON, "no worker of ours is left", || no_worker(&mut admin));
        let mut client = cluster.connect(&database).unwrap();
        // Something to do of which nobody is told, as of a dropped partition.
        client.run("UPDATE steward.range_policy SET premake = premake + 1");
        let lost: String = client.value("SELECT partition FROM steward.plan('bets')");
        // Due, and nobody is told: the copy has it too, and when that is found, the list of
        // databases was read after the change.
        make_due_in_silence(&mut client);
        let runs = unattended_runs(&mut client, "succeeded");
        drop(client);
        admin.run(&format!("ALTER DATABASE {database} {away}"));
        wait_for_copy(&cluster, &database, copy, &lost);
        if away.starts_with("IS_TEMPLATE") {
            // Told as well: it does not help.
            let before = schedulers(&cluster, &database);
            make_due(&mut cluster.connect(&database).unwrap());
            let mut copied = cluster.connect(copy).unwrap();
            let second = drop_newest(&mut copied, "bets");
            make_due(&mut copied);
            wait_until(SOON, "the launcher has turned", || exists(&mut copied, &second));
            assert_eq!(schedulers(&cluster, &database), before, "a scheduler in a template");
            let mut client = cluster.connect(&database).unwrap();
            assert_eq!(unattended_runs(&mut client, "succeeded"), runs, "work in a template");
            assert!(!exists(&mut client, &lost));
        }
        assert!(!cluster.log_contains("not currently accepting connections"), "{away}");

        let until: String = admin.value("SELECT clock_timestamp()::text");
        admin.run(&format!("ALTER DATABASE {database} {back}"));
        let mut client = cluster.connect(&database).unwrap();
        let meanwhile: i64 = client.value(&format!(
            "SELECT count(*) FROM steward.job_runs
              WHERE scheduled_at IS NOT NULL AND started_at < '{until}'"
        ));
        assert_eq!(meanwhile, runs, "work while {away}");
        wait_until(SOON, &format!("its work is done after {back}"), || exists(&mut client, &lost));
    }
    // The server's own templates were never looked into.
    for template in ["template0", "template1"] {
        assert_eq!(schedulers(&cluster, template), 0, "{template}");
    }
}

/// Copies a database, and waits until the copy's due work is done.
fn no_worker(admin: &mut postgres::Client) -> bool {
    admin.value("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'pg\\_steward %r' AND datname IS NOT NULL")
}

fn wait_for_copy(cluster: &Cluster, database: &str, copy: &str, lost: &str) {
    let sql = format!("CREATE DATABASE {copy} TEMPLATE {database}");
    cluster.connect("postgres").unwrap().run(&sql);
    let mut copied = cluster.connect(copy).unwrap();
    wait_until(SOON, "the copy is found and worked on", || exists(&mut copied, lost));
}

#[test]
fn a_busy_scheduler_leaves_a_database_that_becomes_a_template_or_closed() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE clicks (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('clicks', '2 seconds')",
    );
    drop(client);
    let mut admin = cluster.connect("postgres").unwrap();
    let mut wait_for = |there: bool, what: &str| {
        wait_until(SOON, what, || {
            admin.value(&format!(
                "SELECT (count(*) > 0) = {there} FROM pg_stat_activity
                  WHERE datname = '{database}' AND backend_type = 'pg_steward scheduler'"
            ))
        });
    };
    let mut altering = cluster.connect("postgres").unwrap();
    for (away, back) in [
        ("IS_TEMPLATE true", "IS_TEMPLATE false"),
        ("ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true"),
    ] {
        wait_for(true, "the scheduler is at work");
        altering.run(&format!("ALTER DATABASE {database} {away}"));
        wait_for(false, "it has left");
        altering.run(&format!("ALTER DATABASE {database} {back}"));
    }
    wait_for(true, "it is back");
}
