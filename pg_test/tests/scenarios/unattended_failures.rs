//! Jobs that fail: recorded, held back, recovered; and nobody else is held up.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{
    SOON, drop_newest, exists, lose_newest, make_due, settled_set, unattended_runs,
};

#[test]
fn a_failing_job_is_recorded_backs_off_recovers_by_itself_and_stops_no_other() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    let owner = format!("owner_of_{database}");
    client.run(&format!(
        "CREATE ROLE {owner}; CREATE SCHEMA mine AUTHORIZATION {owner};
         CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE mine.odds (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         ALTER TABLE mine.odds OWNER TO {owner};
         CREATE TABLE wins (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range(t, '1 day') FROM unnest('{{bets,mine.odds,wins}}'::regclass[]) t"
    ));
    wait_until(SOON, "each has had its first run", || {
        unattended_runs(&mut client, "succeeded") >= 3
    });
    let lost = ["bets", "mine.odds", "wins"].map(|parent| drop_newest(&mut client, parent));
    client.run(&format!(
        "ALTER SCHEMA mine OWNER TO postgres; GRANT USAGE ON SCHEMA mine TO {owner}"
    ));
    make_due(&mut client);

    let odds = "FROM steward.jobs WHERE target = 'mine.odds'::regclass";
    wait_until(SOON, "it has failed three times", || {
        client.value(&format!("SELECT consecutive_failures >= 3 {odds}"))
    });
    wait_until(SOON, "the others are kept up", || {
        exists(&mut client, &lost[0]) && exists(&mut client, &lost[2])
    });
    assert!(!exists(&mut client, &lost[1]));
    let failures =
        "FROM steward.job_runs WHERE target = 'mine.odds'::regclass AND status = 'failed'";
    assert!(client.value::<bool>(&format!(
        "SELECT bool_and(sqlstate = '42501' AND error_message LIKE '%schema mine%'
                         AND duration IS NOT NULL AND scheduled_at IS NOT NULL) {failures}"
    )));
    let detail: String = client.value(&format!(
        "SELECT format('%s %s %s', detail->>'created', detail->>'failed', detail->'failures'->0->>'sqlstate')
           {failures} ORDER BY run_id DESC LIMIT 1"
    ));
    assert_eq!(detail, "0 1 42501");
    assert!(client.value::<bool>(&format!(
        "SELECT last_status = 'failed' AND last_sqlstate = '42501' {odds}"
    )));
    assert_eq!(client.value::<i64>("SELECT failing_jobs FROM steward.status"), 1);
    assert_eq!(
        client.value::<i64>("SELECT count(*) FROM steward.jobs WHERE consecutive_failures = 0"),
        2
    );
    // Each wait is longer than the one before: 2 s and up to a quarter less, doubling. It is counted from
    // before the end of a run is written down, which can take a while.
    let waits: Vec<f64> = client.column(&format!(
        "SELECT extract(epoch FROM started_at - lag(started_at) OVER (ORDER BY run_id))::float8
           {failures} ORDER BY run_id OFFSET 1"
    ));
    for (n, wait) in waits.iter().enumerate().take(2) {
        let least = 1.5 * f64::from(1 << n);
        assert!(*wait >= least, "wait {n} was {wait} s, less than {least} s");
    }
    assert!(client.value::<bool>(&format!(
        "SELECT next_run_at > last_run_at + '5 seconds'::interval {odds}"
    )));

    // After many failures the circuit is open; repaired, the job recovers by itself.
    client.run(
        "UPDATE steward.job SET consecutive_failures = 5 WHERE target = 'mine.odds'::regclass",
    );
    assert_eq!(client.value::<String>(&format!("SELECT circuit {odds}")), "open");
    client.run(&format!("ALTER SCHEMA mine OWNER TO {owner}"));
    wait_until(SOON, "it recovers by itself", || exists(&mut client, &lost[1]));
    wait_until(SOON, "its failures are forgotten", || {
        client.value(&format!("SELECT consecutive_failures = 0 AND circuit = 'closed' {odds}"))
    });
    assert_eq!(client.value::<String>("SELECT message FROM steward.status"), "ok");
}

#[test]
fn one_step_that_fails_stops_no_other_step() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day', premake => 3, default_partition => true);
         SELECT steward.pause_job(job_id, true) FROM steward.jobs",
    );
    drop_newest_two_and_put_a_row_between(&mut client);
    client.run("SELECT steward.resume_job(job_id) FROM steward.jobs");
    wait_until(SOON, "a run has failed", || {
        client.value("SELECT count(*) > 0 FROM steward.job_runs WHERE status = 'failed'")
    });
    let run: String = client.value(
        "SELECT format('%s created=%s failed=%s', sqlstate, detail->>'created', detail->>'failed')
           FROM steward.job_runs WHERE status = 'failed' ORDER BY run_id LIMIT 1",
    );
    assert_eq!(run, "23514 created=1 failed=1");
    let message: String = client.value(
        "SELECT error_message FROM steward.job_runs WHERE status = 'failed' ORDER BY run_id LIMIT 1",
    );
    assert!(message.contains("public.bets_default"), "{message}");
    // The rows move out, the next attempt succeeds.
    client.run("DELETE FROM bets_default");
    wait_until(SOON, "the job recovers", || {
        client.value(
            "SELECT consecutive_failures = 0 AND last_status = 'succeeded' FROM steward.jobs",
        )
    });
    assert_eq!(client.value::<i64>("SELECT partitions FROM steward.partition_sets"), 4);
}

/// The second newest period's row goes to the default partition, in its partition's way.
fn drop_newest_two_and_put_a_row_between(client: &mut postgres::Client) {
    client.run(
        "DO $$
         DECLARE newest record;
         BEGIN
             FOR newest IN SELECT partition, lower_bound FROM steward.partitions
                            WHERE NOT is_default ORDER BY lower_bound DESC LIMIT 2
             LOOP
                 EXECUTE format('DROP TABLE %s', newest.partition);
             END LOOP;
             EXECUTE format('INSERT INTO bets VALUES (%L)', newest.lower_bound);
         END $$",
    );
    assert_eq!(client.value::<i64>("SELECT count(*) FROM bets_default"), 1);
}

#[test]
fn a_table_that_vanished_without_its_policy_is_forgotten() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE wins (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range(t, '1 day') FROM unnest('{bets,wins}'::regclass[]) t;
         SET session_replication_role = replica",
    );
    client.run("DROP TABLE bets");
    assert_eq!(
        client.value::<i64>("SELECT count(*) FROM steward.range_policy"),
        2,
        "an orphan is left"
    );
    make_due(&mut client);
    wait_until(SOON, "the orphan is gone", || {
        client.value("SELECT (SELECT count(*) FROM steward.range_policy) + (SELECT count(*) FROM steward.job) = 2")
    });
    let lost = drop_newest(&mut client, "wins");
    make_due(&mut client);
    wait_until(SOON, "the other is kept up", || exists(&mut client, &lost));
}

#[test]
fn a_job_of_a_kind_that_is_not_known_fails_by_itself() {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    settled_set(&mut client);
    client.run("CREATE TABLE other (id int)");
    // The workers keep out until the session that inserts a job has ended.
    cluster.connect(&name).unwrap().run(
        "INSERT INTO steward.job (kind, target, priority) VALUES ('refresh', 'other'::regclass, 100)",
    );
    let lost = lose_newest(&mut client, "bets");
    wait_until(SOON, "the set beside it is kept up", || exists(&mut client, &lost));
    wait_until(SOON, "it has failed", || {
        client.value("SELECT count(*) > 0 FROM steward.jobs WHERE kind = 'refresh' AND last_sqlstate = '0A000'")
    });
    let job: i64 = client.value("SELECT job_id FROM steward.jobs WHERE kind = 'refresh'");
    let refusal = client.refused("0A000", &format!("CALL steward.run_job({job})"));
    assert!(refusal.hint().unwrap().contains("later version"), "{refusal}");
    client.run("CALL steward.maintain()");
}
