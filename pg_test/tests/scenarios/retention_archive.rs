//! Archive functions that hang, raise, refuse, drop, belong to others, give locks back.

use std::time::Duration;

use pg_test::cluster::{Ask, Cluster, wait_until};
use pg_test::fixtures;
use postgres::Client;

use crate::range_support::Database;
use crate::unattended_support::{SOON, exists, lose_newest};

/// A set `mine.bets` of an owner who cannot log in: four past days, two of them too old, and `calls`,
/// where his function says what it has seen.
pub(crate) fn owned_set(client: &mut Client, owner: &str) {
    client.run(&format!(
        "CREATE ROLE {owner}; CREATE SCHEMA mine AUTHORIZATION {owner};
         SET ROLE {owner};
         CREATE TABLE mine.bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         CREATE TABLE mine.calls (n bigint GENERATED ALWAYS AS IDENTITY, what text, came text);
         SELECT steward.manage_range('mine.bets', '1 day', premake => 1, time_zone => 'UTC',
                                     start_at => (now() - interval '4 days')::text);
         INSERT INTO mine.bets SELECT lower_bound::timestamptz + make_interval(hours => 1)
           FROM steward.partitions WHERE state IN ('past', 'current');
         RESET ROLE"
    ));
}

/// The owner's function with this body; it may use `gone`.
pub(crate) fn archive_function(client: &mut Client, owner: &str, body: &str) {
    client.run(&format!(
        "CREATE FUNCTION mine.archive(gone regclass) RETURNS boolean LANGUAGE plpgsql AS $body$
         {body} $body$;
         ALTER FUNCTION mine.archive(regclass) OWNER TO {owner}"
    ));
}

pub(crate) const RETAIN: &str = "SELECT steward.set_retention('mine.bets', '2 days', archive_function => 'mine.archive(regclass)')";

/// A database where workers are at work, its set and the set's owner.
fn unattended(body: &str) -> (&'static Cluster, Client, String) {
    let cluster = fixtures::shared_cluster();
    let name = cluster.create_database_with_extension().unwrap();
    let mut client = cluster.connect(&name).unwrap();
    let owner = format!("archivist_of_{name}");
    owned_set(&mut client, &owner);
    archive_function(&mut client, &owner, body);
    wait_until(SOON, "the first run", || {
        client.value("SELECT count(*) = 1 FROM steward.jobs WHERE last_status = 'succeeded'")
    });
    (cluster, client, owner)
}

/// The same where nothing runs by itself.
pub(crate) fn attended(body: &str) -> (Database, String) {
    let mut database = Database::new();
    let owner = database.own("archivist");
    owned_set(&mut database.client, &owner);
    archive_function(&mut database.client, &owner, body);
    (database, owner)
}

fn detached(client: &mut Client) -> Vec<String> {
    client.column(
        "SELECT concat_ws(' ', archive_failures, next_archive_at > now(), last_error)
           FROM steward.partitions WHERE state = 'detached' ORDER BY lower_bound",
    )
}

#[test]
fn a_function_that_hangs_is_cut_off_at_max_runtime_and_holds_up_nobody_else() {
    let (_, mut client, _) = unattended("BEGIN PERFORM pg_sleep(600); RETURN true; END");
    client.run(
        "CREATE TABLE wins (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('wins', '1 day');
         SELECT steward.alter_job(job_id, max_runtime => '2 seconds') FROM steward.jobs",
    );
    client.run(RETAIN);
    wait_until(SOON, "the function hangs", || {
        client.value(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
                AND backend_type = 'pg_steward executor' AND wait_event = 'PgSleep'",
        )
    });
    // The other set is kept up meanwhile, and this one can be read and written.
    let lost = lose_newest(&mut client, "wins");
    wait_until(SOON, "the other set is kept up", || exists(&mut client, &lost));
    client.run("SET lock_timeout = '100ms'; INSERT INTO mine.bets VALUES (now())");
    wait_until(SOON, "the run is over", || {
        client.value("SELECT count(*) > 0 FROM steward.job_runs WHERE status = 'timed_out'")
    });
    let run: String = client.value(
        "SELECT format('%s %s %s', sqlstate, detail->>'detached', duration BETWEEN '1.5 seconds' AND '8 seconds')
           FROM steward.job_runs WHERE status = 'timed_out' ORDER BY run_id LIMIT 1",
    );
    assert_eq!(run, "57014 1 t");
    let failures: i32 = client.value(
        "SELECT archive_failures FROM steward.partitions WHERE state = 'detached'
            AND next_archive_at IS NOT NULL AND last_error IS NOT NULL ORDER BY lower_bound LIMIT 1",
    );
    assert!(failures >= 1);
    assert_eq!(client.value::<i64>("SELECT count(*) FROM mine.calls"), 0);
    // It comes to its senses, and the rest follows by itself.
    client.run(
        "CREATE OR REPLACE FUNCTION mine.archive(gone regclass) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    );
    wait_until(SOON * 2, "all is gone", || {
        client.value(
            "SELECT count(*) = 0 FROM steward.partitions WHERE state IN ('expired', 'detached')",
        )
    });
}

#[test]
fn a_function_that_takes_no_notice_of_a_cancel_is_ended_ten_seconds_later() {
    let (_, mut client, _) = unattended(
        "BEGIN
             LOOP
                 BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END;
             END LOOP;
         END",
    );
    client.run("SELECT steward.alter_job(job_id, max_runtime => '500 ms') FROM steward.jobs");
    client.run(RETAIN);
    let mut executor = 0;
    wait_until(SOON, "the function hangs", || {
        executor = client.value(
            "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE datname = current_database()
                AND backend_type = 'pg_steward executor' AND wait_event = 'PgSleep'",
        );
        executor != 0
    });
    wait_until(Duration::from_secs(20), "its executor is ended", || {
        client.value(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {executor}"))
    });
    let crashed = format!("FROM steward.job_runs WHERE pid = {executor} AND status = 'crashed'");
    wait_until(SOON, "its run is closed", || {
        client.value(&format!("SELECT count(*) = 1 {crashed}"))
    });
    let lasted: f64 =
        client.value(&format!("SELECT extract(epoch FROM duration)::float8 {crashed}"));
    assert!(lasted > 10.0, "ended after {lasted} s");
    assert!(client.value::<bool>("SELECT consecutive_failures >= 1 FROM steward.jobs"));
    assert_eq!(detached(&mut client).len(), 1);
}

#[test]
fn what_a_function_raises_or_says_is_recorded_and_its_table_stays() {
    for (body, code, said) in [
        ("BEGIN RAISE EXCEPTION 'shelf full' USING ERRCODE = 'ZZ999'; END", "ZZ999", "shelf full"),
        ("BEGIN RETURN false; END", "55000", "false"),
        ("BEGIN RETURN NULL; END", "55000", "NULL"),
        ("BEGIN EXECUTE format('TRUNCATE %s', gone); RETURN false; END", "55000", "false"),
        // Nobody holds a lock of ours: it is the function that fails, not we that have to wait.
        ("BEGIN RAISE EXCEPTION 'in use' USING ERRCODE = '55P03'; END", "55P03", "in use"),
        ("BEGIN RAISE EXCEPTION 'knot' USING ERRCODE = '40P01'; END", "40P01", "knot"),
        // Of any length: what is written down of it is not.
        ("BEGIN RAISE EXCEPTION 'lost %', repeat('x', 1000000); END", "P0001", "lost x"),
    ] {
        let (_, mut client, _) = unattended(body);
        client.run(RETAIN);
        wait_until(SOON, "both have been asked for twice", || {
            client.value(
                "SELECT count(*) = 2 FROM steward.partitions
                  WHERE state = 'detached' AND archive_failures >= 2 AND archived_at IS NULL",
            )
        });
        assert!(detached(&mut client)[0].contains(said), "{body}");
        let codes: Vec<String> = client.column(
            "SELECT DISTINCT sqlstate FROM steward.job_runs WHERE status = 'failed' AND sqlstate IS NOT NULL
             UNION SELECT sqlstate FROM steward.retired_partition",
        );
        assert_eq!(codes, [code], "{body}");
        let longest: i32 = client.value(
            "SELECT max(length(said)) FROM (SELECT error_message FROM steward.job_runs
                    UNION ALL SELECT message FROM steward.alert_history
                    UNION ALL SELECT detail #>> '{failures,0,error}' FROM steward.job_runs) each (said)",
        );
        assert!(longest <= 10_003, "{longest} characters");
        let tables: Vec<String> = client
            .column("SELECT partition::text FROM steward.partitions WHERE state = 'detached'");
        for table in tables {
            let rows: i64 = client.value(&format!("SELECT count(*) FROM {table}"));
            assert_eq!(rows, 1, "what a failed call had done is not taken back: {body}");
        }
    }
}

#[test]
fn a_function_may_drop_the_table_itself() {
    let (mut database, _) =
        attended("BEGIN EXECUTE format('DROP TABLE %s', gone); RETURN true; END");
    database.client.run(RETAIN);
    database.maintain("mine.bets");
    assert_eq!(database.count("mine.bets"), 4);
    assert_eq!(database.client.value::<i64>("SELECT count(*) FROM steward.retired_partition"), 0);
    let left: i64 = database
        .client
        .value("SELECT count(*) FROM pg_class WHERE relname LIKE 'bets\\_%' AND relkind = 'r'");
    assert_eq!(left, 4);
}

#[test]
fn a_function_of_another_role_is_refused_then_and_later() {
    let (mut database, owner) = attended("BEGIN RETURN true; END");
    let other = database.own("other");
    let client = &mut database.client;
    client.run(&format!("CREATE ROLE {other}; ALTER FUNCTION mine.archive OWNER TO {other}"));
    client.refused("42501", RETAIN);
    client.run(&format!("ALTER FUNCTION mine.archive OWNER TO {owner}"));
    client.run(RETAIN);
    // In the middle of a run it is replaced: what it was for the first table it is not for the second.
    client.run(
        "CREATE OR REPLACE FUNCTION mine.archive(gone regclass) RETURNS boolean LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO mine.calls (what) VALUES (gone); PERFORM pg_advisory_xact_lock(7); RETURN true; END $$;
         SELECT pg_advisory_lock(7)",
    );
    let mut maintaining = crate::range_support::cluster().session(&database.name).unwrap();
    maintaining.start("CALL steward.maintain('mine.bets')");
    let client = &mut database.client;
    wait_until(SOON, "it is in the first call", || {
        client.value("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
    });
    client.run(&format!(
        "ALTER FUNCTION mine.archive RENAME TO archive_once;
         CREATE FUNCTION mine.archive(gone regclass) RETURNS boolean LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO mine.calls (what) VALUES ('by another role'); RETURN true; END $$;
         ALTER FUNCTION mine.archive(regclass) OWNER TO {other};
         SELECT pg_advisory_unlock(7)"
    ));
    let refused = maintaining.finish(SOON).unwrap_err();
    assert_eq!(pg_test::cluster::sqlstate(&refused), "42501", "{refused:?}");
    assert_eq!(client.value::<i64>("SELECT count(*) FROM mine.calls"), 1);
    client.refused("42501", "CALL steward.maintain('mine.bets')");
    assert_eq!(detached(client).len(), 1);
}

#[test]
fn a_function_that_gives_back_every_advisory_lock_is_called_once_a_table_all_the_same() {
    let (mut database, _) = attended(
        "BEGIN
             PERFORM pg_advisory_unlock_all();
             INSERT INTO mine.calls (what) VALUES (gone);
             PERFORM pg_advisory_xact_lock(8);
             RETURN true;
         END",
    );
    let client = &mut database.client;
    client.run(RETAIN);
    client.run("SELECT pg_advisory_lock(8)");
    let cluster = crate::range_support::cluster();
    let mut first = cluster.session(&database.name).unwrap();
    let mut second = cluster.session(&database.name).unwrap();
    first.start("CALL steward.maintain('mine.bets')");
    wait_until(SOON, "it is in the first call", || {
        client.value(
            "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
    });
    second.start("CALL steward.maintain('mine.bets')");
    second.wait_until_blocked(SOON);
    let waits_for: Vec<String> = client.column(&format!(
        "SELECT backend_type FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids({}))",
        second.pid()
    ));
    assert_eq!(waits_for, ["pg_steward executor"], "the set is worked on by two");
    client.run("SELECT pg_advisory_unlock(8)");
    first.finish(SOON).unwrap();
    second.finish(SOON).unwrap();
    let calls: Vec<String> =
        client.column("SELECT count(*) || ' ' || what FROM mine.calls GROUP BY what ORDER BY 1");
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.starts_with("1 ")), "{calls:?}");
    assert_eq!(database.count("mine.bets"), 4);
}
