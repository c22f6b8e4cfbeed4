//! A partition that is dropped or detached by hand: its set is looked at at once, not at its next boundary.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_support::{SOON, exists, unattended_runs};

struct Database {
    name: String,
    client: Client,
}

impl Database {
    fn new() -> Self {
        let cluster = fixtures::shared_cluster();
        let name = cluster.create_database_with_extension().unwrap();
        let mut client = cluster.connect(&name).unwrap();
        client.run("SET client_min_messages = error; SET TimeZone = 'UTC'");
        Self { name, client }
    }
}

/// A set of months, whose next boundary is days or weeks away, and the name of its current partition.
fn months(database: &mut Database, parent: &str) -> String {
    database.client.run(&format!(
        "CREATE TABLE {parent} (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         SELECT count(*) FROM steward.manage_range('{parent}', '1 month', time_zone => 'UTC')"
    ));
    settle(database);
    database.client.value(&format!(
        "SELECT partition::text FROM steward.partitions
          WHERE parent = '{parent}'::regclass AND state = 'current'"
    ))
}

/// Until nothing is due any more.
fn settle(database: &mut Database) {
    wait_until(SOON, "the jobs are done", || {
        database.client.value(
            "SELECT NOT EXISTS (SELECT FROM steward.jobs
                                 WHERE running OR next_run_at < now() + interval '1 hour')",
        )
    });
}

fn is_made(database: &mut Database, partition: &str) {
    wait_until(SOON, &format!("{partition} is made again"), || {
        let client = &mut database.client;
        client.value(&format!(
            "SELECT coalesce((SELECT relispartition FROM pg_class WHERE oid = to_regclass('{partition}')), false)"
        ))
    });
}

#[test]
fn a_dropped_partition_is_made_again_at_once() {
    let mut database = Database::new();
    let current = months(&mut database, "t");
    database.client.run(&format!("DROP TABLE {current}"));
    is_made(&mut database, &current);
    database.client.run("INSERT INTO t VALUES (now())");
    settle(&mut database);
    let next: bool = database.client.value(
        "SELECT next_run_at = (SELECT min(upper_bound::timestamptz) FROM steward.partitions
                                WHERE state = 'current') FROM steward.jobs",
    );
    assert!(next, "afterwards it sleeps until its boundary again");
}

#[test]
fn a_detached_one_too_whichever_way() {
    let mut database = Database::new();
    for way in ["", " CONCURRENTLY"] {
        let parent = if way.is_empty() { "plain" } else { "gently" };
        let current = months(&mut database, parent);
        database.client.run(&format!("ALTER TABLE {current} RENAME TO kept_{parent}"));
        database.client.run(&format!("ALTER TABLE {parent} DETACH PARTITION kept_{parent}{way}"));
        is_made(&mut database, &current);
        assert!(exists(&mut database.client, &format!("kept_{parent}")));
    }
}

#[test]
fn with_a_schema_with_its_owner_and_from_a_function() {
    let mut database = Database::new();
    let name = database.name.clone();
    let current = months(&mut database, "t");
    for (number, command) in [
        "CREATE SCHEMA gone; ALTER TABLE PARTITION SET SCHEMA gone; DROP SCHEMA gone CASCADE"
            .to_owned(),
        format!(
            "CREATE ROLE r_{name}; GRANT CREATE ON SCHEMA public TO r_{name};
             ALTER TABLE PARTITION OWNER TO r_{name}; DROP OWNED BY r_{name}; DROP ROLE r_{name}"
        ),
        "DO $$ BEGIN EXECUTE 'DROP TABLE PARTITION'; END $$".to_owned(),
        "BEGIN; SAVEPOINT s; DROP TABLE PARTITION; RELEASE s; COMMIT".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let made: i64 = database
            .client
            .value("SELECT count(*) FROM steward.job_runs WHERE (detail ->> 'created')::int > 0");
        database.client.run(&command.replace("PARTITION", &current));
        is_made(&mut database, &current);
        settle(&mut database);
        let now: i64 = database
            .client
            .value("SELECT count(*) FROM steward.job_runs WHERE (detail ->> 'created')::int > 0");
        assert_eq!(now, made + 1, "number {number}");
    }
}

#[test]
fn below_a_period_and_for_more_sets_than_are_told_apart() {
    let mut database = Database::new();
    let sets: Vec<String> = (0..12).map(|number| format!("set_{number}")).collect();
    let lost: Vec<String> = sets.iter().map(|set| months(&mut database, set)).collect();
    database.client.run(&format!("DROP TABLE {}", lost.join(", ")));
    for partition in &lost {
        is_made(&mut database, partition);
    }
}

#[test]
fn a_drop_that_is_rolled_back_and_one_of_no_set_of_ours_wake_nobody() {
    let mut database = Database::new();
    let current = months(&mut database, "t");
    database.client.run(
        "CREATE TABLE other (k int) PARTITION BY RANGE (k);
         CREATE TABLE other_1 PARTITION OF other FOR VALUES FROM (1) TO (2)",
    );
    let runs = unattended_runs(&mut database.client, "succeeded");
    database.client.run(&format!("BEGIN; DROP TABLE {current}; ROLLBACK"));
    database.client.run("DROP TABLE other_1");
    // What is told later has been looked at later.
    let lost = months(&mut database, "u");
    database.client.run(&format!("DROP TABLE {lost}"));
    is_made(&mut database, &lost);
    settle(&mut database);
    let of_t: i64 = database.client.value(
        "SELECT count(*) FROM steward.job_runs WHERE scheduled_at IS NOT NULL AND target = 't'::regclass",
    );
    assert_eq!(of_t, runs);
}

#[test]
fn a_job_that_somebody_holds_locked_is_looked_at_when_it_is_free() {
    let mut database = Database::new();
    let current = months(&mut database, "t");
    let other = months(&mut database, "u");
    let mut holder = fixtures::shared_cluster().session(&database.name).unwrap();
    holder.run("BEGIN; SELECT FROM steward.job WHERE target = 't'::regclass FOR UPDATE");
    database.client.run(&format!("DROP TABLE {current}, {other}"));
    is_made(&mut database, &other);
    assert!(!exists(&mut database.client, &current), "the lock holds nothing up");
    holder.run("COMMIT");
    is_made(&mut database, &current);
}

#[test]
fn retention_and_a_paused_job_are_not_told_of_themselves() {
    let mut database = Database::new();
    let current = months(&mut database, "t");
    database.client.run("SELECT steward.pause_job(job_id) FROM steward.jobs");
    database.client.run(&format!("DROP TABLE {current}"));
    database.client.run(
        "CREATE TABLE old (k timestamptz NOT NULL) PARTITION BY RANGE (k);
         SELECT count(*) FROM steward.manage_range('old', '1 month', time_zone => 'UTC',
                                                  start_at => (now() - interval '1 year')::text)",
    );
    wait_until(SOON, "the first run", || {
        database.client.value(
            "SELECT NOT running AND last_status IS NOT NULL AND next_run_at > now()
                                 FROM steward.jobs WHERE target = 'old'::regclass",
        )
    });
    database.client.run("SELECT steward.set_retention('old', '3 months')");
    wait_until(SOON, "old periods have left", || {
        database.client.value(
            "SELECT NOT running AND next_run_at > now() + interval '1 hour' AND
                    (SELECT count(*) FROM steward.partitions WHERE parent = 'old'::regclass AND state = 'past') <= 4
               FROM steward.jobs WHERE target = 'old'::regclass",
        )
    });
    let runs: i64 = database.client.value(
        "SELECT count(*) FROM steward.job_runs WHERE target = 'old'::regclass AND (detail ->> 'dropped')::int > 0",
    );
    assert_eq!(runs, 1);
    assert!(!exists(&mut database.client, &current), "a paused job is not started");
}
