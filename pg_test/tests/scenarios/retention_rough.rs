//! Retention under fire: readers who stay, sessions that go, no worker to be had.

use std::time::{Duration, Instant};

use pg_test::cluster::{Ask, Cluster, Session, sqlstate, wait_until};
use pg_test::fixtures;
use postgres::{Client, SimpleQueryMessage};

use crate::range_support::{self, Database};
use crate::unattended_support::SOON;

/// Daily sets that hold the last four days, two rows a day, of which two days are too old.
const FOUR_DAYS: &str = "
    CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
    SELECT steward.manage_range('bets', '1 day', premake => 1, time_zone => 'UTC',
                                start_at => (now() - interval '4 days')::text);
    INSERT INTO bets SELECT lower_bound::timestamptz + make_interval(hours => n)
      FROM steward.partitions, generate_series(1, 2) n WHERE state IN ('past', 'current');
    SELECT steward.set_retention('bets', '2 days')";

fn four_days() -> Database {
    let mut database = Database::new();
    database.client.run(FOUR_DAYS);
    database
}

/// The single value of the last row that a session was given.
fn last(messages: &[SimpleQueryMessage]) -> String {
    let row = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.unwrap().to_owned()
}

/// A session in a transaction that has read the set, and holds its lock.
fn reader(cluster: &Cluster, database: &str, begin: &str) -> Session {
    let mut reader = cluster.session(database).unwrap();
    assert_eq!(last(&reader.run(&format!("{begin}; SELECT count(*) FROM bets"))), "10");
    let held: i64 = cluster.connect(database).unwrap().value(&format!(
        "SELECT count(*) FROM pg_locks WHERE pid = {} AND granted AND mode = 'AccessShareLock'
            AND relation IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'bets'::regclass
                             UNION SELECT 'bets'::regclass)",
        reader.pid()
    ));
    assert!(held > 4, "the reader holds {held} locks");
    reader
}

/// States of those that are on their way out, oldest first.
fn leaving(client: &mut Client) -> Vec<String> {
    client.column(
        "SELECT state FROM steward.partitions WHERE state IN ('expired', 'detaching', 'detached')
          ORDER BY lower_bound",
    )
}

/// The last run: `status sqlstate`.
fn last_run(client: &mut Client) -> String {
    client.value(
        "SELECT concat_ws(' ', status, sqlstate) FROM steward.job_runs ORDER BY run_id DESC LIMIT 1",
    )
}

#[test]
fn a_reader_is_not_broken_and_not_waited_for_beyond_the_limit() {
    for (begin, sees_later) in [("BEGIN", "8"), ("BEGIN ISOLATION LEVEL REPEATABLE READ", "10")] {
        let mut database = four_days();
        let cluster = range_support::cluster();
        let mut reader = reader(cluster, &database.name, begin);
        let mut maintaining = cluster.session(&database.name).unwrap();
        maintaining.run("SET pg_steward.lock_timeout = '500ms'");
        let started = Instant::now();
        maintaining.start("CALL steward.maintain('bets')");
        wait_until(SOON, "a worker waits for the reader", || {
            database.client.value(&format!(
                "SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                  WHERE NOT l.granted AND a.backend_type = 'pg_steward executor'
                    AND {} = ANY (pg_blocking_pids(l.pid))",
                reader.pid()
            ))
        });
        // Whoever comes now is let through, by both of them.
        let mut other = database.connect_as("postgres");
        other.run("SET lock_timeout = '100ms'");
        let mut rounds = 0;
        while !maintaining.is_done() {
            other
                .run("BEGIN; INSERT INTO bets VALUES (now()); SELECT count(*) FROM bets; ROLLBACK");
            rounds += 1;
        }
        assert!(rounds > 10, "{rounds}");
        let error = maintaining.finish(SOON).unwrap_err();
        assert_eq!(sqlstate(&error), "55P03", "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        assert_eq!(last_run(&mut database.client), "failed 55P03");
        assert_eq!(leaving(&mut database.client), ["detaching", "expired"]);

        // The reader reads on; an older snapshot sees what it has seen.
        assert_eq!(last(&reader.run("SELECT count(*) FROM bets")), sees_later);
        assert_eq!(other.value::<i64>("SELECT count(*) FROM bets"), 8);
        reader.run("COMMIT");
        database.maintain("bets");
        assert_eq!(leaving(&mut database.client), Vec::<String>::new());
        assert_eq!(last_run(&mut database.client), "succeeded");
        assert_eq!(other.value::<i64>("SELECT count(*) FROM bets"), 6);
        assert_eq!(database.count("bets"), 4);
    }
}

#[test]
fn a_dump_of_another_table_holds_up_no_detach_and_a_broken_off_one_until_it_ends() {
    let mut database = four_days();
    let cluster = range_support::cluster();
    database
        .client
        .run("CREATE TABLE other AS SELECT 1 AS n; CREATE TABLE one_more AS SELECT 2 AS n");
    let dump = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM other";
    let mut old_dump = cluster.session(&database.name).unwrap();
    old_dump.run(dump);
    // One is broken off, by a reader of the set, while the other snapshot is there.
    let mut reader = reader(cluster, &database.name, "BEGIN");
    database.client.run("SET pg_steward.lock_timeout = '300ms'");
    database.client.refused("55P03", "CALL steward.maintain('bets')");
    reader.run("COMMIT");
    assert_eq!(leaving(&mut database.client), ["detaching", "expired"]);
    // FINALIZE waits for every older snapshot (tablecmds.c, ATExecDetachPartitionFinalize).
    database.client.refused("55P03", "CALL steward.maintain('bets')");
    assert_eq!(leaving(&mut database.client), ["detaching", "expired"]);
    old_dump.run("COMMIT");
    // A whole detach does not.
    let mut new_dump = cluster.session(&database.name).unwrap();
    database.client.run("SET pg_steward.lock_timeout = '5s'");
    let mut maintaining = cluster.session(&database.name).unwrap();
    maintaining.run("CALL steward.maintain('bets')");
    new_dump.run(dump);
    assert_eq!(leaving(&mut database.client), Vec::<String>::new());
    database.client.run("SELECT steward.set_retention('bets', '1 day')");
    maintaining.run("CALL steward.maintain('bets')");
    assert_eq!(leaving(&mut database.client), Vec::<String>::new());
    assert_eq!(database.count("bets"), 3);
    assert_eq!(last(&new_dump.run("SELECT n FROM one_more")), "2");
}

#[test]
fn what_somebody_else_detaches_after_a_run_that_failed_is_theirs() {
    let mut database = four_days();
    let mut reader = reader(range_support::cluster(), &database.name, "BEGIN");
    database.client.run("SET pg_steward.lock_timeout = '300ms'");
    database.client.refused("55P03", "CALL steward.maintain('bets')");
    reader.run("COMMIT");
    let second: String = database
        .client
        .value("SELECT partition::text FROM steward.partitions WHERE state = 'expired'");
    database.client.run(&format!("ALTER TABLE bets DETACH PARTITION {second}"));
    database.maintain("bets");
    assert_eq!(database.client.value::<i64>(&format!("SELECT count(*) FROM {second}")), 2);
    assert_eq!(leaving(&mut database.client), Vec::<String>::new());
}

#[test]
fn what_is_half_detached_is_finished_without_a_policy_too_and_kept() {
    let mut database = four_days();
    let mut reader = reader(range_support::cluster(), &database.name, "BEGIN");
    database.client.run("SET pg_steward.lock_timeout = '300ms'");
    database.client.refused("55P03", "CALL steward.maintain('bets')");
    reader.run("COMMIT");
    database.client.run("SELECT steward.clear_retention('bets')");
    database.maintain("bets");
    assert_eq!(leaving(&mut database.client), ["detached"]);
    assert_eq!(database.count("bets"), 5);
    database.maintain("bets");
    assert_eq!(leaving(&mut database.client), ["detached"]);
}

/// A session whose CALL has a worker wait for a reader, and that worker.
fn waiting_call(database: &mut Database, reader: &Session) -> (Session, i32) {
    let mut maintaining = range_support::cluster().session(&database.name).unwrap();
    maintaining.run("SET pg_steward.lock_timeout = '1min'");
    maintaining.start("CALL steward.maintain('bets')");
    let mut found = Vec::new();
    wait_until(SOON, "a worker waits for the reader", || {
        found = database.client.column(&format!(
            "SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
              WHERE NOT l.granted AND a.backend_type = 'pg_steward executor'
                AND {} = ANY (pg_blocking_pids(l.pid))",
            reader.pid()
        ));
        !found.is_empty()
    });
    (maintaining, found[0])
}

#[test]
fn a_call_that_is_cancelled_or_killed_takes_its_worker_along() {
    for (how, code) in [("pg_cancel_backend", "57014"), ("pg_terminate_backend", "57P01")] {
        let mut database = four_days();
        let mut reader = reader(range_support::cluster(), &database.name, "BEGIN");
        let (mut maintaining, worker) = waiting_call(&mut database, &reader);
        database.client.run(&format!("SELECT {how}({})", maintaining.pid()));
        let error = maintaining.finish(SOON).unwrap_err();
        // A client whose session is ended may see the connection closed before it is told why.
        assert!(error.is_closed() || sqlstate(&error) == code, "{error}");
        wait_until(Duration::from_secs(10), &format!("the worker is gone after {how}"), || {
            database
                .client
                .value(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {worker}"))
        });
        assert_eq!(last_run(&mut database.client), "cancelled 57014");
        assert_eq!(leaving(&mut database.client), ["detaching", "expired"]);
        reader.run("COMMIT");
        database.maintain("bets");
        assert_eq!(leaving(&mut database.client), Vec::<String>::new());
    }
}

#[test]
fn a_cancel_between_two_attempts_is_logged_as_one() {
    let mut database = four_days();
    let mut reader = reader(range_support::cluster(), &database.name, "BEGIN");
    let mut maintaining = range_support::cluster().session(&database.name).unwrap();
    maintaining.run("SET pg_steward.lock_timeout = '10ms'");
    maintaining.start("CALL steward.maintain('bets')");
    let mut pausing = Vec::<i32>::new();
    wait_until(SOON, "the worker pauses before it tries again", || {
        pausing = database.client.column(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_steward executor'
                AND datname = current_database() AND wait_event = 'Extension'",
        );
        !pausing.is_empty()
    });
    database.client.run(&format!("SELECT pg_cancel_backend({})", pausing[0]));
    assert_eq!(sqlstate(&maintaining.finish(SOON).unwrap_err()), "57014");
    assert_eq!(last_run(&mut database.client), "cancelled 57014");
    reader.run("COMMIT");
}

#[test]
fn without_a_free_worker_nothing_is_changed() {
    // The launchers of logical replication and of ours take the two there are.
    let conf = "max_worker_processes = 2\npg_steward.enabled = off";
    let cluster = fixtures::cluster().conf(conf).start().unwrap();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run(FOUR_DAYS);
    let before: i64 = client.value("SELECT count(*) FROM pg_inherits");
    client.refused("53400", "CALL steward.maintain('bets')");
    client.refused("53400", "CALL steward.maintain()");
    assert_eq!(client.value::<i64>("SELECT count(*) FROM pg_inherits"), before);
    assert_eq!(client.value::<i64>("SELECT count(*) FROM steward.retired_partition"), 0);
    assert_eq!(client.value::<i64>("SELECT count(*) FROM steward.job_runs"), 0);
    assert_eq!(
        client.value::<i64>(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND mode = 'ExclusiveLock'"
        ),
        0
    );
}

#[test]
fn without_the_preload_a_call_and_a_do_block_retire() {
    let cluster = fixtures::cluster().preload(false).start().unwrap();
    for call in ["CALL steward.maintain('bets')", "DO $$ BEGIN CALL steward.maintain(); END $$"] {
        let name = cluster.create_database_with_extension().unwrap();
        let mut client = cluster.connect(&name).unwrap();
        client.run(FOUR_DAYS);
        client.refused("25001", &format!("BEGIN; {call}"));
        client.run("ROLLBACK");
        assert_eq!(leaving(&mut client), ["expired", "expired"]);
        client.run(call);
        assert_eq!(leaving(&mut client), Vec::<String>::new());
        assert_eq!(client.value::<i64>("SELECT count(*) FROM bets"), 6);
    }
}

#[test]
fn a_long_archive_does_not_keep_a_set_from_its_next_periods() {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run(
        "CREATE TABLE clicks (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('clicks', '2 seconds', start_at => (now() - interval '1 minute')::text);
         CREATE TABLE archived (what text);
         CREATE FUNCTION store(gone regclass) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN PERFORM pg_sleep(1); INSERT INTO public.archived VALUES (gone); RETURN true; END $$;
         SELECT steward.set_retention('clicks', '20 seconds', archive_function => 'store(regclass)')",
    );
    // Longer than the periods last that were there at the beginning.
    wait_until(SOON, "a dozen are archived", || {
        client.run("INSERT INTO clicks VALUES (clock_timestamp())");
        client.value("SELECT count(*) >= 12 FROM archived")
    });
    assert_eq!(
        client.value::<i64>(
            "SELECT count(*) FROM steward.job_runs WHERE status IN ('failed', 'crashed')"
        ),
        0
    );
}

#[test]
fn a_run_that_waits_in_a_detach_is_cut_off_at_max_runtime() {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run(&FOUR_DAYS.replace("SELECT steward.set_retention('bets', '2 days')", "SELECT 1"));
    wait_until(SOON, "the first run", || {
        client.value("SELECT count(*) = 1 FROM steward.jobs WHERE last_status = 'succeeded'")
    });
    let mut reader = reader(cluster, &name, "BEGIN");
    client.run(
        "SELECT steward.alter_job(job_id, max_runtime => '500 ms') FROM steward.jobs;
         SELECT steward.set_retention('bets', '2 days')",
    );
    wait_until(SOON, "a run is cut off", || {
        client.value(
            "SELECT count(*) > 0 FROM steward.job_runs WHERE status = 'timed_out' AND sqlstate = '57014'
                AND duration < interval '5 seconds'",
        )
    });
    // On a busy machine the first one may be cut off before it comes to that.
    wait_until(SOON, "one is on its way out", || leaving(&mut client) == ["detaching", "expired"]);
    client.run("SELECT steward.alter_job(job_id, max_runtime => '0') FROM steward.jobs");
    reader.run("COMMIT");
    wait_until(SOON, "the work is done", || leaving(&mut client).is_empty());
}

#[test]
fn set_retention_alone_has_the_workers_retire_what_is_old() {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run(FOUR_DAYS);
    wait_until(SOON, "what is old is gone", || client.value("SELECT count(*) = 6 FROM bets"));
    wait_until(SOON, "its run is logged", || {
        client.value("SELECT bool_and(status = 'succeeded') FROM steward.job_runs")
    });
    let detail: Vec<String> = client.column(
        "SELECT format('%s %s %s', detail->'detached', detail->'dropped', jsonb_array_length(detail->'retired'))
           FROM steward.job_runs WHERE detail ? 'retired' AND scheduled_at IS NOT NULL",
    );
    assert_eq!(detail, ["2 2 2"]);
}

#[test]
fn from_a_large_set_they_leave_one_at_a_time_with_a_pause() {
    // For a set of a hundred a tenth of it.
    let cluster = fixtures::cluster().conf("pg_steward.retention_pause = '20s'").start().unwrap();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run(
        "SET client_min_messages = error;
         CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', '1 day', premake => 99, time_zone => 'UTC',
                                     start_at => (now() - interval '4 days')::text);
         SELECT steward.set_retention('bets', '2 days')",
    );
    wait_until(SOON, "what is old is gone", || {
        client.value("SELECT count(*) = 0 FROM steward.partitions WHERE state <> 'past' AND lower_bound::timestamptz < now() - interval '3 days'")
    });
    wait_until(SOON, "their runs are logged", || {
        client.value("SELECT count(*) = 2 FROM steward.job_runs WHERE detail ? 'retired'")
    });
    let paused: bool = client.value(
        "SELECT max(started_at) - min(started_at) >= interval '2 seconds'
           FROM steward.job_runs WHERE detail ? 'retired'",
    );
    assert!(paused);
}

#[test]
fn a_partition_that_cannot_leave_keeps_no_other_from_leaving() {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    client.run(
        "SET client_min_messages = error;
         CREATE TABLE keys (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
         SELECT steward.manage_range('keys', '10', premake => 5);
         CREATE TABLE pointing (k bigint REFERENCES keys_p0);
         INSERT INTO keys VALUES (1), (41);
         SELECT steward.set_retention('keys', '10')",
    );
    // 0 is pointed to; 10 and 20 leave all the same, one after the other and soon.
    wait_until(SOON, "the others have left", || {
        client
            .column::<String>("SELECT lower_bound FROM steward.partitions WHERE state = 'expired'")
            == ["0"]
            && client
                .value("SELECT to_regclass('keys_p10') IS NULL AND to_regclass('keys_p20') IS NULL")
    });
    wait_until(SOON, "their run is logged", || {
        client.value("SELECT count(*) > 0 FROM steward.job_runs WHERE status = 'failed'")
    });
    let failed: String =
        client.value("SELECT DISTINCT sqlstate FROM steward.job_runs WHERE status = 'failed'");
    assert_eq!(failed, "2BP01");
}
