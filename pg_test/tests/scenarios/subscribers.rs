//! FOR ALL TABLES publishes the extension's own tables: a subscriber that has the extension goes on with what is its
//! own.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::unattended_support::SOON;

/// Everything that we keep, as far as it is the same at every look.
const OWN: &str = "
    SELECT t::text FROM (SELECT parent::regclass, partition_interval, premake FROM steward.range_policy) t
    UNION ALL SELECT t::text FROM (SELECT parent::regclass, partitions FROM steward.hash_policy) t
    UNION ALL SELECT t::text FROM (SELECT job_id, target::regclass, priority FROM steward.job) t
    UNION ALL SELECT t::text FROM (SELECT partition, parent FROM steward.retired_partition) t
    UNION ALL SELECT t::text FROM (SELECT run_id, target_name FROM steward.job_run WHERE target_name LIKE '%theirs%') t
    UNION ALL SELECT t::text FROM (SELECT check_name, object FROM steward.alert) t
    UNION ALL SELECT t::text FROM steward.restored t
    ORDER BY 1";

fn subscribes(binary: bool) {
    let publisher = fixtures::cluster().conf("wal_level = logical").start().unwrap();
    let subscriber = fixtures::shared_cluster();
    let (name, name_there) = (
        publisher.create_database_with_extension().unwrap(),
        subscriber.create_database_with_extension().unwrap(),
    );
    let mut here = publisher.connect(&name).unwrap();
    let mut there = subscriber.connect(&name_there).unwrap();
    // The same table is a set on both sides, with another policy; one is a set here alone, one is not there at all.
    let table = |client: &mut Client, table: &str| {
        client.run(&format!(
            "CREATE TABLE {table} (at timestamptz NOT NULL, note text) PARTITION BY RANGE (at)"
        ));
    };
    for client in [&mut here, &mut there] {
        client.run("SET client_min_messages = error; SET TimeZone = 'UTC'");
        table(client, "bets");
        table(client, "theirs");
        client.run("CREATE TABLE plain (id int PRIMARY KEY)");
    }
    here.run(
        "SELECT steward.manage_range('bets', '1 day', premake => 2); SELECT steward.manage_range('theirs', '1 day');
         CREATE TABLE gone_theirs (id int) PARTITION BY HASH (id); SELECT steward.manage_hash('gone_theirs', 2);
         INSERT INTO plain VALUES (1)",
    );
    there.run("SELECT steward.manage_range('bets', '1 month', premake => 3)");
    for client in [&mut here, &mut there] {
        wait_until(SOON, "the first runs", || {
            client.value(
                "SELECT count(*) FILTER (WHERE last_status IS DISTINCT FROM 'succeeded' OR running) = 0 FROM steward.jobs",
            )
        });
    }
    here.run("DROP TABLE gone_theirs; CREATE PUBLICATION everything FOR ALL TABLES WITH (publish_via_partition_root)");
    let own: Vec<String> = there.column(OWN);
    there.run(&format!(
        "CREATE SUBSCRIPTION s_{name} CONNECTION 'host={} dbname={name} user=postgres' PUBLICATION everything
           WITH (binary = {binary})",
        publisher.socket_dir().display()
    ));
    wait_until(SOON, "its tables are synchronised", || {
        there.value("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel")
    });
    assert_eq!(there.column::<String>(OWN), own, "the first copy has changed what is ours");
    // Every kind of change of every kind of row: policies, jobs, runs, a retired partition, an alert.
    here.run(
        "SELECT steward.alter_range('bets', premake => 4); SELECT steward.alter_job(job_id, priority => 9) FROM steward.jobs;
         CREATE FUNCTION refuses(regclass) RETURNS boolean LANGUAGE sql AS 'SELECT false';
         CREATE TABLE theirs_old PARTITION OF theirs FOR VALUES FROM ('2020-01-01') TO ('2020-01-02');
         SELECT steward.set_retention('theirs', '1 year', archive_function => 'refuses(regclass)')",
    );
    wait_until(SOON, "an alert on the publisher", || {
        here.value("SELECT count(*) > 0 FROM steward.alerts")
    });
    here.run("SELECT steward.unmanage('theirs'); DELETE FROM steward.job_run; INSERT INTO plain VALUES (2)");
    wait_until(SOON, "what was written after all that has arrived", || {
        there.value("SELECT count(*) = 2 FROM plain")
    });
    assert_eq!(there.column::<String>(OWN), own, "a change has changed what is ours");
    let theirs: i64 =
        there.value("SELECT count(*) FROM pg_inherits WHERE inhparent = 'theirs'::regclass");
    assert_eq!(theirs, 0, "a worker has acted on a policy of the publisher's");
    // What is our own goes on, in sessions and workers, and under the role of replicas, as restores set it.
    there.run("SELECT steward.alter_range('bets', premake => 5)");
    there.run("SET session_replication_role = replica; SELECT steward.alter_range('bets', premake => 6); RESET session_replication_role");
    let premake: i32 = there.value("SELECT premake FROM steward.partition_sets");
    assert_eq!(premake, 6);
    let errors: i64 = there.value(&format!(
        "SELECT coalesce(sum(apply_error_count + sync_error_count), 0)::bigint FROM pg_stat_subscription_stats WHERE subname = 's_{name}'"
    ));
    assert_eq!(errors, 0);
    there.run(&format!("DROP SUBSCRIPTION s_{name}"));
}

#[test]
fn what_a_subscription_brings_into_our_tables_is_passed_over() {
    subscribes(false);
}

#[test]
fn in_binary_too() {
    subscribes(true);
}
