//! pause_job, resume_job, run_job; what becomes of a policy when its table changes; no preload.

use pg_test::cluster::{Ask, wait_until};
use pg_test::fixtures;

use crate::unattended_support::{
    SOON, drop_newest, exists, make_due, release_brake, set_with_brake, settled_set,
    stuck_executor, unattended_runs,
};

#[test]
fn a_paused_job_is_not_started_runs_by_hand_and_catches_up_when_resumed() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run("CREATE TABLE wins (at timestamptz NOT NULL) PARTITION BY RANGE (at)");
    settled_set(&mut client);
    let job: i64 = client.value("SELECT job_id FROM steward.jobs");
    client.run(&format!("SELECT steward.pause_job({job})"));
    assert!(!client.value::<bool>("SELECT enabled FROM steward.jobs"));
    let lost = drop_newest(&mut client, "bets");
    make_due(&mut client);
    // Another job of the same database runs meanwhile: the scheduler has looked.
    client.run("SELECT steward.manage_range('wins', '1 day')");
    wait_until(SOON, "the scheduler has looked", || {
        client.value("SELECT count(*) > 0 FROM steward.job_runs WHERE target = 'wins'::regclass")
    });
    assert!(!exists(&mut client, &lost), "a paused job ran");

    client.run(&format!("CALL steward.run_job({job})"));
    assert!(exists(&mut client, &lost), "run_job() does not run a paused job");
    let by_hand: String = client.value(&format!(
        "SELECT format('%s %s %s', status, scheduled_at IS NULL, detail->>'created')
           FROM steward.job_runs WHERE job_id = {job} ORDER BY run_id DESC LIMIT 1"
    ));
    assert_eq!(by_hand, "succeeded t 1");
    assert!(
        !client.value::<bool>(&format!("SELECT enabled FROM steward.jobs WHERE job_id = {job}"))
    );

    let lost = drop_newest(&mut client, "bets");
    client.run("UPDATE steward.job SET next_run_at = now() - '1 minute'::interval");
    client.run(&format!("SELECT steward.resume_job({job})"));
    wait_until(SOON, "the resumed job catches up", || exists(&mut client, &lost));
}

#[test]
fn a_running_job_is_cancelled_when_asked_and_logged_as_cancelled() {
    let cluster = fixtures::cluster().start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    set_with_brake(&mut client);
    stuck_executor(&cluster, &mut client);
    let job: i64 = client.value("SELECT job_id FROM steward.jobs WHERE running");
    client.run(&format!("SELECT steward.pause_job({job})"));
    assert!(
        client.value::<bool>("SELECT running FROM steward.jobs"),
        "pause_job() alone stopped it"
    );
    client.run(&format!("SELECT steward.pause_job({job}, cancel_running => true)"));
    wait_until(SOON, "the run is cancelled", || unattended_runs(&mut client, "cancelled") == 1);
    let said: String =
        client.value("SELECT sqlstate FROM steward.job_runs WHERE status = 'cancelled'");
    assert_eq!(said, "57014");
    wait_until(SOON, "the executor has left", || {
        cluster.pids("pg_steward executor").unwrap().is_empty()
    });
    release_brake(&mut client);
    client.run(&format!("SELECT steward.resume_job({job})"));
    wait_until(SOON, "it succeeds when resumed", || unattended_runs(&mut client, "succeeded") == 2);
}

#[test]
fn policies_die_with_their_table_and_survive_its_renaming() {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    settled_set(&mut client);
    client.run(
        "CREATE SCHEMA \"New Home\";
         ALTER TABLE bets RENAME TO \"All Bets\";
         ALTER TABLE \"All Bets\" RENAME COLUMN at TO \"placed At\";
         ALTER TABLE \"All Bets\" SET SCHEMA \"New Home\";
         ALTER SCHEMA \"New Home\" RENAME TO newer;
         SET search_path = newer",
    );
    assert_eq!(
        client.value::<String>("SELECT parent || ' ' || partition_key FROM steward.partition_sets"),
        "\"All Bets\" RANGE (\"placed At\")"
    );
    client.run("SELECT steward.alter_range('\"All Bets\"', premake => 5)");
    let before: i64 = client.value("SELECT partitions FROM steward.partition_sets");
    client.run(
        "DO $$ BEGIN EXECUTE (SELECT 'DROP TABLE ' || partition FROM steward.partitions
                                      ORDER BY lower_bound DESC LIMIT 1); END $$",
    );
    make_due(&mut client);
    wait_until(SOON, "the renamed set is kept up", || {
        client.value::<i64>("SELECT partitions FROM steward.partition_sets") == before
    });
    let newest: String = client
        .value("SELECT partition::text FROM steward.partitions ORDER BY lower_bound DESC LIMIT 1");
    assert!(newest.starts_with("\"All Bets_"), "{newest}: new partitions bear the new name");

    // A dropped partition takes nothing with it, a rolled-back DROP neither.
    client.run("BEGIN; DROP TABLE \"All Bets\"; ROLLBACK");
    let policies =
        "SELECT (SELECT count(*) FROM steward.range_policy) + (SELECT count(*) FROM steward.job)";
    assert_eq!(client.value::<i64>(policies), 2);
    client.run("DROP TABLE \"All Bets\"");
    assert_eq!(client.value::<i64>(policies), 0);
    // By an owner who may not touch steward's tables, with the schema, and with the owner.
    client.run(&format!(
        "CREATE ROLE owner_{database} LOGIN; CREATE SCHEMA theirs AUTHORIZATION owner_{database}"
    ));
    let mut owner = cluster.connect_as(&database, &format!("owner_{database}")).unwrap();
    for drop in ["DROP TABLE theirs.t", "DROP SCHEMA theirs CASCADE"] {
        owner.run(
            "CREATE TABLE theirs.t (at timestamptz) PARTITION BY RANGE (at);
                   SELECT steward.manage_range('theirs.t', '1 day')",
        );
        assert_eq!(client.value::<i64>(policies), 2);
        owner.run(drop);
        assert_eq!(client.value::<i64>(policies), 0, "{drop}");
    }
    client.run(&format!("DROP ROLE owner_{database}"));
}

#[test]
fn without_the_preload_everything_works_by_hand() {
    let cluster = fixtures::cluster().preload(false).start().unwrap();
    let database = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&database).unwrap();
    client.run(
        "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day')",
    );
    let job: i64 = client.value("SELECT job_id FROM steward.jobs");
    for call in ["CALL steward.maintain('bets')".to_owned(), format!("CALL steward.run_job({job})")]
    {
        let lost = drop_newest(&mut client, "bets");
        let planned: Vec<String> = client.column("SELECT partition FROM steward.plan()");
        assert_eq!(planned, [format!("public.{lost}")]);
        client.run(&call);
        assert!(exists(&mut client, &lost), "{call}");
    }
    client.run(&format!(
        "SELECT steward.pause_job({job}, true); SELECT steward.resume_job({job});
         SELECT steward.alter_range('bets', premake => 5)"
    ));
    let status: String = client.value(
        "SELECT format('%s %s %s %s', preloaded, launcher_running, jobs, message) FROM steward.status",
    );
    assert!(status.starts_with("f f 1 nothing runs unattended"), "{status}");
    assert!(status.contains("shared_preload_libraries"), "{status}");
    assert_eq!(unattended_runs(&mut client, "succeeded"), 0);
    for view in ["jobs", "job_runs", "partition_sets", "partitions", "node", "status"] {
        assert!(client.value::<i64>(&format!("SELECT count(*) FROM steward.{view}")) > 0, "{view}");
    }
    client.run("SELECT steward.unmanage('bets')");
    assert_eq!(client.value::<i64>("SELECT count(*) FROM steward.jobs"), 0);
    client.run("DROP EXTENSION pg_steward");
}
